"""A home for each test."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _home(home: Path) -> None:
    """Each test has a home of its own."""

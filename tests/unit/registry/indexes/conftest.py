"""An installer, and an index in a folder and behind an address."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hubserve.registry.installer import Installer
from tests.unit.registry.indexes.toy_indexes import put
from tests.unit.registry.web import Web, served


@pytest.fixture
def installer(home: Path) -> Installer:
    return Installer(home)


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    """An index of toy 1.0.0, 1.5.0, 2.0.0rc1 and other 3.0.0."""
    index = tmp_path / "index"
    for version in ("1.0.0", "1.5.0", "2.0.0rc1"):
        put(index, tmp_path / version, version=version)
    put(index, tmp_path / "other", "my-other", "3.0.0")
    return index


@pytest.fixture
def web(folder: Path) -> Iterator[Web]:
    with served() as server:
        server.folder = folder
        yield server

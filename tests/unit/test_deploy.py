"""The examples in ``deploy/`` are valid, and those of the guide for production are what it shows."""

import re
from pathlib import Path

import pytest

from hubserve.settings import read_config
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "production.md").read_text("utf-8")
SHOWN = {
    "/srv/serving/config.json": "production/config.json",
    "/etc/nginx/conf.d/hubserve.conf": "nginx/hubserve.conf",
    "/etc/prometheus/prometheus.yml": "prometheus/prometheus.yml",
}


@pytest.mark.parametrize("path", SHOWN)
def test_an_example_is_what_the_guide_shows(path: str) -> None:
    shown = re.search(rf"`{path}`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    assert (ROOT / "deploy" / SHOWN[path]).read_text("utf-8") == shown[1]


@pytest.mark.parametrize("path", [*sorted((ROOT / "deploy").rglob("config.json")), ROOT / "deploy" / "ocr.json"], ids=str)
def test_configurations_are_valid(path: Path) -> None:
    notes: list[str] = []
    assert read_config(path, {}, notes.append).modules_info

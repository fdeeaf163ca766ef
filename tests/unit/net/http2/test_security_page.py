"""Every test named in docs/http2-security.md exists."""

import re

from tests.conftest import ROOT


def test_every_test_that_the_page_names_exists() -> None:
    text = (ROOT / "docs" / "http2-security.md").read_text("utf-8")
    named = set(re.findall(r"`(test_\w+)`", text))
    folders = (ROOT / "tests" / "unit" / "net", ROOT / "tests" / "behaviours")
    sources = "\n".join(path.read_text("utf-8") for folder in folders for path in folder.rglob("test_*.py"))
    defined = set(re.findall(r"^def (test_\w+)", sources, re.MULTILINE))
    assert len(named) > 20
    assert not named - defined


def test_every_row_of_the_page_names_a_test() -> None:
    text = (ROOT / "docs" / "http2-security.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|") and not line.startswith(("|---", "| pitfall"))]
    assert len(rows) > 20
    assert [line for line in rows if "`test_" not in line] == []

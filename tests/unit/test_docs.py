"""The documentation: every page is in the navigation, links and anchors resolve, and generated pages are current."""

import re
import sys
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml

from tests.conftest import ROOT

sys.path.append(str(ROOT / "tools"))

import reference

DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
#: pages outside the site may link to anything in the repository
OUTSIDE = [
    path
    for path in (ROOT / name for name in ("README.md", "README.zh.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md"))
    if path.exists()
]

FENCE = re.compile(r"^( *)(`{3,}).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"\]\(\s*<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
HEADING = re.compile(r"^#{1,6} +(.*?) *#*$", re.MULTILINE)


class Loader(yaml.SafeLoader):
    """Reads mkdocs.yml without importing what its tags name."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def navigation(entries: Any) -> Iterator[str]:
    for entry in entries:
        value = next(iter(entry.values())) if isinstance(entry, dict) else entry
        if isinstance(value, str):
            yield value
        else:
            yield from navigation(value)


def slugs(path: Path) -> set[str]:
    """The anchors of a page, as Python-Markdown makes them."""
    found: set[str] = set()
    for title in HEADING.findall(FENCE.sub("", path.read_text("utf-8"))):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("\\", "")
        text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
        slug = base = re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text).strip().lower())
        number = 0
        while not slug or slug in found:
            number += 1
            slug = f"{base}_{number}"
        found.add(slug)
    return found


def links(path: Path) -> list[str]:
    return LINK.findall(CODE.sub("", FENCE.sub("", path.read_text("utf-8"))))


def test_the_navigation_names_every_page_once() -> None:
    named = list(navigation(yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), Loader)["nav"]))
    assert sorted(named) == [path.relative_to(DOCS).as_posix() for path in PAGES]


@pytest.mark.parametrize("page", [*PAGES, *OUTSIDE], ids=lambda path: str(path.relative_to(ROOT)))
def test_internal_links_and_anchors_resolve(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        address, _, anchor = unquote(link).partition("#")
        target = (page.parent / address).resolve() if address else page
        assert target.exists(), f"{link}: there is no such file"
        if page not in OUTSIDE:
            assert target.is_relative_to(DOCS), f"{link}: not a page of the site"
            assert target.suffix != "" or target == page, f"{link}: link to a page, not to its folder"
        if anchor:
            assert anchor in slugs(target), f"{link}: {target.name} has no such heading"


@pytest.mark.parametrize("name", reference.PAGES)
def test_a_generated_page_is_current(name: str) -> None:
    assert (DOCS / "reference" / name).read_text("utf-8") == reference.PAGES[name](), "run 'make docs-reference'"


def test_every_setting_is_explained() -> None:
    for struct in (reference.settings.ServerSettings, reference.settings.ModuleSettings):
        assert set(reference.field_docs(struct)) == set(struct.__struct_fields__)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "architecture.md"], ids=lambda path: path.relative_to(DOCS).as_posix()
)
def test_source_files_that_a_page_names_exist(page: Path) -> None:
    """The architecture is left out: it names files relative to the room of the paragraph."""
    shown = set(re.findall(r'title="([^"]+)"', page.read_text("utf-8")))
    for name in re.findall(r"`([\w-]+/[\w/-]+\.py)`", page.read_text("utf-8")):
        places = (ROOT / name, ROOT / "hubserve" / name)
        assert name in shown or name.endswith("/1/model.py") or any(place.exists() for place in places), f"{name}: there is no such file"


@pytest.mark.parametrize("path", [*PAGES, *OUTSIDE], ids=lambda path: path.name)
def test_the_first_request_after_a_start_waits_for_the_server(path: Path) -> None:
    shown = [line for line in path.read_text("utf-8").splitlines() if line.startswith("$ ")]
    started = [after for line, after in pairwise(shown) if re.fullmatch(r"\$ hub serving start .*&", line)]
    assert [each for each in started if "--retry-connrefused" not in each] == []

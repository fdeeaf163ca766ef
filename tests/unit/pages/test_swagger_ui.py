"""The files of Swagger UI are those that were published, and come with the package and its licences."""

import ast
import hashlib
import re
import sys
from pathlib import Path

from tests.conftest import ROOT

sys.path.append(str(ROOT / "tools"))

import swagger_ui

DIGESTS = {
    "LICENSE": "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30",
    "NOTICE": "0d20d1adef18aee3f40dd258172155521ce702ac445cb5f7b7d60ed32dad2fb2",
    "swagger-ui-bundle.js": "e6a898692f2d768e807c3ba4626068a69a2c5dd960dd6c76f3e4d3a3de180af2",
    "swagger-ui-bundle.js.LICENSE.txt": "37eb6e7e59aed57b2c1acf076574b818ea07b74265717e0bd67b59e0baf9abbb",
    "swagger-ui.css": "5ed08757e53da3e026d6cbecc61fe5d43585c9560b302d534ad56692519a273d",
}
FOLDER = ROOT / "hubserve" / "pages" / "swagger_ui"


def test_each_file_is_as_it_was_published() -> None:
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.iterdir()} == DIGESTS
    assert set(swagger_ui.FILES) == set(DIGESTS)
    assert swagger_ui.FOLDER == FOLDER


def test_the_page_needs_nothing_else_of_the_package_on_npm() -> None:
    styles = (FOLDER / "swagger-ui.css").read_text("utf-8")
    assert {each.partition(":")[0] for each in re.findall(r"url\(\"?'?([^)]{0,40})", styles)} == {"data"}
    assert "@import" not in styles


def listed_in_pyproject(key: str) -> set[Path]:
    """The files that a list of patterns in pyproject.toml names, which lie in the folder of the package or in that of the repository."""
    found = re.search(rf"^{key} = (\[.*?\])$", (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert found
    folder = ROOT / "hubserve" if key == "hubserve" else ROOT
    return {path for pattern in ast.literal_eval(found[1]) for path in folder.glob(pattern)}


def test_all_of_it_is_in_the_wheel() -> None:
    wanted = {*FOLDER.iterdir(), *(ROOT / "hubserve" / "pages" / "files").iterdir()}
    assert len(wanted) > len(DIGESTS)
    assert wanted <= listed_in_pyproject("hubserve")


def test_its_licences_are_among_the_packages_own() -> None:
    licences = {FOLDER / name for name in ("LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt")}
    assert {ROOT / "LICENSE", ROOT / "NOTICE", *licences} == listed_in_pyproject("license-files")
    assert f"Swagger UI {swagger_ui.VERSION}" in (ROOT / "NOTICE").read_text("utf-8")

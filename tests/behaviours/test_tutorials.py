"""Follows each page of the tutorial: writes the files that it shows, runs its commands, and compares what they print."""

import importlib.util
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.behaviours.test_readme import SHOWN_PORT, Shell, shown_in, steps
from tests.conftest import ROOT

PAGES = [*sorted((ROOT / "docs" / "tutorial").glob("[a-z]*.md")), ROOT / "docs" / "zh" / "tutorial.md"]
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)
NEEDS = {"pytorch.md": "torch"}
QUICK = ("index.md", "text.md")  # the others measure engines


@pytest.fixture
def shell(tmp_path: Path, model_dir: Path, ocr_dir: Path, cat_photo: Path, page_photo: Path) -> Iterator[Shell]:
    """A clone in which ``make demo`` and ``make ocr`` were run."""
    assert ocr_dir.parent == model_dir
    place = tmp_path / "clone"
    (place / ".demo").mkdir(parents=True)
    for name in ("hubmodules", "deploy"):
        shutil.copytree(ROOT / name, place / name, ignore=shutil.ignore_patterns("__pycache__"))
    (place / "inference").symlink_to(model_dir)
    shutil.copy(cat_photo, place / ".demo" / "cat.png")
    shutil.copy(page_photo, place / "page.png")
    shell = Shell(place, tmp_path / "home")
    shell.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT)])
    try:
        yield shell
    finally:
        shell.kill_servers()


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(path, marks=() if path.name in QUICK else pytest.mark.slow, id=path.relative_to(ROOT / "docs").as_posix())
        for path in PAGES
    ],
)
def test_every_step_of_the_tutorial_works_and_prints_what_is_shown(shell: Shell, page: Path) -> None:
    needed = NEEDS.get(page.name)
    if needed and importlib.util.find_spec(needed) is None:
        pytest.skip(f"{needed} is not installed here")
    ran = 0
    for language, title, text in BLOCK.findall(page.read_text("utf-8")):
        if title:
            path = shell.place / title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text.replace(SHOWN_PORT, shell.port), "utf-8")
        if language == "console":
            for command, shown in steps(text):
                printed = shell.run(command)
                print("$", command, printed, sep="\n")
                for line in shown:
                    assert shown_in(printed, line.replace("~", shell.environ["HOME"])), f"{command}\n{line}\n{printed}"
                ran += 1
    assert ran >= 3 or page.name == "index.md"

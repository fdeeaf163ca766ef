"""Runs what docs/authoring.md shows, in its order."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubserve.errors import LoadFailed
from hubserve.testing import served
from tests.behaviours.test_readme import Shell, blocks, steps
from tests.conftest import ROOT, share_engine_cache
from tests.unit.registry.toys import write_module

GUIDE = (ROOT / "docs" / "authoring.md").read_text("utf-8")


@pytest.fixture
def shell(tmp_path: Path, model_dir: Path, cat_photo: Path, engine_cache: Path) -> Iterator[Shell]:
    """A folder with the default model and the photo, as in a clone."""
    place = tmp_path / "place"
    (place / ".demo").mkdir(parents=True)
    (place / "inference").symlink_to(model_dir)
    shutil.copy(cat_photo, place / ".demo" / "cat.png")
    shell = Shell(place, tmp_path / "home")
    share_engine_cache(tmp_path / "home" / ".paddlehub", engine_cache)
    shell.environ["PYTHONPATH"] = str(ROOT)
    try:
        yield shell
    finally:
        shell.kill_servers()


@pytest.mark.slow
def test_every_command_of_the_guide_works_and_prints_what_is_shown(shell: Shell) -> None:
    ran = 0
    for block in blocks("console", GUIDE):
        for command, shown in steps(block):
            printed = shell.run(command)
            for line in shown:
                assert line.strip() in printed, f"{command}\n{printed}"
            ran += 1
    assert ran >= 15


def test_the_shown_module_passes_the_shown_test(tmp_path: Path) -> None:
    module, test = blocks("python", GUIDE)
    (tmp_path / "shout").mkdir()
    (tmp_path / "shout" / "module.py").write_text(module)
    (tmp_path / "shout" / "test_shout.py").write_text(test)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "shout"]
    done = subprocess.run(command, cwd=tmp_path, env={**Shell(tmp_path, tmp_path).environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert done.returncode == 0


def test_a_module_that_does_not_start_fails_its_test_with_what_the_server_said(tmp_path: Path, home: Path) -> None:
    folder = write_module(tmp_path / "toy", extra="import a_package_that_nobody_has")
    with pytest.raises(LoadFailed, match="a_package_that_nobody_has"), served(folder):
        pass
    with pytest.raises(LoadFailed, match="is not a module"), served(tmp_path):
        pass

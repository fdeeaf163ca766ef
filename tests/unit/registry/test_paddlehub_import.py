"""Modules that PaddleHub has installed become versions of a home; what fails changes nothing."""

import json
import os
from pathlib import Path

import pytest

from hubserve.errors import InstallError, ModuleNotFound
from hubserve.registry import legacy_layout
from hubserve.registry.installer import Installer
from hubserve.registry.paddlehub_import import Import, find_folder, import_modules
from tests.conftest import hub
from tests.unit.registry.toys import tree, write_module


@pytest.fixture
def installer(tmp_path: Path) -> Installer:
    return Installer(tmp_path / "home")


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """PaddleHub's folder: two modules, one of which needs a package that is missing, and one from before PaddleHub 1.6."""
    folder = tmp_path / "paddlehub" / "modules"
    write_module(folder / "toy", assets__txt="weights")
    write_module(folder / "my_other", "my-other", "2.0.0")
    write_module(folder / "broken", "broken", extra="import a_package_that_nobody_has")
    (folder / "ancient").mkdir()
    (folder / "ancient" / "module_desc.pb").write_bytes(b"\x00")
    (folder / "__pycache__").mkdir()
    return folder


def results(done: list[Import]) -> dict[str, str]:
    return {each.folder.name: each.result for each in done}


def test_every_module_is_imported_and_what_fails_does_not_keep_the_rest(installer: Installer, theirs: Path) -> None:
    before = tree(theirs)
    done = list(import_modules(installer, theirs))
    assert results(done) == {"ancient": "failed", "broken": "failed", "my_other": "imported", "toy": "imported"}
    reasons = {each.folder.name: each.reason for each in done}
    assert "module_desc.pb" in reasons["ancient"]
    assert "a_package_that_nobody_has" in reasons["broken"]
    assert tree(theirs) == before, "the original is left in place"
    assert {(each.info.name, each.info.version) for each in installer.installed.all()} == {("my-other", "2.0.0"), ("toy", "1.0.0")}
    assert (installer.installed.get("toy").folder / "assets.txt").read_text() == "weights"


def test_importing_again_changes_nothing_and_brings_what_is_new(installer: Installer, theirs: Path) -> None:
    list(import_modules(installer, theirs, check=False))
    installed = tree(installer.installed.modules)
    assert results(list(import_modules(installer, theirs, check=False))) == {
        "ancient": "failed",
        "broken": "unchanged",
        "my_other": "unchanged",
        "toy": "unchanged",
    }
    assert tree(installer.installed.modules) == installed
    (theirs / "toy" / "assets.txt").write_text("better weights")
    write_module(theirs / "my_other", "my-other", "2.1.0")
    again = results(list(import_modules(installer, theirs, check=False)))
    assert (again["toy"], again["my_other"], again["broken"]) == ("imported", "imported", "unchanged")
    assert (installer.installed.get("toy").folder / "assets.txt").read_text() == "better weights"
    assert installer.installed.versions("my-other") == ["2.0.0", "2.1.0"]


def test_files_that_cannot_be_read_fail_one_module_only(installer: Installer, theirs: Path) -> None:
    list(import_modules(installer, theirs, check=False))
    (theirs / "my_other" / "weights").symlink_to(theirs / "nowhere")
    again = {each.folder.name: each for each in import_modules(installer, theirs, check=False)}
    assert (again["my_other"].result, again["toy"].result) == ("failed", "unchanged")
    assert "is broken" in again["my_other"].reason


def test_a_version_from_elsewhere_is_not_replaced(installer: Installer, theirs: Path, tmp_path: Path) -> None:
    installer.install(write_module(tmp_path / "mine", mine__txt="mine"), check=False)
    toy = next(each for each in import_modules(installer, theirs, check=False) if each.name == "toy")
    assert toy.result == "left"
    assert str(tmp_path / "mine") in toy.reason
    assert (installer.installed.get("toy").folder / "mine.txt").exists()


def test_the_folder_is_the_one_given_or_its_modules_or_this_homes_or_the_users(
    installer: Installer, theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_folder(installer.home, theirs) == find_folder(installer.home, theirs.parent) == theirs
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ModuleNotFound, match=r"\.paddlehub/modules"):
        find_folder(installer.home, None)
    write_module(tmp_path / ".paddlehub" / "modules" / "toy")
    assert find_folder(installer.home, None) == tmp_path / ".paddlehub" / "modules"
    write_module(installer.installed.modules / "toy")
    assert find_folder(installer.home, None) == installer.installed.modules
    with pytest.raises(ModuleNotFound, match="nowhere"):
        find_folder(installer.home, tmp_path / "nowhere")


def test_modules_in_this_home_are_left_alone_until_the_user_says_so(installer: Installer) -> None:
    write_module(installer.installed.modules / "toy", assets__txt="weights")
    before = tree(installer.installed.modules)
    (left,) = import_modules(installer, installer.installed.modules)
    assert (left.result, "--move" in left.reason) == ("left", True)
    assert tree(installer.installed.modules) == before
    (moved,) = import_modules(installer, installer.installed.modules, move=True)
    assert moved.result == "moved"
    assert installer.installed.get("toy").folder == installer.installed.modules / "toy" / "1.0.0"
    assert (installer.installed.modules / "toy" / "1.0.0" / "assets.txt").read_text() == "weights"
    assert not legacy_layout.is_flat(installer.installed.modules / "toy")
    assert sorted(each.name for each in installer.installed.modules.iterdir()) == [".hubserve.lock", "toy"]
    assert list(import_modules(installer, installer.installed.modules, move=True)) == []


def test_a_module_that_cannot_be_moved_stays_as_it_was(installer: Installer) -> None:
    write_module(installer.installed.modules / "toy", extra="import a_package_that_nobody_has")
    before = tree(installer.installed.modules / "toy")
    (failed,) = import_modules(installer, installer.installed.modules, move=True)
    assert (failed.result, "a_package_that_nobody_has" in failed.reason) == ("failed", True)
    assert tree(installer.installed.modules / "toy") == before


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_rename_that_fails_leaves_the_flat_module(installer: Installer, monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    write_module(installer.installed.modules / "toy")
    before = tree(installer.installed.modules / "toy")
    rename, calls = os.rename, []

    def failing(source: Path, target: Path) -> None:
        if Path(target).is_relative_to(installer.installed.modules):
            calls.append(target)
            if len(calls) == fails_at:
                raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(InstallError, match="No space left on device"):
        installer.install(installer.installed.modules / "toy", check=False, replace_flat=True)
    monkeypatch.undo()
    assert tree(installer.installed.modules / "toy") == before
    assert not legacy_layout.has_unfinished_takeover(installer.installed.modules)


@pytest.mark.parametrize("when", ["before", "between", "after"])
def test_what_a_killed_take_over_left_is_undone_or_finished(installer: Installer, when: str) -> None:
    folder = write_module(installer.installed.modules / "toy")
    before = tree(folder)
    folder.rename(installer.installed.modules / ".toy.flat")
    if when == "between":
        folder.mkdir()
    if when == "after":
        write_module(installer.home / "src")
        installer.installed.modules.joinpath(".toy.flat").rename(installer.home / "kept")
        installer.install(installer.home / "src", check=False)
        installer.home.joinpath("kept").rename(installer.installed.modules / ".toy.flat")
    listing = installer.installed.scan()
    assert not legacy_layout.has_unfinished_takeover(installer.installed.modules)
    if when == "after":
        assert [each.info.version for each in listing.installed] == ["1.0.0"]
    else:
        assert listing.installed == []
        assert tree(folder) == before


def test_the_command_prints_the_result_for_each_module(home: Path, theirs: Path) -> None:
    done = hub("import-paddlehub", theirs, home=home)
    assert done.returncode == 1
    lines = {line.split()[1].rstrip(":"): line.split()[0] for line in done.stdout.splitlines()}
    assert lines == {"ancient": "failed", "broken": "failed", "my-other": "imported", "toy": "imported"}
    again = hub("import-paddlehub", theirs, "--no-check", "--json", home=home)
    assert [each["result"] for each in json.loads(again.stdout)["modules"]] == ["failed", "imported", "unchanged", "unchanged"]
    assert hub("run", "my-other", "a", "b", home=home).stdout.strip() == "a b"
    assert hub("import-paddlehub", theirs / "nowhere", home=home).returncode == 1

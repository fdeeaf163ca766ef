"""Test installed versions without the registry, as instances and scripts see them."""

from pathlib import Path

import pytest

from hubserve.kinds import import_hooks, legacy_paths
from hubserve.kinds.versions import current_version, flat_folder, installed_versions, satisfies, version_key
from tests.unit.registry.toys import write_module


def test_the_current_version_is_found_by_its_numbers(home: Path) -> None:
    for version in ("1.9.0", "1.10.0", "1.10.0rc1", "nightly"):
        write_module(home / "modules" / "toy" / version, version=version)
    (home / "modules" / "toy" / ".1.0.0.old").mkdir()
    assert list(installed_versions("toy")) == ["nightly", "1.9.0", "1.10.0rc1", "1.10.0"]
    assert current_version("toy") == home / "modules" / "toy" / "1.10.0"
    assert (current_version("other"), flat_folder("toy")) == (None, None)


def test_folders_inside_a_module_that_paddlehub_installed_are_not_versions(home: Path) -> None:
    folder = write_module(home / "modules" / "toy")
    (folder / "assets").mkdir()
    assert (installed_versions("toy"), current_version("toy"), flat_folder("toy")) == ({}, folder, folder)


@pytest.mark.parametrize(
    ("version", "condition", "fits"),
    [
        ("1.0.0", "1", True),
        ("1.0.0", ">=1.0", True),
        ("1.0rc1", ">=1.0", False),
        ("2.0", "<2", False),
        ("2.0", " > 1.9 ", True),
        ("1.0", "", True),
    ],
)
def test_conditions(version: str, condition: str, fits: bool) -> None:
    assert satisfies(version, condition) is fits
    assert version_key("1.0") < version_key("1.0.post1") < version_key("1.0.1")


def test_each_name_leads_to_the_current_version_and_to_the_one_that_runs(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(import_hooks.LOADED):  # what other tests have loaded in this process
        monkeypatch.delitem(import_hooks.LOADED, name)
    assert legacy_paths.module_home() == home / "modules", "there is nothing to link"
    for version in ("1.0.0", "2.0.0"):
        write_module(home / "modules" / "toy" / version, version=version, which__txt=version)
    assert (legacy_paths.module_home() / "toy" / "which.txt").read_text() == "2.0.0"
    monkeypatch.setitem(import_hooks.LOADED, "toy", home / "modules" / "toy" / "1.0.0")
    running = legacy_paths.module_home()
    assert (running / "toy" / "which.txt").read_text() == "1.0.0"
    assert legacy_paths.module_home() == running, "the same process is always given the same"
    monkeypatch.delitem(import_hooks.LOADED, "toy")
    write_module(home / "modules" / "toy" / "3.0.0", version="3.0.0", which__txt="3.0.0")
    assert (legacy_paths.module_home() / "toy" / "which.txt").read_text() == "3.0.0"
    assert (running / "toy" / "which.txt").read_text() == "1.0.0"


def test_a_home_that_cannot_be_written_is_used_as_it_is(home: Path) -> None:
    write_module(home / "modules" / "toy" / "1.0.0")
    (home / "module_home").write_text("a file where a folder belongs")
    assert legacy_paths.module_home() == home / "modules"

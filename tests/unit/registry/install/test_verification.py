"""``hub verify`` finds changed, missing and extra files."""

import json
import shutil
from pathlib import Path

import pytest

from hubserve.cli import main
from hubserve.registry.install.verification import verify
from hubserve.registry.installer import Installer
from hubserve.registry.manifest import FILES_NAME, MANIFEST_NAME
from tests.unit.registry.toys import write_module


@pytest.fixture
def installer(home: Path, tmp_path: Path) -> Installer:
    installer = Installer(home)
    installer.install(write_module(tmp_path / "src", data__txt="data", more__txt="more"), check=False)
    return installer


def said(capsys: pytest.CaptureFixture[str], status: int, *words: str) -> str:
    capsys.readouterr()
    assert main(["verify", *words]) == status
    return capsys.readouterr().out


def test_unchanged_files_are_intact(installer: Installer, capsys: pytest.CaptureFixture[str]) -> None:
    (installer.installed.get("toy").folder / "__pycache__").mkdir()
    (installer.installed.get("toy").folder / "__pycache__" / "module.pyc").write_text("made by running it")
    assert said(capsys, 0) == said(capsys, 0, "toy") == said(capsys, 0, "toy==1.0.0") == "toy 1.0.0: intact\n"
    assert json.loads(said(capsys, 0, "--json"))["modules"][0]["ok"] is True


def test_each_file_that_is_changed_missing_or_extra_is_named(installer: Installer, capsys: pytest.CaptureFixture[str]) -> None:
    folder = installer.installed.get("toy").folder
    (folder / "data.txt").write_text("dat\u0430")
    (folder / "more.txt").unlink()
    (folder / "extra").mkdir()
    (folder / "extra" / "more.py").write_text("")
    verdict = verify(installer.installed.get("toy"))
    assert (verdict.changed, verdict.missing, verdict.extra) == (["data.txt"], ["more.txt"], ["extra/more.py"])
    lines = said(capsys, 1).splitlines()
    assert lines[:4] == ["toy 1.0.0: DIFFERS from its installation", "  changed: data.txt", "  missing: more.txt", "  extra: extra/more.py"]
    document = json.loads(said(capsys, 1, "toy", "--json"))
    assert [each["changed"] for each in document["modules"]] == [["data.txt"]]


def test_without_the_list_it_is_still_known_that_something_changed(installer: Installer, tmp_path: Path) -> None:
    folder = installer.installed.get("toy").folder
    (folder / FILES_NAME).unlink()
    assert verify(installer.installed.get("toy")).is_intact
    (folder / "data.txt").write_text("other")
    assert "which ones is unknown" in verify(installer.installed.get("toy")).error


def test_a_list_that_was_made_to_fit_does_not_deceive(installer: Installer) -> None:
    folder = installer.installed.get("toy").folder
    (folder / "data.txt").write_text("other")
    listed = json.loads((folder / FILES_NAME).read_text())
    del listed["sha256"]["data.txt"]
    (folder / FILES_NAME).write_text(json.dumps(listed))
    assert verify(installer.installed.get("toy")).extra == ["data.txt"]


def test_a_damaged_manifest_and_missing_files_are_reported(
    installer: Installer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    installer.install(write_module(tmp_path / "other", "other"), check=False)
    (installer.installed.get("other").folder / MANIFEST_NAME).write_text("{")
    out = said(capsys, 1)
    assert "toy 1.0.0: intact" in out
    assert "is damaged" in out
    one = installer.installed.get("toy")
    shutil.rmtree(one.version_dir)
    assert not verify(one).is_intact
    assert said(capsys, 1, "nobody") == ""

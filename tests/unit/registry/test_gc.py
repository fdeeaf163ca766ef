"""``hub gc`` deletes garbage only."""

import json
from pathlib import Path

import pytest

from hubserve.cli import main
from hubserve.engines.file_cache import note_origin
from hubserve.errors import InstallError
from hubserve.registry.engine_note import note_engine, read_engine_note
from hubserve.registry.gc import DOWNLOADS, ENGINES, REPLACED, STAGING, UNUSED, collect
from hubserve.registry.installer import Installer
from hubserve.registry.version_dirs import DirectoryLock
from tests.unit.registry.toys import strays, tree, write_module


@pytest.fixture
def installer(home: Path, tmp_path: Path) -> Installer:
    installer = Installer(home)
    for which in ("a", "b"):
        installer.install(write_module(tmp_path / which, which__txt=which), check=False)
    for place, size_bytes in (("tmp/install-x/file", 30), ("cache/downloads/toy.tar", 500), ("cache/onnx/unknown.onnx", 9)):
        path = installer.home / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(size_bytes))
    for name, model in (("gone", tmp_path / "gone.onnx"), ("there", installer.installed.get("toy").version_dir / "module.py")):
        made = installer.home / "cache" / "onnx" / f"{name}.onnx"
        made.write_bytes(bytes(1000))
        note_origin(made, model)
    return installer


def test_garbage_is_found_and_deleted_and_the_rest_stays(installer: Installer, capsys: pytest.CaptureFixture[str]) -> None:
    one = installer.installed.get("toy")
    for each in (one, installer.installed.replaced("toy")[0]):
        note_engine(each.info, each.version_dir, {"name": "onnxruntime"})
    before = tree(installer.home)
    planned = collect(installer.home, dry_run=True)
    assert tree(installer.home) == before
    assert {each.kind for each in planned} == {STAGING, REPLACED, DOWNLOADS, ENGINES}
    assert main(["gc", "--dry-run"]) == 0
    assert "would be freed" in capsys.readouterr().out
    assert main(["gc", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["freed_bytes"] == sum(each.size_bytes for each in planned) > 1500
    assert sorted(path.name for path in (installer.home / "cache" / "onnx").iterdir()) == [
        "there.onnx",
        "there.onnx.origins",
        "unknown.onnx",
    ]
    assert (one.folder / "which.txt").read_text() == "b"
    assert read_engine_note(one.info, one.folder) is not None
    assert installer.installed.replaced("toy") == []
    assert strays(installer) == []
    with pytest.raises(InstallError, match="nothing to go back to"):
        installer.rollback("toy")
    collect(installer.home)
    assert main(["gc"]) == 0
    assert capsys.readouterr().out == "0 B freed\n"


def test_files_in_use_stay_until_the_process_ends(installer: Installer, capsys: pytest.CaptureFixture[str]) -> None:
    collect(installer.home)
    place = installer.installed.get("toy").version_dir
    hold = DirectoryLock(place)
    installer.uninstall("toy")
    found = collect(installer.home)
    assert [(each.kind, each.in_use) for each in found if each.path == place] == [(UNUSED, True)]
    assert main(["gc"]) == 0
    assert f"kept, because it is in use: {place}" in capsys.readouterr().out
    hold.release()
    assert [each.kind for each in collect(installer.home) if each.path == place] == [UNUSED]
    assert not place.parent.exists()


def test_a_failed_deletion_is_reported(installer: Installer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refused)
    assert main(["gc"]) == 1
    assert "cannot delete unused files: [Errno 13] Permission denied" in capsys.readouterr().err

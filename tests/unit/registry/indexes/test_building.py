"""Indexes are built from archives and published to."""

import hashlib
import json
import shutil
import threading
from pathlib import Path

import pytest

from hubserve.errors import InstallError, LoadFailed, ModuleNotFound
from hubserve.registry.archives.packing import pack
from hubserve.registry.indexes.build import build, publish
from hubserve.registry.installer import Installer
from tests.unit.registry.indexes.toy_indexes import SETTINGS, document, install, put
from tests.unit.registry.toys import tree, write_module


def test_a_build_reads_archives_of_every_kind_at_any_depth_and_runs_none(home: Path, tmp_path: Path) -> None:
    proof, index = tmp_path / "it-ran", tmp_path / "index"
    (index / "deep" / "er").mkdir(parents=True)
    (index / ".hidden").mkdir()
    source = write_module(tmp_path / "src", extra=f"open({str(proof)!r}, 'w')", requirements__txt="numpy\n")
    pack(source, index / "deep" / "er" / "one.tar.xz")
    shutil.make_archive(str(index / "two"), "zip", write_module(tmp_path / "two", version="2.0.0"))
    (index / ".hidden" / "three.tar.gz").write_bytes(b"not looked at")
    (index / "notes.txt").write_text("not an archive")
    assert {name: [each.version for each in found.versions] for name, found in build(index, SETTINGS).items()} == {
        "toy": ["1.0.0", "2.0.0"]
    }
    assert not proof.exists()
    first = document(index)["versions"][0]
    assert first["archive"] == "deep/er/one.tar.xz"
    assert first["requirements_sha256"] == hashlib.sha256(b"numpy\n").hexdigest()
    assert first["kind"] == "paddlehub"
    before = tree(index)
    build(index, SETTINGS)
    assert tree(index) == before, "the same archives give the same index"
    (index / "two.zip").unlink()
    (index / "deep" / "er" / "one.tar.xz").unlink()
    build(index, SETTINGS)
    assert not list((index / "modules").iterdir())
    assert json.loads((index / "index.json").read_text()) == {"schema_version": 1, "modules": {}}


def test_a_build_that_fails_names_the_archive_and_writes_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / "archives" / "bad.zip").write_bytes(b"PK\x03\x04 no zip")
    before = tree(folder)
    with pytest.raises(InstallError, match=r"bad\.zip"):
        build(folder, SETTINGS)
    (folder / "archives" / "bad.zip").unlink()
    shutil.copy(folder / "archives" / "toy-1.0.0.tar.gz", folder / "again.tar.gz")
    with pytest.raises(InstallError, match=r"again\.tar\.gz.*both toy 1\.0\.0|both toy 1\.0\.0"):
        build(folder, SETTINGS)
    (folder / "again.tar.gz").unlink()
    pack(write_module(tmp_path / "clash", "my_other", "9"), folder / "clash.tar.gz")
    with pytest.raises(InstallError, match="share one place"):
        build(folder, SETTINGS)
    (folder / "clash.tar.gz").unlink()
    assert {key: value for key, value in before.items() if "bad" not in key} == tree(folder)


def test_a_version_is_not_published_twice_with_other_content(folder: Path, tmp_path: Path, installer: Installer) -> None:
    before = tree(folder)
    assert not put(folder, tmp_path / "1.0.0").added
    assert tree(folder) == before
    with pytest.raises(InstallError, match="--force"):
        put(folder, tmp_path / "changed", more__txt="other")
    assert tree(folder) == before
    assert put(folder, tmp_path / "changed", force=True).added
    assert (install(installer, "toy==1.0.0", folder).folder / "more.txt").exists()
    assert len(list((folder / "archives").iterdir())) == 4
    build(folder, SETTINGS)


def test_only_modules_are_published(folder: Path, tmp_path: Path) -> None:
    before = tree(folder)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(LoadFailed):
        publish(tmp_path / "nothing", folder, SETTINGS)
    with pytest.raises(ModuleNotFound):
        publish(tmp_path / "gone", folder, SETTINGS)
    (tmp_path / "bad.tar.gz").write_bytes(b"bad")
    with pytest.raises(InstallError):
        publish(tmp_path / "bad.tar.gz", folder, SETTINGS)
    assert tree(folder) == before


def test_several_that_publish_at_once_lose_nothing(home: Path, tmp_path: Path, installer: Installer) -> None:
    index, failures = tmp_path / "index", []

    def one(number: int) -> None:
        try:
            put(index, tmp_path / f"src{number}", version=f"1.{number}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert failures == []
    assert [each["version"] for each in document(index)["versions"]] == [f"1.{number}" for number in range(6)]
    assert install(installer, "toy", index).info.version == "1.5"

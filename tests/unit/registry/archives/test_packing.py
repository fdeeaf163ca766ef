import os
import shutil
import tarfile
import time
from pathlib import Path

import pytest

from hubserve.errors import HubError, InstallError, LoadFailed
from hubserve.registry.archives.copying import copy_folder
from hubserve.registry.archives.packing import pack
from hubserve.registry.archives.unpacking import unpack
from hubserve.registry.digests import measure
from tests.unit.registry.toys import write_module


def module_with(folder: Path, name: str = "toy", version: str = "1.0.0", files: dict[str, str] | None = None) -> Path:
    write_module(folder, name, version)
    for path, content in (files or {}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    return folder


@pytest.fixture(autouse=True)
def elsewhere(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, away from the checkout."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_an_archive_is_named_after_the_module_and_put_where_one_stands(tmp_path: Path, elsewhere: Path) -> None:
    archive = pack(module_with(tmp_path / "src", name="my-toy", version="1.2.0"))
    assert archive == elsewhere / "my-toy-1.2.0.tar.gz"
    assert [each.name for each in elsewhere.iterdir()] == [archive.name]


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.xz"])
def test_the_same_files_give_the_same_bytes_whenever_and_wherever_they_lie(tmp_path: Path, suffix: str) -> None:
    first = module_with(tmp_path / "one", files={"b/weights.bin": "w" * 5000, "a.txt": "a", "üñ.txt": "u"})
    second = tmp_path / "two"
    shutil.copytree(first, second)
    for path in second.rglob("*"):
        os.utime(path, (time.time() - 90_000, time.time() - 80_000))
        path.chmod(0o700 if path.is_dir() else 0o600)
    (second / "__pycache__").mkdir()
    (second / "__pycache__" / "module.pyc").write_bytes(b"old")
    (second / ".git").mkdir()
    one, two = pack(first, tmp_path / f"first{suffix}"), pack(second, tmp_path / f"other name{suffix}")
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.xz"])
def test_what_is_unpacked_is_what_an_install_of_the_folder_copies(tmp_path: Path, suffix: str) -> None:
    folder = module_with(tmp_path / "src", files={"tool.sh": "#!/bin/sh\n", "data/deep/file": "x"})
    (folder / "tool.sh").chmod(0o755)
    (folder / "alias").symlink_to("data")
    (folder / "empty").mkdir()
    archive = pack(folder, tmp_path / f"toy{suffix}")
    for each in ("unpacked", "copied"):
        (tmp_path / each).mkdir()
    copy_folder(folder, tmp_path / "copied")
    root = unpack(archive, tmp_path / "unpacked")
    assert measure(root) == measure(tmp_path / "copied")
    assert os.access(root / "tool.sh", os.X_OK)
    assert (root / "empty").is_dir()
    assert (root / "alias" / "deep" / "file").read_text() == "x"


def test_nothing_of_the_person_who_packs_is_in_the_archive(tmp_path: Path) -> None:
    archive = pack(module_with(tmp_path / "src"), tmp_path)
    with tarfile.open(archive) as tar:
        members = tar.getmembers()
    assert {(each.uid, each.gid, each.uname, each.gname, each.mtime) for each in members} == {(0, 0, "", "", 0)}
    assert {each.name.split("/")[0] for each in members} == {"toy"}


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("toy.zip", "ends? in .tar.gz or .tar.xz"),
        ("no/where.tar.gz", "does not exist"),
        ("src/toy.tar.gz", "own folder"),
        ("src", "own folder"),
    ],
)
def test_a_target_that_cannot_be_is_refused_and_nothing_is_written(tmp_path: Path, target: str, words: str) -> None:
    folder = module_with(tmp_path / "src")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InstallError, match=words):
        pack(folder, tmp_path / target)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_without_a_module_or_with_an_outside_link_is_not_packed(tmp_path: Path, elsewhere: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(LoadFailed):
        pack(tmp_path / "empty")
    folder = module_with(tmp_path / "src")
    (folder / "secret").symlink_to("/etc/hostname")
    with pytest.raises(HubError, match="outside"):
        pack(folder)
    assert not list(elsewhere.iterdir())


def test_a_disk_that_is_full_leaves_the_archive_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = module_with(tmp_path / "src")
    archive = pack(folder, tmp_path)
    before = archive.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InstallError, match="No space left"):
        pack(folder, tmp_path)
    assert archive.read_bytes() == before
    assert not list(tmp_path.glob(".*"))

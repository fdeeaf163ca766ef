"""Copies of folders: links are resolved, leftovers stay behind, nothing comes from outside."""

import os
import socket
from pathlib import Path

import pytest

from hubserve.errors import InstallError
from hubserve.registry.archives.copying import copy_folder
from hubserve.registry.configuration import InstallSettings
from tests.unit.registry.toys import tree, write_module


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "target"
    folder.mkdir()
    return folder


def test_a_copy_has_the_files_and_not_what_other_programs_left(tmp_path: Path, target: Path) -> None:
    source = write_module(tmp_path / "toy", weights__bin="w" * 3_000_000)
    (source / "assets" / "deep").mkdir(parents=True)
    (source / "assets" / "deep" / "label.txt").write_text("cat")
    wanted = tree(source)
    for leftover in ("__pycache__", ".git", "assets/__pycache__"):
        (source / leftover).mkdir()
        (source / leftover / "junk").write_text("junk")
    (source / ".hubserve.json").write_text("{}")
    reports = []
    copy_folder(source, target, progress=lambda *report: reports.append(report))
    assert tree(target) == wanted
    total_bytes = sum(len(content) for content in wanted.values() if content is not None)
    assert reports[-1] == ("copying", total_bytes, total_bytes)
    assert len(reports) > 3, "a large file is reported while it is copied"


def test_links_inside_become_what_they_point_to(tmp_path: Path, target: Path) -> None:
    source = write_module(tmp_path / "toy")
    (source / "real").mkdir()
    (source / "real" / "file").write_text("content")
    (source / "link").symlink_to("real/file")
    (source / "folder_link").symlink_to(source / "real")
    copy_folder(source, target)
    assert (target / "link").read_text() == "content"
    assert (target / "folder_link" / "file").read_text() == "content"
    assert not any(path.is_symlink() for path in target.rglob("*"))


def test_a_source_that_is_itself_a_link_is_followed(tmp_path: Path, target: Path) -> None:
    write_module(tmp_path / "toy")
    (tmp_path / "current").symlink_to("toy")
    copy_folder(tmp_path / "current", target)
    assert tree(target) == tree(tmp_path / "toy")


@pytest.mark.parametrize(
    ("link_to", "words"), [("../secret", "outside the module"), ("/etc", "outside"), ("gone", "is broken"), ("loop", "is broken")]
)
def test_a_link_that_leads_outside_or_nowhere_is_refused_by_name(tmp_path: Path, target: Path, link_to: str, words: str) -> None:
    (tmp_path / "secret").write_text("secret")
    source = write_module(tmp_path / "toy")
    (source / "loop").symlink_to(link_to)
    with pytest.raises(InstallError, match=words) as caught:
        copy_folder(source, target)
    assert str(source / "loop") in caught.value.message
    assert tree(target) == {}


def test_links_of_the_users_own_folder_are_followed_wherever_they_lead(tmp_path: Path, target: Path) -> None:
    disk = tmp_path / "disk"
    (disk / "deep").mkdir(parents=True)
    (disk / "deep" / "w.bin").write_text("weights")
    (disk / "again").symlink_to("deep")
    source = write_module(tmp_path / "toy")
    (source / "weights").symlink_to(disk)
    (source / "labels.txt").symlink_to("../disk/deep/w.bin")
    with pytest.raises(InstallError, match="outside the module"):
        copy_folder(source, target)
    copy_folder(source, target, follow_links=True)
    copied = ("labels.txt", "weights/deep/w.bin", "weights/again/w.bin")
    assert [(target / each).read_text() for each in copied] == ["weights"] * 3
    assert not any(path.is_symlink() for path in target.rglob("*"))


@pytest.mark.parametrize(
    ("link_to", "words"), [("../disk", "no end"), ("..", "no end"), ("/", "no end"), ("gone", "is broken"), ("me", "is broken")]
)
def test_links_that_lead_in_a_circle_or_nowhere_are_refused_when_they_are_followed(
    tmp_path: Path, target: Path, link_to: str, words: str
) -> None:
    source = write_module(tmp_path / "toy")
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "back").symlink_to(source)
    (source / "me").symlink_to(link_to)
    with pytest.raises(InstallError, match=words):
        copy_folder(source, target, follow_links=True)
    assert tree(target) == {}


def test_a_link_to_a_pipe_or_device_is_refused(tmp_path: Path, target: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for number, each in enumerate((tmp_path / "pipe", Path("/dev/zero"))):
        source = write_module(tmp_path / f"toy{number}")
        (source / "odd").symlink_to(each)
        with pytest.raises(InstallError, match="neither a file nor a folder"):
            copy_folder(source, target, follow_links=True)


def test_a_link_to_a_folder_above_it_is_refused(tmp_path: Path, target: Path) -> None:
    source = write_module(tmp_path / "toy")
    (source / "a" / "b").mkdir(parents=True)
    (source / "a" / "b" / "up").symlink_to("../../a")
    with pytest.raises(InstallError, match="no end"):
        copy_folder(source, target)


@pytest.mark.parametrize("make", ["pipe", "socket"])
def test_a_pipe_or_socket_is_refused_and_not_waited_for(tmp_path: Path, target: Path, make: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_module(tmp_path / "toy")
    monkeypatch.chdir(source)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        os.mkfifo("odd") if make == "pipe" else server.bind("odd")
        with pytest.raises(InstallError, match="neither a file nor a folder"):
            copy_folder(source, target)


def test_a_folder_over_the_limits_is_refused_before_anything_is_copied(tmp_path: Path, target: Path) -> None:
    source = write_module(tmp_path / "toy", big__bin="x" * 5000)
    for limits, key in ((InstallSettings(max_files=2), "install.max_files"), (InstallSettings(max_bytes=4000), "install.max_bytes")):
        with pytest.raises(InstallError, match=key):
            copy_folder(source, target, limits)
    assert tree(target) == {}

"""Archives of strangers: whatever they hold, nothing is written outside, and what is refused is named."""

import os
import random
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from hubserve.errors import InstallError
from hubserve.registry.archives.unpacking import unpack
from hubserve.registry.configuration import InstallSettings
from tests.unit.registry.toys import pack, tar_of, tree, write_module


def member(name: str, kind: bytes, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    folder = tmp_path / "box" / "target"
    folder.mkdir(parents=True)
    return folder


def refuse(archive: Path, target: Path, *words: str, limits: InstallSettings | None = None) -> None:
    """Unpacking must fail with these words, and write nothing outside ``target``."""
    around = {path: content for path, content in tree(target.parent.parent).items() if not path.startswith("box/target")}
    with pytest.raises(InstallError) as caught:
        unpack(archive, target, limits)
    for word in words:
        assert word in caught.value.message
    assert {path: content for path, content in tree(target.parent.parent).items() if not path.startswith("box/target")} == around
    assert all(stat.S_ISREG(path.lstat().st_mode) or stat.S_ISDIR(path.lstat().st_mode) for path in target.rglob("*"))


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
@pytest.mark.parametrize("inside", ["", "toy", "deep/deeper/toy"])
def test_a_tar_gives_the_same_files_wherever_they_lie_in_it(tmp_path: Path, target: Path, mode: str, inside: str) -> None:
    folder = write_module(tmp_path / "toy", data__bin="x" * 3000)
    (folder / "assets").mkdir()
    (folder / "assets" / "模型.txt").write_text("weights")
    os.chmod(folder / "data.bin", 0o6711)
    root = unpack(pack(tmp_path / "any.name", folder, mode, inside), target)
    assert tree(root) == tree(folder)
    assert stat.S_IMODE((root / "data.bin").stat().st_mode) & 0o7000 == 0
    assert (root / "data.bin").stat().st_mode & stat.S_IXUSR


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_gives_the_same_files_and_the_litter_of_macs_does_not_hide_them(tmp_path: Path, target: Path, compression: int) -> None:
    folder = write_module(tmp_path / "toy", 标签__txt="猫")
    with zipfile.ZipFile(tmp_path / "toy.zip", "w", compression) as pack_file:
        pack_file.writestr("__MACOSX/._toy", "litter")
        for path in folder.iterdir():
            pack_file.write(path, f"toy/{path.name}")
    assert tree(unpack(tmp_path / "toy.zip", target)) == tree(folder)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("../escaped", "'..'"),
        ("toy/../../escaped", "'..'"),
        ("toy/..", "'..'"),
        ("/tmp/hubserve-escaped", "absolute"),
        ("//tmp/hubserve-escaped", "absolute"),
        ("toy\\..\\..\\escaped", "backslash"),
        ("C:/escaped", "drive letter"),
        ("toy/\x1b[31m", "control characters"),
        ("toy/\udcff\udcfe", "not UTF-8"),
        ("/".join(["d"] * 40), "folders deep"),
        ("n" * 300, "too long"),
        ("/".join(["p" * 200] * 6), "too long"),
    ],
)
def test_a_tar_member_whose_name_is_unsafe_is_refused_by_name(tmp_path: Path, target: Path, name: str, word: str) -> None:
    archive = tar_of(tmp_path / "bad.tar", ("toy/module.py", b"fine"), (name, b"payload"))
    refuse(archive, target, word, ascii(name)[1:20], "Repack")


@pytest.mark.parametrize("name", ["../escaped", "/tmp/hubserve-escaped", "a\\..\\b", "x/../../y", "zero\x00byte"])
def test_a_zip_member_whose_name_is_unsafe_is_refused_by_name(tmp_path: Path, target: Path, name: str) -> None:
    placeholder = "N" * len(name)
    with zipfile.ZipFile(tmp_path / "good.zip", "w") as pack_file:
        pack_file.writestr(placeholder, "payload")
    raw = (tmp_path / "good.zip").read_bytes().replace(placeholder.encode(), name.encode())
    (tmp_path / "bad.zip").write_bytes(raw)
    refuse(tmp_path / "bad.zip", target, "is refused", ascii(name)[1:6])


@pytest.mark.parametrize(
    ("kind", "link_to", "word"),
    [
        (tarfile.SYMTYPE, "/etc", "a symbolic link"),
        (tarfile.SYMTYPE, "module.py", "a symbolic link"),
        (tarfile.LNKTYPE, "../../outside", "a hard link"),
        (tarfile.FIFOTYPE, "", "a pipe"),
        (tarfile.CHRTYPE, "", "a device"),
        (tarfile.BLKTYPE, "", "a device"),
        (tarfile.GNUTYPE_SPARSE, "", "special file"),
    ],
)
def test_a_tar_member_that_is_no_regular_file_is_refused(tmp_path: Path, target: Path, kind: bytes, link_to: str, word: str) -> None:
    archive = tar_of(tmp_path / "bad.tar", member("toy/odd", kind, link_to), ("toy/odd/passwd", b"payload"))
    refuse(archive, target, "'toy/odd'", word)


def test_a_zip_with_a_symbolic_link_is_refused(tmp_path: Path, target: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as pack_file:
        info = zipfile.ZipInfo("toy/link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        pack_file.writestr(info, "/etc")
        pack_file.writestr("toy/link/passwd", "payload")
    refuse(tmp_path / "bad.zip", target, "'toy/link'", "a symbolic link")


def test_an_encrypted_zip_is_refused(tmp_path: Path, target: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as pack_file:
        pack_file.writestr("module.py", "secret")
    raw = bytearray((tmp_path / "bad.zip").read_bytes())
    for at in (6, raw.index(b"PK\x01\x02") + 8):
        raw[at] |= 1
    (tmp_path / "bad.zip").write_bytes(raw)
    refuse(tmp_path / "bad.zip", target, "encrypted", "without a password")


@pytest.mark.parametrize("names", [("a", "a"), ("a", "./a"), ("d/a", "d//a"), ("a", "a/b"), ("a/b", "a")])
def test_two_members_in_one_place_are_refused(tmp_path: Path, target: Path, names: tuple[str, str]) -> None:
    refuse(tar_of(tmp_path / "bad.tar", (names[0], b"1"), (names[1], b"2")), target, "is refused")


def test_too_many_files_too_many_bytes_and_bombs_are_refused_with_the_setting_to_raise(tmp_path: Path, target: Path) -> None:
    many = tar_of(tmp_path / "many.tar", *((f"f{index}", b"") for index in range(6)))
    refuse(many, target, "'f5'", "5 files", "install.max_files", limits=InstallSettings(max_files=5))
    (target.parent / "two").mkdir()
    big = tar_of(tmp_path / "big.tar", ("big", bytes(3000)))
    refuse(big, target, "'big'", "2999 bytes", "install.max_bytes", limits=InstallSettings(max_bytes=2999))
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as pack_file:
        pack_file.writestr("bomb", bytes(80 << 20))
    refuse(tmp_path / "bomb.zip", target, "'bomb'", "200 times", "install.max_ratio")
    assert (target / "bomb").stat().st_size <= 66 << 20


def test_a_size_that_a_zip_lies_about_does_not_lift_the_limit(tmp_path: Path, target: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w", zipfile.ZIP_DEFLATED) as pack_file:
        pack_file.writestr("module.py", bytes(100_000))
    raw = (tmp_path / "bad.zip").read_bytes().replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    (tmp_path / "bad.zip").write_bytes(raw)
    refuse(tmp_path / "bad.zip", target, "damaged")
    assert (target / "module.py").stat().st_size <= 10


def test_a_header_that_asks_for_gigabytes_is_refused_before_it_is_read(tmp_path: Path, target: Path) -> None:
    huge = tarfile.TarInfo("pax")
    huge.type, huge.size = tarfile.XHDTYPE, 8 << 20
    (tmp_path / "bad.tar").write_bytes(huge.tobuf(tarfile.USTAR_FORMAT) + bytes(9 << 20))
    refuse(tmp_path / "bad.tar", target, "headers")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_an_archive_that_is_cut_off_is_refused_wherever_it_is_cut(tmp_path: Path, target: Path, mode: str, keep: float) -> None:
    folder = write_module(tmp_path / "toy")
    noise = random.Random(3)
    for index in range(4):
        (folder / f"data{index}").write_bytes(noise.randbytes(30_000))
    whole = pack(tmp_path / "whole", folder, mode, "toy").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: int(len(whole) * keep)])
    refuse(tmp_path / "cut", target, "'" + str(tmp_path / "cut") + "'", "damaged", "again")


def test_a_tar_that_is_cut_between_two_members_is_refused(tmp_path: Path, target: Path) -> None:
    whole = tar_of(tmp_path / "whole.tar", ("a", b"1"), ("b", b"2")).read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[:1024])
    refuse(tmp_path / "cut.tar", target, "cut off")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x1f\x8b", b"BZh9", b"\xfd7zXZ\x00"])
def test_a_file_in_another_format_is_refused_and_the_formats_are_listed(tmp_path: Path, target: Path, content: bytes) -> None:
    (tmp_path / "odd.tar.gz").write_bytes(content)
    refuse(tmp_path / "odd.tar.gz", target, ".tar.gz", ".zip")

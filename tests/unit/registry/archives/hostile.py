"""Archives that mean harm, made at random: every trick that is known, alone and together.

Run it: python -m tests.unit.registry.archives.hostile [--archives N]; exits with 1 if one got out of its folder.
"""

import argparse
import bz2
import gzip
import io
import lzma
import os
import re
import stat
import sys
import tarfile
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hubserve.errors import InstallError
from hubserve.registry.archives.unpacking import unpack
from hubserve.registry.configuration import InstallSettings
from tests.unit.registry.toys import tree

LIMITS = InstallSettings(max_files=40, max_bytes=1 << 20)
_WATCHED = {
    "os.rename",
    "os.link",
    "os.symlink",
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.chmod",
    "os.chown",
    "os.truncate",
    "os.utime",
    "os.setxattr",
}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Entry(NamedTuple):
    """One member, as it is claimed to be."""

    name: str
    kind: bytes
    link: str
    content: bytes
    claimed_bytes: int | None
    mode: int
    header: str


def _plain(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", content: bytes = b"payload") -> Entry:
    return Entry(name, kind, link, content if kind == tarfile.REGTYPE else b"", None, 0o644, "gnu")


#: BOX is replaced with the folder around; it holds ``outside/precious`` and must stay as it is
PARTS = st.sampled_from(
    [
        "..",
        ".",
        "",
        "...",
        "a",
        "A",
        "b",
        "module.py",
        "Module.PY",
        "C:",
        "a\\..\\b",
        "\x00",
        "\x1b[2J",
        "\n",
        "\x7f",
        "é",
        "e\u0301",
        "\u202e",
        "\udcff",
        "x" * 260,
        "con",
        " ",
        "-rf",
        "~",
        "$HOME",
        ".git",
        "__pycache__",
        ".hubserve.json",
        ".history.json",
        "d" * 90,
        "outside",
        "precious",
    ]
)
NAMES = st.one_of(
    st.builds(
        lambda start, parts: start + "/".join(parts),
        st.sampled_from(["", "", "", "/", "//", "BOX/", "./", "../", "file://"]),
        st.lists(PARTS, min_size=1, max_size=5),
    ),
    st.sampled_from(
        ["BOX/outside/precious", "../../outside/new", "../outside/precious", "/".join("d" * 40), "link/precious", "a/../../../outside/x"]
    ),
    st.text(max_size=12).filter(lambda text: not re.search("[\ud800-\udbff]", text)),
)
LINKS = st.sampled_from(
    ["..", "/", "a", "BOX/outside", "BOX/outside/precious", "../../outside", "../../outside/precious", "/etc/passwd", ""]
)
KINDS = st.sampled_from(
    [tarfile.REGTYPE] * 4
    + [
        tarfile.AREGTYPE,
        tarfile.DIRTYPE,
        tarfile.DIRTYPE,
        tarfile.SYMTYPE,
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.LNKTYPE,
        tarfile.FIFOTYPE,
    ]
    + [
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.CONTTYPE,
        tarfile.GNUTYPE_SPARSE,
        b"x",
        b"g",
        b"L",
        b"K",
        b"X",
        b"V",
        b"M",
        b"D",
        b"\x00",
        b"\xff",
    ]
)
ENTRIES = st.builds(
    Entry,
    NAMES,
    KINDS,
    LINKS,
    st.one_of(st.binary(max_size=40), st.just(bytes(3000)), st.just(b"30 path=../../outside/pax\n"), st.just(b"x" * 700)),
    st.sampled_from([None, None, None, None, 0, 1, 511, 513, 5000, 1 << 20, 1 << 33, 1 << 62]),
    st.sampled_from([0o644, 0o755, 0o6777, 0, 0o4755, 0o177777]),
    st.sampled_from(["gnu", "ustar", "pax path", "pax linkpath", "pax size", "pax sparse", "pax odd", "gnu long name", "gnu long link"]),
)
LISTS = st.one_of(
    st.lists(ENTRIES, max_size=6),
    # a link first, then a file through it
    st.builds(
        lambda link, kind, name: [_plain("link", kind, link), _plain(f"link/{name}")],
        LINKS,
        st.sampled_from([b"2", b"1"]),
        st.sampled_from(["x", "precious"]),
    ),
    st.builds(lambda count: [_plain(f"f{index}") for index in range(count)], st.integers(30, 60)),  # more than are allowed, or not
    st.builds(lambda name: [_plain(name), _plain(name), _plain(name + "/x")], NAMES),
    st.builds(lambda size_bytes: [_plain("bomb", content=bytes(size_bytes))], st.integers(1 << 19, 3 << 20)),
    st.just([_plain("ok/module.py", content=b"x = 1\n"), _plain("ok/data.bin")]),
)


def make_tar(entries: list[Entry]) -> bytes:
    """A tar of blocks that are written one by one, so that none of its parts has to fit the others."""
    return b"".join(_tar_blocks(entry) for entry in entries) + bytes(1024)


def _tar_blocks(entry: Entry) -> bytes:
    info = tarfile.TarInfo(entry.name)
    info.type, info.linkname, info.mode = entry.kind, entry.link, entry.mode
    info.size = len(entry.content) if entry.claimed_bytes is None else entry.claimed_bytes
    raw_name = entry.name.encode("utf-8", "surrogateescape")
    before = b""
    if entry.header.startswith("pax"):
        records = {
            "pax path": (b"path", raw_name),
            "pax linkpath": (b"linkpath", entry.link.encode()),
            "pax size": (b"size", str(info.size).encode()),
            "pax sparse": (b"GNU.sparse.name", raw_name),
            "pax odd": (b"path\x00", b"=\n\n="),
        }
        before = _tar_extra(b"x", _pax_record(*records[entry.header]))
        info.name = "innocent"
    elif entry.header == "gnu long name":
        before, info.name = _tar_extra(b"L", raw_name + b"\0"), "innocent"
    elif entry.header == "gnu long link":
        before = _tar_extra(b"K", entry.link.encode() + b"\0")
    try:
        header = info.tobuf(tarfile.USTAR_FORMAT if entry.header == "ustar" else tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    except ValueError:  # too long, or too large, for this form
        info.name, info.size = "short", len(entry.content)
        header = info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")
    return before + header + entry.content + bytes(-len(entry.content) % 512)


def _tar_extra(kind: bytes, content: bytes) -> bytes:
    info = tarfile.TarInfo("extra")
    info.type, info.size = kind, len(content)
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)


def _pax_record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    size = len(rest) + 2
    while len(str(size)) + len(rest) != size:
        size = len(str(size)) + len(rest)
    return str(size).encode() + rest


def make_zip(entries: list[Entry]) -> bytes:
    """A zip whose entries may share names, be links, lie about their sizes, or be encrypted."""
    kinds = {tarfile.SYMTYPE: stat.S_IFLNK, tarfile.FIFOTYPE: stat.S_IFIFO, tarfile.DIRTYPE: stat.S_IFDIR, tarfile.CHRTYPE: stat.S_IFCHR}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as pack:
        for index, entry in enumerate(entries):
            info = zipfile.ZipInfo(f"placeholder{index}")
            info.filename = entry.name.encode("utf-8", "replace").decode() or "empty"
            info.external_attr = ((kinds.get(entry.kind, stat.S_IFREG) | entry.mode) << 16) & 0xFFFFFFFF
            info.compress_type = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA][len(entry.name) % 4]
            pack.NameToInfo.clear()  # it warns of a name that it has seen
            pack.writestr(info, entry.link if entry.kind == tarfile.SYMTYPE else entry.content)
            if entry.claimed_bytes is not None:
                info.file_size = min(entry.claimed_bytes, (1 << 32) - 2)
            info.flag_bits |= entry.mode == 0o6777
    return buffer.getvalue()


def nested(entries: list[Entry]) -> bytes:
    """An archive in an archive, the inner one being the hostile one."""
    return make_tar([_plain("inner.tar", content=make_tar(entries)[:60_000]), _plain("module.py")])


WRAPPERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "gzip twice": lambda raw: gzip.compress(gzip.compress(raw)),
    "behind rubbish": lambda raw: b"PK\x03\x04" + raw,
    "zip behind tar": lambda raw: raw + make_zip([_plain("../escaped")]),
    "cut": lambda raw: raw[: len(raw) * 2 // 3],
}
DAMAGE = st.one_of(st.just([]), st.just([]), st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=3))


def build(make: Callable[[list[Entry]], bytes], entries: list[Entry], wrapper: str, damage: list[tuple[float, int]], box: str) -> bytes:
    """One archive."""
    placed = [entry._replace(name=entry.name.replace("BOX", box), link=entry.link.replace("BOX", box)) for entry in entries]
    raw = bytearray(WRAPPERS[wrapper](make(placed)))
    for place, value in damage:
        raw[int(place * len(raw))] = value
    return bytes(raw)


class Watch:
    """Collects every path outside a folder that is written, by Python's audit events. There is one for the whole process."""

    def __init__(self) -> None:
        self._target: Path | None = None
        self.outside: list[str] = []
        sys.addaudithook(self._hook)

    @contextmanager
    def over(self, target: Path) -> Iterator[list[str]]:
        """Watch while something is unpacked into ``target``."""
        self._target, self.outside = target, []
        try:
            yield self.outside
        finally:
            self._target = None

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._target is None:
            return
        paths: list[Any] = []
        if event == "open" and arguments[2] & _WRITES:
            paths = [arguments[0]]
        elif event in _WATCHED:
            paths = [each for each in arguments if isinstance(each, (str, bytes, os.PathLike))]
        for path in paths:
            if not isinstance(path, int) and not self._is_inside(os.fsdecode(path)):
                self.outside.append(f"{event} {path!r}")

    def _is_inside(self, path: str) -> bool:
        resolved = os.path.realpath(path)
        return resolved == str(self._target) or resolved.startswith(f"{self._target}{os.sep}")


def check(raw: bytes, box: Path, watch: Watch) -> str:
    """Unpack an archive.

    Returns:
        Why it was refused; "" if it was unpacked.
    Raises:
        AssertionError: something was done outside its folder, or left in it that no module may have.
    """
    (box / "outside").mkdir()
    (box / "outside" / "precious").write_text("precious")
    target = box / "inner" / "target"
    target.mkdir(parents=True)
    (box / "archive").write_bytes(raw)
    before = tree(box)
    reason = ""
    with watch.over(target) as outside:
        try:
            unpack(box / "archive", target, LIMITS)
        except InstallError as error:
            reason = error.message
            assert reason.endswith((".", "NUMBER")), reason
    assert outside == []
    after = tree(box)
    assert {path: content for path, content in after.items() if not path.startswith("inner/target/")} == before
    assert (box / "outside" / "precious").stat().st_nlink == 1
    size_bytes = 0
    for path in target.rglob("*"):
        status = path.lstat()
        assert stat.S_ISDIR(status.st_mode) or (stat.S_ISREG(status.st_mode) and status.st_nlink == 1), path
        assert not status.st_mode & 0o7000, path
        size_bytes += status.st_size if stat.S_ISREG(status.st_mode) else 0
    assert size_bytes <= LIMITS.max_bytes
    assert sum(1 for _ in target.rglob("*")) <= LIMITS.max_files
    return reason


def run(archives: int, seen: Callable[[str], None]) -> None:
    """Make and unpack archives.

    Args:
        archives: how many.
        seen: called for each archive with the reason of its refusal, or "".
    """
    watch = Watch()

    @given(
        make=st.sampled_from([make_tar, make_tar, make_zip, nested]),
        entries=LISTS,
        wrapper=st.sampled_from(["plain"] * 12 + [*WRAPPERS]),
        damage=DAMAGE,
    )
    @settings(
        max_examples=archives,
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    def one(make: Any, entries: list[Entry], wrapper: str, damage: list[tuple[float, int]]) -> None:
        with tempfile.TemporaryDirectory() as box:
            seen(check(build(make, entries, wrapper, damage, box), Path(box).resolve(), watch))

    one()


def _kind_of(reason: str) -> str:
    """The reason, without the names of the archive."""
    text = re.sub(r"^'[^']*' |^the archive's member .*? is refused: |^the archive is refused: ", "", reason, flags=re.DOTALL)
    damage = re.search(r"archive \((\w+)", text)
    if damage:
        return f"damaged, or no archive ({damage[1]})"
    return re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "_", text).split(". ")[0] if text else "unpacked, inside"


def main() -> int:
    """Run, and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archives", type=int, default=10_000)
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    start = time.monotonic()
    run(args.archives, lambda reason: counts.update([_kind_of(reason)]))
    for kind, count in counts.most_common():
        print(f"{count:>7}  {kind}")
    print(f"{sum(counts.values())} archives in {time.monotonic() - start:.0f} s")
    print("none wrote outside its folder; each was unpacked inside or refused with a reason")
    return 0


if __name__ == "__main__":
    sys.exit(main())

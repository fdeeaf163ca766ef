"""Unpack an untrusted archive.

Nothing is written outside the target folder, whatever the archive holds: only regular files and folders are accepted, their names are
checked, and their sizes are counted while they are written.
"""

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from hubserve.errors import InstallError
from hubserve.registry.archives.extraction import Extraction, Member, refused
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.progress import Progress, silent

#: supported formats, for messages
FORMATS = ".tar, .tar.gz, .tar.xz, .tar.bz2 or .zip"

#: endings of their names
ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2", ".zip")

_COMPRESSED: tuple[tuple[bytes, Any], ...] = ((b"\x1f\x8b", gzip.open), (b"\xfd7zXZ\x00", lzma.open), (b"BZh", bz2.open))
_ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")
_BLOCK_BYTES = 512
#: larger reads come from hostile tar headers: real ones hold a path
_MAX_TAR_READ_BYTES = 1 << 20
#: a zip's central directory is read at once; this is enough for more than a hundred thousand files
_MAX_ZIP_READ_BYTES = 16 << 20
_MAX_TAIL_BYTES = 16 << 20

# The standard library's readers raise these on damaged input; there is no common base class.
_DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    NotImplementedError,
    RecursionError,
    RuntimeError,
    MemoryError,
)


def unpack(archive: Path, target: Path, limits: InstallSettings | None = None, progress: Progress = silent) -> Path:
    """Unpack ``archive`` into the empty folder ``target``.

    Args:
        archive: a file in one of :data:`FORMATS`, recognised by its content, not its name.
        target: an empty folder.
        limits: how much may be written; the defaults where None.
        progress: called as it proceeds.
    Returns:
        The folder that holds the module's files: ``target``, or the single folder in it, however deep.
    Raises:
        InstallError: the archive is damaged or in an unknown format, or a member is refused; the message names the member, the reason
            and what to do. ``target`` may then hold some files; nothing else was written.
    """
    size_bytes = archive.stat().st_size
    with archive.open("rb") as file:

        def report() -> None:
            progress("unpacking", min(file.tell(), size_bytes), size_bytes)

        extraction = Extraction(target, size_bytes, limits or InstallSettings(), report)
        members = _members(file, archive)
        while (member := _next(members, archive)) is not None:
            extraction.write(_with_damage_reported(member, archive))
    return _module_root(target)


def _members(file: IO[bytes], archive: Path) -> Iterator[Member]:
    start = file.read(6)
    file.seek(0)
    if start.startswith(_ZIP_STARTS):
        return _zip_members(file)
    for magic, opener in _COMPRESSED:
        if start.startswith(magic):
            return _tar_members(opener(file, "rb"), archive)
    return _tar_members(file, archive)


def _next(members: Iterator[Member], archive: Path) -> Member | None:
    try:
        return next(members, None)
    except _DAMAGE as error:
        raise _damaged(archive, error) from error


def _damaged(archive: Path, error: BaseException) -> InstallError:
    return InstallError(
        f"'{archive}' cannot be unpacked: it is damaged, or not a {FORMATS} archive ({type(error).__name__}: {str(error)[:200]}). "
        "Fetch or pack it again."
    )


def _with_damage_reported(member: Member, archive: Path) -> Member:
    """Return the member with read errors reported as a damaged archive, to distinguish them from write errors."""

    class Guarded:
        def __init__(self) -> None:
            self._source = self._try(member.open)

        def read(self, size: int, /) -> bytes:
            data: bytes = self._try(self._source.read, size)
            return data

        def _try(self, call: Any, *arguments: Any) -> Any:
            try:
                return call(*arguments)
            except _DAMAGE as error:
                raise _damaged(archive, error) from error

    return member._replace(open=Guarded)


class _Bounded:
    """A file with bounded single reads, so that no header can make its parser exhaust the memory."""

    def __init__(self, file: IO[bytes], max_read_bytes: int) -> None:
        self._file = file
        self._max_read_bytes = max_read_bytes
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(self._max_read_bytes + 1 if size < 0 else min(size, self._max_read_bytes + 1))
        if len(data) > self._max_read_bytes:
            raise InstallError(f"the archive is refused: its headers are over {self._max_read_bytes} bytes. Pack the module again.")
        return data

    def seekable(self) -> bool:
        return True


def _tar_members(file: IO[bytes], archive: Path) -> Iterator[Member]:
    bounded: Any = _Bounded(file, _MAX_TAR_READ_BYTES)
    with tarfile.open(fileobj=bounded, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:
        while (info := tar.next()) is not None:
            if not (info.isdir() or (info.isreg() and not info.issparse())) or info.size < 0:
                raise refused(info.name, f"it is {_tar_kind(info)}, and a module holds only regular files and folders")
            yield Member(info.name, info.isdir(), bool(info.mode & stat.S_IXUSR), _tar_opener(tar, info))
        _check_tar_end(bounded, tar.offset, archive)


def _tar_opener(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Any:
    return lambda: tar.extractfile(info)


def _tar_kind(info: tarfile.TarInfo) -> str:
    kinds = ((info.issym(), "a symbolic link"), (info.islnk(), "a hard link"), (info.isfifo(), "a pipe"), (info.isdev(), "a device"))
    return next((text for true, text in kinds if true), "a special file")


def _check_tar_end(bounded: _Bounded, offset: int, archive: Path) -> None:
    """Check that the archive ends with a block of zeros: the reader stops silently at a broken header. Reading on checks the checksum."""
    bounded.seek(offset)
    if bounded.read(_BLOCK_BYTES) != bytes(_BLOCK_BYTES):
        raise InstallError(f"'{archive}' is cut off or damaged: its last part is missing. Fetch or pack it again.")
    tail_bytes = 0
    while chunk := bounded.read(_MAX_TAR_READ_BYTES):
        tail_bytes += len(chunk)
        if tail_bytes > _MAX_TAIL_BYTES:
            raise InstallError(f"'{archive}' is refused: too much data follows its end. Pack the module again.")


def _zip_members(file: IO[bytes]) -> Iterator[Member]:
    bounded: Any = _Bounded(file, _MAX_ZIP_READ_BYTES)
    with zipfile.ZipFile(bounded) as pack:
        for info in pack.infolist():
            name = _zip_name(info)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                what = "a symbolic link" if kind == stat.S_IFLNK else "a special file"
                raise refused(name, f"it is {what}, and a module holds only regular files and folders")
            if info.flag_bits & 0x1:
                raise refused(name, "it is encrypted", "Repack the archive without a password.")
            is_folder = name.endswith("/") or kind == stat.S_IFDIR
            yield Member(name, is_folder, bool((info.external_attr >> 16) & stat.S_IXUSR), _zip_opener(pack, info))


def _zip_opener(pack: zipfile.ZipFile, info: zipfile.ZipInfo) -> Any:
    return lambda: pack.open(info)


def _zip_name(info: zipfile.ZipInfo) -> str:
    name = info.orig_filename  # filename is cut at the first zero byte
    if name.isascii() or info.flag_bits & 0x800:
        return name
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        raise refused(name, "its name is not UTF-8") from None


def _module_root(target: Path) -> Path:
    while True:
        entries = [each for each in target.iterdir() if each.name != "__MACOSX"]
        if len(entries) != 1 or not entries[0].is_dir():
            return target
        target = entries[0]

"""Write an archive's members into one folder, and nowhere else."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from hubserve.errors import InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.digests import CHUNK_BYTES

#: up to this size the ratio is not checked, because small archives can compress very well
_FREE_OF_RATIO_BYTES = 64 << 20
_MAX_DEPTH = 32
_MAX_PART_BYTES = 255
_MAX_NAME_BYTES = 1024


class Source(Protocol):
    """Readable source of a member's bytes."""

    def read(self, size: int, /) -> bytes:
        """Read at most ``size`` bytes; none at the end."""


class Member(NamedTuple):
    """One regular file or folder of an archive.

    Attributes:
        name: as in the archive.
        is_folder: True for a folder, which has no bytes.
        executable: True if its owner may run it.
        open: opens its bytes for reading.
    """

    name: str
    is_folder: bool
    executable: bool
    open: Callable[[], Source]


def refused(name: str, why: str, remedy: str = "Repack the archive without it, from the module's folder.") -> InstallError:
    """Return the error for a refused member."""
    shown = name if len(name) <= 120 else name[:120] + "..."
    return InstallError(f"the archive's member {shown!a} is refused: {why}. {remedy}")


class Extraction:
    """Extraction into an empty folder. Sizes are counted while writing; those given in the archive are not trusted.

    Args:
        target: an empty folder.
        archive_bytes: size of the archive.
        limits: how much may be written.
        on_chunk: called after each chunk.
    """

    def __init__(self, target: Path, archive_bytes: int, limits: InstallSettings, on_chunk: Callable[[], None]) -> None:
        self._target = target
        self._limits = limits
        self._on_chunk = on_chunk
        self._max_grown_bytes = max(_FREE_OF_RATIO_BYTES, archive_bytes * limits.max_ratio)
        self._folders: set[tuple[str, ...]] = {()}
        self._files: set[tuple[str, ...]] = set()
        self.written_bytes = 0

    def write(self, member: Member) -> None:
        """Write one member.

        Raises:
            InstallError: its name, kind or size is refused; the message names it.
        """
        parts = safe_parts(member.name)
        if member.is_folder:
            self._add_folders(parts, member.name)
            return
        if not parts:
            raise refused(member.name, "it is a file without a name")
        self._add_folders(parts[:-1], member.name)
        if parts in self._files or parts in self._folders:
            raise refused(member.name, "the archive has another member of that name")
        self._files.add(parts)
        self._check_count(member.name)
        self._write_file(self._target.joinpath(*parts), member)

    def _add_folders(self, parts: tuple[str, ...], name: str) -> None:
        for depth in range(1, len(parts) + 1):
            folder = parts[:depth]
            if folder in self._folders:
                continue
            if folder in self._files:
                raise refused(name, f"{'/'.join(folder)!a} is both a file and a folder")
            self._folders.add(folder)
            self._check_count(name)
            self._target.joinpath(*folder).mkdir(mode=0o755)

    def _check_count(self, name: str) -> None:
        most = self._limits.max_files
        if len(self._files) + len(self._folders) - 1 > most:
            raise refused(name, f"it is one more than the {most} files that a module may have", _raise_limit("max_files"))

    def _write_file(self, path: Path, member: Member) -> None:
        mode = 0o755 if member.executable else 0o644
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as file:
            source = member.open()
            while chunk := source.read(CHUNK_BYTES):
                self._count(len(chunk), member.name)
                file.write(chunk)
                self._on_chunk()

    def _count(self, size_bytes: int, name: str) -> None:
        self.written_bytes += size_bytes
        if self.written_bytes > self._limits.max_bytes:
            raise refused(name, f"with it the module is over {self._limits.max_bytes} bytes", _raise_limit("max_bytes"))
        if self.written_bytes > self._max_grown_bytes:
            raise refused(
                name, f"the archive unpacks to more than {self._limits.max_ratio} times its size, as bombs do", _raise_limit("max_ratio")
            )


def _raise_limit(key: str) -> str:
    return f"If you trust the archive, raise the limit: hub config install.{key}==NUMBER"


def safe_parts(name: str) -> tuple[str, ...]:
    """Return the folders and the file of a member's name.

    Raises:
        InstallError: the name could leave the folder, or is not valid on every system.
    """
    why = _why_unsafe(name)
    if why:
        raise refused(name, why)
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if len(parts) > _MAX_DEPTH:
        raise refused(name, f"it is more than {_MAX_DEPTH} folders deep")
    if any(len(part.encode("utf-8")) > _MAX_PART_BYTES for part in parts) or len(name.encode("utf-8")) > _MAX_NAME_BYTES:
        raise refused(name, f"its name is too long (at most {_MAX_PART_BYTES} bytes a part and {_MAX_NAME_BYTES} in all)")
    return parts


def _why_unsafe(name: str) -> str:
    if name.startswith("/"):
        return "its path is absolute, and would be written outside the module"
    if "\\" in name or (name[1:2] == ":" and name[0].isalpha()):
        return "its name holds a backslash or a drive letter, which some systems read as a path"
    if ".." in name.split("/"):
        return "its path climbs with '..', and could be written outside the module"
    if any(not _is_text(character) for character in name):
        return "its name holds control characters, or is not UTF-8"
    return ""


def _is_text(character: str) -> bool:
    # Bytes that are not UTF-8 arrive as surrogates, D800 to DFFF.
    code = ord(character)
    return code >= 0x20 and code != 0x7F and not 0xD800 <= code < 0xE000

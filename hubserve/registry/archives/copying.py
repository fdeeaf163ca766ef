"""Copy a module's folder, with links resolved and leftovers of other programs left out.

A link that leads outside is followed in a folder that the user named, for example to weights on another disk. In a fetched module it is
refused, because its author could have any file of this machine copied.
"""

import os
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.digests import CHUNK_BYTES, Contents, digest_files
from hubserve.registry.manifest import FILES_NAME, MANIFEST_NAME
from hubserve.registry.progress import Progress, silent

#: created by other programs, or by an earlier install
LEFT_OUT = frozenset(
    {
        "__pycache__",
        ".git",
        ".hg",
        ".svn",
        ".DS_Store",
        ".mypy_cache",
        ".pytest_cache",
        ".ruff_cache",
        ".ipynb_checkpoints",
        MANIFEST_NAME,
        FILES_NAME,
    }
)


class Entry(NamedTuple):
    """One file or folder of a module.

    Attributes:
        path: its real path; links are resolved.
        relative: its path in the module.
        status: of the real file.
    """

    path: Path
    relative: Path
    status: os.stat_result

    @property
    def is_folder(self) -> bool:
        """True for a folder, False for a regular file."""
        return stat.S_ISDIR(self.status.st_mode)


def copy_folder(
    source: Path, target: Path, limits: InstallSettings | None = None, progress: Progress = silent, *, follow_links: bool = False
) -> None:
    """Copy the regular files of ``source`` into the empty folder ``target``.

    Links are copied as what they point to.

    Args:
        source: the folder.
        target: the empty folder.
        limits: the most to copy; the defaults where None.
        progress: called as it proceeds.
        follow_links: allow links to lead outside ``source``.
    Raises:
        InstallError: a link leads outside without ``follow_links``, or in a circle, an entry is neither a regular file nor a folder, or
            ``limits`` are exceeded.
        OSError: reading or writing failed.
    """
    found = list_folder(source, limits, follow_links=follow_links)
    total_bytes = size_of(found)
    done_bytes = 0
    for each in found:
        if each.is_folder:
            (target / each.relative).mkdir(mode=0o755)
            continue
        for copied_bytes in _copy_file(each.path, target / each.relative):
            done_bytes += copied_bytes
            progress("copying", done_bytes, total_bytes)


def list_folder(source: Path, limits: InstallSettings | None = None, *, follow_links: bool = False) -> list[Entry]:
    """List the entries of ``source`` that belong to the module, each folder before its content, sorted by name.

    Raises:
        InstallError: as :func:`copy_folder`.
    """
    limits = limits or InstallSettings()
    root = source.resolve(strict=True)
    found: list[Entry] = []
    total_bytes = 0
    for each in _walk(None if follow_links else root, root, Path(), ()):
        found.append(each)
        total_bytes += size_of([each])
        _check_limits(source, len(found), total_bytes, limits)
    return found


def measure_source(source: Path) -> Contents:
    """Digest what an install from a folder would copy; the result equals that of the installed files if nothing has changed.

    Raises:
        InstallError: it cannot be installed.
    """
    entries = list_folder(source, InstallSettings(max_files=sys.maxsize, max_bytes=sys.maxsize), follow_links=True)
    return digest_files({each.relative.as_posix(): each.path for each in entries if not each.is_folder})[0]


def size_of(entries: Iterable[Entry]) -> int:
    """Return the size of all files in bytes."""
    return sum(each.status.st_size for each in entries if not each.is_folder)


def _walk(root: Path | None, folder: Path, relative: Path, above: tuple[Path, ...]) -> Iterator[Entry]:
    """Yield the entries of a folder, recursively.

    Args:
        root: the folder that links must stay below; None for no restriction.
        folder: the folder, its links resolved.
        relative: its path in the module.
        above: the folders above it.
    """
    for entry in sorted(os.scandir(folder), key=lambda each: each.name):
        if entry.name in LEFT_OUT:
            continue
        path = folder / entry.name
        if entry.is_symlink():
            path = _target_of_link(root, path, (*above, folder))
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            yield Entry(path, relative / entry.name, status)
            yield from _walk(root, path, relative / entry.name, (*above, folder))
        elif stat.S_ISREG(status.st_mode):
            yield Entry(path, relative / entry.name, status)
        else:
            raise InstallError(
                f"'{path}' is neither a file nor a folder, so it cannot be installed. Remove it, or the link to it, from the module."
            )


def _target_of_link(root: Path | None, link: Path, above: tuple[Path, ...]) -> Path:
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a circle of links, before Python 3.13
        raise InstallError(f"the link '{link}' is broken. Remove it, or create its target.") from None
    if root is not None and root not in target.parents:
        raise InstallError(
            f"the link '{link}' leads outside the module, to '{target}', and only links in a folder that you install from this machine are "
            "followed. Put the file itself there."
        )
    if any(target == each or target in each.parents for each in above):
        raise InstallError(f"the link '{link}' leads to a folder that holds it, so the module would have no end. Remove it.")
    return target


def _check_limits(source: Path, files: int, size_bytes: int, limits: InstallSettings) -> None:
    for value, most, key in ((files, limits.max_files, "max_files"), (size_bytes, limits.max_bytes, "max_bytes")):
        if value > most:
            unit = "files" if key == "max_files" else "bytes"
            raise InstallError(
                f"'{source}' has more than the {most} {unit} that a module may have. Is it the module's folder alone? "
                f"If it is, raise the limit: hub config install.{key}==NUMBER"
            )


def _copy_file(source: Path, target: Path) -> Iterator[int]:
    """Copy a file, and yield the size of each chunk."""
    with source.open("rb") as reader:
        executable = os.fstat(reader.fileno()).st_mode & stat.S_IXUSR
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o755 if executable else 0o644)
        with os.fdopen(descriptor, "wb") as writer:
            while chunk := reader.read(CHUNK_BYTES):
                writer.write(chunk)
                yield len(chunk)

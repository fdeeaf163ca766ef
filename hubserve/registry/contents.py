"""What an installed folder holds: its digest and size, and that it is safely on the disk."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from hubserve.registry.extraction import CHUNK_BYTES
from hubserve.registry.manifest import MANIFEST_NAME

#: Made or changed after an install.
_NOT_COUNTED = frozenset({"__pycache__", MANIFEST_NAME})


class Contents(NamedTuple):
    """The files of one module.

    Attributes:
        digest: ``sha256:`` and 64 hexadecimal digits, over each file's relative path, size and bytes, in the order of the paths.
        files: how many there are.
        size_bytes: of all of them.
    """

    digest: str
    files: int
    size_bytes: int


def measure(folder: Path) -> Contents:
    """Read every file of a module's folder."""
    digest = hashlib.sha256()
    count = total_bytes = 0
    for relative in sorted(_files(folder)):
        path = folder / relative
        size_bytes = path.stat().st_size
        digest.update(f"{relative}\0{size_bytes}\0".encode())
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
        count, total_bytes = count + 1, total_bytes + size_bytes
    return Contents("sha256:" + digest.hexdigest(), count, total_bytes)


def _files(folder: Path) -> list[str]:
    found = []
    for base, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if each not in _NOT_COUNTED]
        found += [Path(base, each).relative_to(folder).as_posix() for each in files if each not in _NOT_COUNTED]
    return found


def sync_tree(folder: Path) -> None:
    """Wait until every file and folder is on the disk, so that a rename that survives a power cut finds them whole."""
    for base, _folders, files in os.walk(folder):
        for each in files:
            sync(Path(base, each))
        sync(Path(base))


def sync(path: Path) -> None:
    """Wait until one file's bytes, or one folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""What an installed folder holds: its digest and size, and that it is safely on the disk."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hubserve.registry.install.extraction import CHUNK_BYTES
from hubserve.registry.manifest import FILES_NAME, MANIFEST_NAME
from hubserve.registry.progress import Progress, silent

#: Made or changed after an install.
_NOT_COUNTED = frozenset({"__pycache__", MANIFEST_NAME, FILES_NAME})


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
    return list_files(folder)[0]


def list_files(folder: Path, progress: Progress = silent, step: str = "reading") -> tuple[Contents, dict[str, str]]:
    """Read every file of a module's folder.

    Args:
        folder: the module's.
        progress: told how far it is.
        step: what it is told.
    Returns:
        What the folder holds, and the sha256 of each file, 64 hexadecimal digits, by its relative path.
    """
    return read_files({relative: folder / relative for relative in _files(folder)}, progress, step)


def read_files(files: Mapping[str, Path], progress: Progress = silent, step: str = "reading") -> tuple[Contents, dict[str, str]]:
    """Read files that lie anywhere, by the paths that they have in the module; as :func:`list_files`."""
    digest = hashlib.sha256()
    digests = {}
    found = [(relative, files[relative].stat().st_size) for relative in sorted(files)]
    done_bytes, total_bytes = 0, sum(size_bytes for _, size_bytes in found)
    for relative, size_bytes in found:
        digest.update(f"{relative}\0{size_bytes}\0".encode("utf-8", "surrogateescape"))
        own = hashlib.sha256()
        with files[relative].open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                own.update(chunk)
                done_bytes += len(chunk)
                progress(step, done_bytes, total_bytes)
        digests[relative] = own.hexdigest()
    return Contents("sha256:" + digest.hexdigest(), len(found), total_bytes), digests


def write_file_list(folder: Path, digests: dict[str, str]) -> None:
    """Keep the digest of each file beside the manifest."""
    document = {"schema_version": 1, "sha256": digests}
    (folder / FILES_NAME).write_text(json.dumps(document, indent=0, ensure_ascii=True) + "\n", encoding="ascii")


def read_file_list(folder: Path) -> dict[str, str] | None:
    """What :func:`write_file_list` wrote; None if there is nothing, as in older homes, or it is damaged."""
    try:
        digests = json.loads((folder / FILES_NAME).read_text(encoding="ascii"))["sha256"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    whole = isinstance(digests, dict) and all(isinstance(each, str) for each in digests.values())
    return digests if whole else None


def _files(folder: Path) -> list[str]:
    found = []
    for base, folders, files in os.walk(folder, onerror=_refuse):
        folders[:] = [each for each in folders if each not in _NOT_COUNTED]
        found += [Path(base, each).relative_to(folder).as_posix() for each in files if each not in _NOT_COUNTED]
    return found


def _refuse(error: OSError) -> None:
    """A folder that cannot be read must not be taken for an empty one, as :func:`os.walk` does."""
    raise error


def sha256_of(path: Path) -> str:
    """A file's SHA-256, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sync_tree(folder: Path) -> None:
    """Wait until every file and folder is on the disk, so that a rename that survives a power cut finds them whole."""
    for base, _folders, files in os.walk(folder, onerror=_refuse):
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

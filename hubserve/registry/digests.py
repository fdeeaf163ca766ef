"""Digests and sizes of module folders, and syncing them to the disk."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.manifest import FILES_NAME, MANIFEST_NAME
from hubserve.registry.progress import Progress, silent

#: bytes per read
CHUNK_BYTES = 1 << 20
#: written by an install, or by Python after it
_NOT_COUNTED = frozenset({"__pycache__", MANIFEST_NAME, FILES_NAME})


class Contents(NamedTuple):
    """Digest and size of a module's files.

    Attributes:
        digest: ``sha256:`` and 64 hexadecimal digits, over each file's relative path, size and bytes, in the order of the paths.
        files: number of files.
        size_bytes: of all of them.
    """

    digest: str
    files: int
    size_bytes: int


def measure(folder: Path) -> Contents:
    """Read every file of a module's folder, and return their digest and size."""
    return digest_folder(folder)[0]


def digest_folder(folder: Path, progress: Progress = silent, step: str = "reading") -> tuple[Contents, dict[str, str]]:
    """Read every file of a module's folder.

    Args:
        folder: the module's folder.
        progress: called as it proceeds.
        step: the step to report.
    Returns:
        The digest of the folder, and the sha256 of each file, 64 hexadecimal digits, by its relative path.
    """
    return digest_files({relative: folder / relative for relative in _files(folder)}, progress, step)


def digest_files(files: Mapping[str, Path], progress: Progress = silent, step: str = "reading") -> tuple[Contents, dict[str, str]]:
    """Read files from anywhere, given by their paths in the module; see :func:`digest_folder`."""
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
    """Write the digest of each file beside the manifest."""
    document = {"schema_version": 1, "sha256": digests}
    (folder / FILES_NAME).write_text(json.dumps(document, indent=0, ensure_ascii=True) + "\n", encoding="ascii")


def read_file_list(folder: Path) -> dict[str, str] | None:
    """Read what :func:`write_file_list` wrote; None if it is missing, as in older homes, or damaged."""
    try:
        digests = json.loads((folder / FILES_NAME).read_text(encoding="ascii"))["sha256"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    is_valid = isinstance(digests, dict) and all(isinstance(each, str) for each in digests.values())
    return digests if is_valid else None


def _files(folder: Path) -> list[str]:
    found = []
    for base, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = [each for each in folders if each not in _NOT_COUNTED]
        found += [Path(base, each).relative_to(folder).as_posix() for each in files if each not in _NOT_COUNTED]
    return found


def _raise(error: OSError) -> None:
    """Raise the error; by default :func:`os.walk` treats an unreadable folder as an empty one."""
    raise error


def sha256_of(path: Path) -> str:
    """Return a file's SHA-256, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def digest_of(path: Path, progress: Progress) -> str:
    """Return the SHA-256 of a file to be installed, 64 hexadecimal digits.

    Raises:
        InstallError: it cannot be read.
    """
    digest, done_bytes = hashlib.sha256(), 0
    try:
        total_bytes = path.stat().st_size
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
                done_bytes += len(chunk)
                progress("verifying", done_bytes, total_bytes)
    except OSError as error:
        raise InstallError(f"cannot read '{path}': {error}. Fix the problem and try again.") from error
    return digest.hexdigest()


def check_digest(shown: str, sha256: str, expected: str) -> None:
    """Refuse a file whose digest is not the expected one; an empty one is not checked.

    Raises:
        InstallError: they differ.
    """
    if expected and sha256 != expected:
        raise InstallError(
            f"{shown} is refused: its SHA-256 is {sha256}, and {expected} was expected. Either it was changed or damaged, or the digest "
            "belongs to another file: check the digest with its publisher."
        )


def sync_tree(folder: Path) -> None:
    """Wait until every file and folder is on the disk, so that a rename that survives a power cut never leads to incomplete files."""
    for base, _folders, files in os.walk(folder, onerror=_raise):
        for each in files:
            sync(Path(base, each))
        sync(Path(base))


def sync(path: Path) -> None:
    """Wait until one file's bytes, or one folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

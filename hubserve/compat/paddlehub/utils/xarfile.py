"""``paddlehub.utils.xarfile``: unpack tar and zip archives inside a folder only."""

import os
import tarfile
import zipfile
from typing import Any, Iterator, List, Tuple

Members = List[Tuple[Any, str, int]]


def unarchive_with_progress(name: str, path: str) -> Iterator[Tuple[str, int, int]]:
    """Unpack an archive into a folder; yield each member's name, the bytes so far and all bytes.

    Raises:
        ValueError: it is neither tar nor zip, or a member would be written outside the folder or is neither file nor folder.
    """
    root = os.path.realpath(path)
    with _open(name) as archive:
        members = _members(archive)
        for _, member, _ in members:
            if os.path.commonpath([root, os.path.realpath(os.path.join(root, member))]) != root:
                raise ValueError(f"'{name}' is refused: its member '{member}' would be written outside '{path}'")
        done_bytes, total_bytes = 0, sum(size_bytes for _, _, size_bytes in members)
        for info, member, size_bytes in members:
            archive.extract(info, root)
            done_bytes += size_bytes
            yield member, done_bytes, total_bytes


def unarchive(name: str, path: str) -> None:
    """Unpack an archive into a folder; see :func:`unarchive_with_progress`."""
    for _ in unarchive_with_progress(name, path):
        pass


def is_xarfile(file: str) -> bool:
    """Return True for a tar or zip archive."""
    return zipfile.is_zipfile(file) or tarfile.is_tarfile(file)


def _open(name: str) -> Any:
    if tarfile.is_tarfile(name):
        return tarfile.open(name)
    if zipfile.is_zipfile(name):
        return zipfile.ZipFile(name)
    raise ValueError(f"'{name}' is neither a tar nor a zip archive")


def _members(archive: Any) -> Members:
    if isinstance(archive, zipfile.ZipFile):
        return [(each, each.filename, each.file_size) for each in archive.infolist()]
    members = [(each, each.name, each.size) for each in archive.getmembers() if each.isfile() or each.isdir()]
    if len(members) != len(archive.getmembers()):
        raise ValueError(f"'{archive.name}' is refused: it holds links or devices")
    return members

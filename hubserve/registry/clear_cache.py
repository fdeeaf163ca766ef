"""Delete everything in a home except modules and settings."""

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

from hubserve.registry.progress import Progress, silent
from hubserve.registry.recovery import exclusive
from hubserve.registry.remotes.copies import REMOTE_CACHE
from hubserve.registry.version_dirs import delete


def clear(home: Path, progress: Progress = silent) -> dict[str, int]:
    """Delete the contents of ``cache`` and ``tmp``, after any install in another process has finished.

    Sockets in use and copies of remote folders that a server holds stay.

    Returns:
        ``cache`` and ``tmp``, each with the bytes that were freed.
    Raises:
        InstallError: another install did not finish in time.
    """
    freed = {}
    with exclusive(home, progress):
        for name in ("cache", "tmp"):
            progress(f"clearing {name}")
            freed[name] = _empty(home / name)
    return freed


def _empty(folder: Path) -> int:
    before = _used_bytes(folder)
    for each in _entries(folder):
        if each.name == REMOTE_CACHE and not each.is_symlink():
            _empty_copies(each)
        elif each.is_dir() and not each.is_symlink():
            if not any(_is_socket(inner) for inner in each.rglob("*")):
                shutil.rmtree(each, ignore_errors=True)
        elif not _is_socket(each):
            with suppress(OSError):  # not permitted, or already gone; what was freed is measured
                each.unlink()
    return before - _used_bytes(folder)


def _empty_copies(folder: Path) -> None:
    for copy in _entries(folder):
        delete(copy)
    with suppress(OSError):  # what is held is in it
        folder.rmdir()


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.lstat().st_mode)
    except OSError:
        return False


def _used_bytes(folder: Path) -> int:
    total_bytes = 0
    for base, _folders, files in os.walk(folder):
        for each in files:
            with suppress(OSError):  # deleted meanwhile
                total_bytes += Path(base, each).lstat().st_size
    return total_bytes

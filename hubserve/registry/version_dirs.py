"""Version directories: the files of each installed version, in a directory that never changes and never moves, and a link to it.

``modules/toy/1.0.0`` is a link to ``.1.0.0-4f2a9c1d`` beside it. A process that runs the files uses the directory itself, so that nothing
changes under it when the link is pointed at other files. Its lock on the directory, which the system releases when it ends, keeps the
directory from being deleted.
"""

import ctypes
import errno
import fcntl
import os
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from hubserve.registry.digests import sync, sync_tree
from hubserve.registry.names import is_version

_VERSION_DIR = re.compile(r"\.[^.].*-[0-9a-f]{8}")
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def new_version_dir(name_folder: Path, version: str) -> Path:
    """Return an unused path for the files of a version; nothing is created."""
    return name_folder / f".{version}-{secrets.token_hex(4)}"


def is_version_dir(path: Path) -> bool:
    """Return True for a directory with a name from :func:`new_version_dir`."""
    return bool(_VERSION_DIR.fullmatch(path.name)) and path.is_dir() and not path.is_symlink()


def versions_on_disk(name_folder: Path) -> list[Path]:
    """Return the folders, and links to folders, whose names are versions: what is installed where there is no history."""
    return [each for each in entries_of(name_folder) if is_version(each.name) and each.is_dir()]


def entries_of(folder: Path) -> list[Path]:
    """Return the entries of a folder; none if it does not exist."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def move_to(staged: Path, version_dir: Path) -> None:
    """Move a folder to its version directory, which nothing refers to yet, and wait until it is on the disk.

    Raises:
        OSError: it failed; what exists at ``version_dir`` then is incomplete.
    """
    try:
        os.rename(staged, version_dir)
    except OSError as error:
        if error.errno != errno.EXDEV:  # modules and tmp may be mounted from different file systems
            raise
        shutil.copytree(staged, version_dir)
        sync_tree(version_dir)
    sync(version_dir.parent)


def link_version(name_folder: Path, version: str, directory: str) -> None:
    """Point a version's link at a version directory, atomically.

    Raises:
        OSError: it failed; the link is as it was.
    """
    draft = name_folder / f".{version}.{os.getpid()}.link"
    with suppress(FileNotFoundError):
        draft.unlink()
    os.symlink(directory, draft)
    try:
        os.replace(draft, name_folder / version)
    except OSError:
        draft.unlink()
        raise


def is_link_draft(path: Path) -> bool:
    """Return True for a link that was never finished; finished ones are named after a version."""
    return path.name.startswith(".") and path.is_symlink()


def link_target(path: Path) -> str:
    """Return the target of a link; "" for anything else."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def adopt(folder: Path) -> str:
    """Turn a version's plain folder, as in older homes, into a version directory and a link.

    Returns:
        The name of the version directory. If the file system cannot exchange the two names atomically, the folder still exists, the
        version directory is a copy, and :func:`ensure_link` replaces the folder once the history refers to the copy.
    """
    version_dir = new_version_dir(folder.parent, folder.name)
    os.symlink(version_dir.name, version_dir)
    if _exchange(version_dir, folder):
        sync(folder.parent)
        return version_dir.name
    version_dir.unlink()
    shutil.copytree(folder, version_dir, symlinks=True)
    sync_tree(version_dir)
    return version_dir.name


def ensure_link(name_folder: Path, version: str, directory: str) -> None:
    """Make a version's name a link to the version directory that the history names, replacing a plain folder.

    Raises:
        OSError: it failed.
    """
    path = name_folder / version
    if link_target(path) == directory:
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    link_version(name_folder, version, directory)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names atomically; return False where the system cannot."""
    exchange = getattr(ctypes.CDLL(None), "renameat2", None)
    return exchange is not None and exchange(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


class DirectoryLock:
    """Shared lock that keeps a directory from being deleted until it is released, or this process ends.

    Args:
        folder: the directory.

    Attributes:
        lost: True if the directory was gone, or being deleted, at the attempt to lock it.
    """

    def __init__(self, folder: Path) -> None:
        self._descriptor: int | None = None
        self.lost = False
        try:
            self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
            self.lost = not os.path.samestat(os.fstat(self._descriptor), folder.stat())
        except (FileNotFoundError, BlockingIOError):
            self.lost = True
        except OSError:  # a file system without locks: deletions then rely on the servers' answers only
            self.lost = False
        if self.lost:
            self.release()

    def release(self) -> None:
        """Allow the directory to be deleted."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_locked(version_dir: Path) -> bool:
    """Return True if a process holds a :class:`DirectoryLock`."""
    try:
        descriptor = os.open(version_dir, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def delete(version_dir: Path) -> bool:
    """Delete a directory that no version needs, unless it is locked; return True if it is gone.

    What an error leaves behind is deleted by a later call.
    """
    try:
        descriptor = os.open(version_dir, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # as in DirectoryLock
            pass
        shutil.rmtree(version_dir, ignore_errors=True)
        return not version_dir.exists()
    finally:
        os.close(descriptor)

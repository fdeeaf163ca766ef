"""Where the files of installed versions are: a folder each that never changes and never moves, with a link that bears the version.

``modules/toy/1.0.0`` is a link to ``.1.0.0-4f2a9c1d`` beside it. Who runs the files knows the folder itself, so that nothing changes under
them when the link is set to other files; a lock on the folder, which the system releases when they end, keeps it from being deleted.
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

_PLACE = re.compile(r"\.[^.].*-[0-9a-f]{8}")
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


def new_place(name_folder: Path, version: str) -> Path:
    """A folder, not made yet, for the files of a version."""
    return name_folder / f".{version}-{secrets.token_hex(4)}"


def is_place(path: Path) -> bool:
    """Whether a path is one that :func:`new_place` gives, and a folder."""
    return bool(_PLACE.fullmatch(path.name)) and path.is_dir() and not path.is_symlink()


def move(staged: Path, place: Path) -> None:
    """Move a folder to its place, which nobody looks at yet, and wait until it is on the disk.

    Raises:
        OSError: it could not be; what is at the place then is of no use.
    """
    try:
        os.rename(staged, place)
    except OSError as error:
        if error.errno != errno.EXDEV:  # modules and tmp may be different file systems, each mounted from somewhere
            raise
        shutil.copytree(staged, place)
        sync_tree(place)
    sync(place.parent)


def link(name_folder: Path, version: str, place: str) -> None:
    """Have the version's name lead to a place, in one step.

    Raises:
        OSError: it could not be; it leads where it led.
    """
    draft = name_folder / f".{version}.{os.getpid()}.link"
    with suppress(FileNotFoundError):
        draft.unlink()
    os.symlink(place, draft)
    try:
        os.replace(draft, name_folder / version)
    except OSError:
        draft.unlink()
        raise


def is_link_draft(path: Path) -> bool:
    """Whether a path is a link that was never finished; those that are bear a version's name."""
    return path.name.startswith(".") and path.is_symlink()


def target(path: Path) -> str:
    """Where a link leads; "" for what is none."""
    try:
        return os.readlink(path)
    except OSError:
        return ""


def adopt(folder: Path) -> str:
    """Give the files of a version's plain folder, as older homes have them, a place of their own.

    Returns:
        The place's name. The folder has become a link to it; where the file system cannot exchange the two in one step, it is a folder
        still, the place is a copy, and :func:`settle` finishes once the record tells of it.
    """
    place = new_place(folder.parent, folder.name)
    os.symlink(place.name, place)
    if _exchange(place, folder):
        sync(folder.parent)
        return place.name
    place.unlink()
    shutil.copytree(folder, place, symlinks=True)
    sync_tree(place)
    return place.name


def settle(name_folder: Path, version: str, place: str) -> None:
    """Have the version's name lead to the place that the record tells of.

    Raises:
        OSError: it could not be.
    """
    path = name_folder / version
    if target(path) == place:
        return
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    link(name_folder, version, place)


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step; false where the system cannot."""
    exchange = getattr(ctypes.CDLL(None), "renameat2", None)
    return exchange is not None and exchange(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


class Hold:
    """Keeps a folder from being deleted as long as it is held, by this process.

    Args:
        folder: the folder.

    Attributes:
        lost: whether the folder was gone, or was being deleted, when it was to be held.
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
        except OSError:  # a file system without locks: deleting then goes by what the servers answer alone
            self.lost = False
        if self.lost:
            self.release()

    def release(self) -> None:
        """Hold it no more."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_held(place: Path) -> bool:
    """Whether some process runs the files of a place."""
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
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


def delete(place: Path) -> bool:
    """Delete a place that no version needs any more, unless it is held; gives whether it is gone.

    What is left because of an error is deleted by a later call.
    """
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # as in Hold
            pass
        shutil.rmtree(place, ignore_errors=True)
        return not place.exists()
    finally:
        os.close(descriptor)

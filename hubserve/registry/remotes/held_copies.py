"""Copies of remote folders that this process uses, which other processes do not delete."""

import time
from pathlib import Path

from hubserve.registry.version_dirs import DirectoryLock

_PAUSE_S = 0.01
_held: dict[Path, DirectoryLock] = {}


def hold(folder: Path) -> None:
    """Make a copy's folder if it is missing, and keep other processes from deleting it until this one ends."""
    folder.mkdir(parents=True, exist_ok=True)
    while (lock := DirectoryLock(folder)).lost:  # it is being deleted
        time.sleep(_PAUSE_S)
        folder.mkdir(parents=True, exist_ok=True)
    before = _held.get(folder)
    _held[folder] = lock  # a new lock each time: the folder may be another one since
    if before is not None:
        before.release()

"""Files that can be made again, shared by instances that start at the same time."""

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

_PUBLIC_MODE = 0o644


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold ``<path>.lock`` against other processes; a holder that dies gives it back.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(str(path) + ".lock", "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def put_in_place(finished: Path, path: Path) -> None:
    """Move a finished file to its name in one step, so that no reader and no power cut sees half of it."""
    with open(str(finished), "rb") as opened:
        os.fsync(opened.fileno())
    os.chmod(str(finished), _PUBLIC_MODE)
    os.replace(str(finished), str(path))


def write_text(path: Path, text: str) -> None:
    """Write a whole file in one step."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_text(text, encoding="utf-8")
        put_in_place(draft, path)
    finally:
        if draft.exists():
            draft.unlink()

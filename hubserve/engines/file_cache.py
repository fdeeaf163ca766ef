"""Cached files that can be made again, shared by instances that start at the same time."""

import fcntl
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Callable, Iterator, List

from hubserve.errors import LoadFailed

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


def converted_once(path: Path, model: Path, convert: Callable[[], None], again: bool = False) -> Path:
    """Return a kept conversion of a model; make it unless that was done before.

    Args:
        path: of the conversion; for ``.xml``, its ``.bin`` belongs to it.
        model: what it is made from.
        convert: makes it.
        again: make it even if it is there, because it turned out to be damaged.
    Raises:
        LoadFailed: the cache cannot be written, or ``convert`` raises it.
    """
    if again or not _is_whole(path):
        try:
            with locked(path):  # several instances of one module start at the same time
                if again or not _is_whole(path):
                    convert()
        except OSError as error:
            raise LoadFailed(
                f"cannot keep the converted model in '{path.parent}': {error.strerror or error}. "
                "Make that folder writable, or set HUB_HOME to one that is."
            ) from error
    note_origin(path, model)
    return path


def _is_whole(path: Path) -> bool:
    return path.is_file() and (path.suffix != ".xml" or path.with_suffix(".bin").is_file())


def write_text(path: Path, text: str) -> None:
    """Write a whole file in one step."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_text(text, encoding="utf-8")
        put_in_place(draft, path)
    finally:
        if draft.exists():
            draft.unlink()


def note_origin(path: Path, model: Path) -> None:
    """Note beside a kept file that it was made from, or for, a model's file; equal models share what is made from them.

    A cache that cannot be written stays without the note, and what has none is never taken for needless.
    """
    model = model.absolute()
    with suppress(OSError):
        if model not in origins(path):
            with open(str(_origins_path(path)), "a", encoding="utf-8") as notes:
                notes.write(f"{model}\n")


def origins(path: Path) -> List[Path]:
    """Return the models that :func:`note_origin` noted for a kept file."""
    try:
        return [Path(line) for line in _origins_path(path).read_text(encoding="utf-8").splitlines() if line]
    except (OSError, ValueError):
        return []


def kept_with(path: Path) -> List[Path]:
    """Return the files that are deleted with a cached file; its lock stays, because another process may wait for it."""
    weights = [path.with_suffix(".bin")] if path.suffix == ".xml" else []
    return [each for each in (path, *weights, _origins_path(path)) if each.exists()]


def _origins_path(path: Path) -> Path:
    return path.with_name(path.name + ".origins")

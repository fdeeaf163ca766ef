"""Modules that PaddleHub itself installed, ``modules/<name>/module.py``, replaced by versions only on the user's request."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hubserve.registry.manifest import MANIFEST_NAME

_ASIDE_SUFFIX = ".flat"


def is_flat(name_folder: Path) -> bool:
    """Return True if PaddleHub itself installed a module here: its files are in the name's folder, without a version."""
    return (name_folder / "module.py").is_file()


def has_unfinished_takeover(modules: Path) -> bool:
    """Return True if a process was killed while it replaced a flat module."""
    return any(modules.glob(f".*{_ASIDE_SUFFIX}"))


@contextmanager
def moved_aside(name_folder: Path) -> Iterator[None]:
    """Move a flat module aside while a version takes its place: it is deleted on success and moved back on failure.

    After a kill at any point, :func:`finish_takeovers` finds one or the other. Without a flat module this does nothing.
    """
    if not is_flat(name_folder):
        yield
        return
    aside = name_folder.with_name(f".{name_folder.name}{_ASIDE_SUFFIX}")
    os.rename(name_folder, aside)
    try:
        yield
    except BaseException:
        _move_back(aside, name_folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def finish_takeovers(modules: Path) -> None:
    """Finish or undo take-overs that were interrupted; the caller holds the lock of the home."""
    for aside in modules.glob(f".*{_ASIDE_SUFFIX}"):
        name_folder = aside.with_name(aside.name[1 : -len(_ASIDE_SUFFIX)])
        if any(name_folder.glob(f"*/{MANIFEST_NAME}")):
            shutil.rmtree(aside, ignore_errors=True)
        else:
            _move_back(aside, name_folder)


def _move_back(aside: Path, name_folder: Path) -> None:
    with suppress(OSError):  # already gone, or in use again
        name_folder.rmdir()
    if not name_folder.exists():
        os.rename(aside, name_folder)

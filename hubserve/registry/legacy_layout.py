"""Modules that PaddleHub itself installed, ``modules/<name>/module.py``: their place is taken by versions only when the user says so."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hubserve.registry.manifest import MANIFEST_NAME

_ASIDE_SUFFIX = ".flat"


def is_flat(name_folder: Path) -> bool:
    """Whether PaddleHub itself installed a module here: its files lie in the name's folder, without a version."""
    return (name_folder / "module.py").is_file()


def lie_aside(modules: Path) -> bool:
    """Whether a take-over was cut off."""
    return any(modules.glob(f".*{_ASIDE_SUFFIX}"))


@contextmanager
def set_aside(name_folder: Path) -> Iterator[None]:
    """Have the flat module out of the way while a version is put in its place: gone if that was done, back if it failed.

    Killed at any point, :func:`put_back` finds one or the other. Does nothing where no flat module is.
    """
    if not is_flat(name_folder):
        yield
        return
    aside = name_folder.with_name(f".{name_folder.name}{_ASIDE_SUFFIX}")
    os.rename(name_folder, aside)
    try:
        yield
    except BaseException:
        _put_back(aside, name_folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def put_back(modules: Path) -> None:
    """Finish or undo what was cut off. Whoever calls holds the store's lock."""
    for aside in modules.glob(f".*{_ASIDE_SUFFIX}"):
        name_folder = aside.with_name(aside.name[1 : -len(_ASIDE_SUFFIX)])
        if any(name_folder.glob(f"*/{MANIFEST_NAME}")):
            shutil.rmtree(aside, ignore_errors=True)
        else:
            _put_back(aside, name_folder)


def _put_back(aside: Path, name_folder: Path) -> None:
    with suppress(OSError):  # it is gone already, or somebody has put something there since
        name_folder.rmdir()
    if not name_folder.exists():
        os.rename(aside, name_folder)

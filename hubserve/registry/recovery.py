"""Finishes or undoes what a process left half done when it was killed. Whoever calls holds the store's lock."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from hubserve.errors import InstallError
from hubserve.registry import flat

_STAGING_PREFIXES = ("install-", "uninstall-")
_ASIDE_SUFFIX = ".old"


def aside(version_folder: Path) -> Path:
    """Where a version lies while its replacement is put in place."""
    return version_folder.with_name(f".{version_folder.name}{_ASIDE_SUFFIX}")


def is_aside(folder: Path) -> bool:
    """Whether a folder is one that :func:`aside` names."""
    return folder.name.startswith(".") and folder.name.endswith(_ASIDE_SUFFIX) and len(folder.name) > len("." + _ASIDE_SUFFIX)


def left_half_done(modules: Path) -> bool:
    """Whether some version lies aside."""
    return flat.lie_aside(modules) or any(is_aside(each) for each in modules.glob("*/.*"))


def recover(modules: Path, tmp: Path) -> None:
    """Put back what lies aside where its replacement never came, and delete what is left over."""
    flat.put_back(modules)
    for each in modules.glob("*/.*"):
        if not is_aside(each):
            continue
        version_folder = each.with_name(each.name[1 : -len(_ASIDE_SUFFIX)])
        if version_folder.exists():
            shutil.rmtree(each, ignore_errors=True)
        else:
            os.rename(each, version_folder)
    # Staging happens under the lock, so what is there belongs to nobody alive.
    for prefix in _STAGING_PREFIXES:
        for each in tmp.glob(prefix + "*"):
            shutil.rmtree(each, ignore_errors=True)


def put_in_place(staged: Path, version_folder: Path) -> None:
    """Make ``staged`` the version, replacing what is there; killed at any point, :func:`recover` finds the old or the new.

    Raises:
        InstallError: a rename failed; the old version is back.
    """
    from hubserve.registry.contents import sync

    old = aside(version_folder)
    version_folder.parent.mkdir(exist_ok=True)
    try:
        if version_folder.exists():
            os.rename(version_folder, old)
        os.rename(staged, version_folder)
        sync(version_folder.parent)
        sync(version_folder.parent.parent)
    except BaseException as error:
        _put_back(staged, version_folder, old)
        if isinstance(error, OSError):
            raise InstallError(
                f"cannot put the module in place: {error}. What was there is still there; mend the cause, try again."
            ) from error
        raise
    shutil.rmtree(old, ignore_errors=True)


def _put_back(staged: Path, version_folder: Path, old: Path) -> None:
    if not staged.exists():
        os.rename(version_folder, staged)
    if old.exists() and not version_folder.exists():
        os.rename(old, version_folder)
    remove_if_empty(version_folder.parent)


def remove_if_empty(folder: Path) -> None:
    """Remove a name's folder that holds no version any more."""
    with suppress(OSError):  # it holds something, or is gone
        folder.rmdir()

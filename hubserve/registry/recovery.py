"""Recovery from changes that a killed process left unfinished: finish or undo them, under the lock of the home."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hubserve.errors import InstallError
from hubserve.registry import legacy_layout
from hubserve.registry.configuration import install_settings
from hubserve.registry.history import RECORD_NAME, History, commit, is_draft, read_history
from hubserve.registry.lock import store_lock
from hubserve.registry.progress import Progress, silent
from hubserve.registry.version_dirs import delete, ensure_link, entries_of, is_link_draft, is_version_dir, link_target

_STAGING_PREFIXES = ("install-",)


@contextmanager
def exclusive(home: Path, progress: Progress = silent) -> Iterator[None]:
    """Keep other processes from installing and removing, and recover from what a killed one left.

    Raises:
        InstallError: another process did not finish in time.
    """
    with locked(home, progress):
        recover(home)
        yield


@contextmanager
def locked(home: Path, progress: Progress = silent) -> Iterator[None]:
    """Keep other processes from installing and removing, without recovery.

    Raises:
        InstallError: another process did not finish in time.
    """
    with store_lock(home / "modules", install_settings(home).lock_timeout_s, progress):
        yield


def recover(home: Path) -> None:
    """Bring every module's folder in line with its history, and delete leftovers; the caller holds the lock."""
    modules = home / "modules"
    for name_folder in entries_of(modules):
        if name_folder.is_dir() and not name_folder.name.startswith("."):
            with suppress(OSError, InstallError):  # one folder that cannot be repaired must not block the others
                repair(name_folder)
    legacy_layout.finish_takeovers(modules)
    for each in staging_folders(home / "tmp"):
        shutil.rmtree(each, ignore_errors=True)


def staging_folders(tmp: Path) -> Iterator[Path]:
    """Yield what unfinished installs left; installs run under the lock, so no live process owns it."""
    for prefix in _STAGING_PREFIXES:
        yield from tmp.glob(prefix + "*")


def links_match(name_folder: Path, history: History) -> bool:
    """Return True if every version's link leads to the version directory in the history."""
    paths = {version: name_folder / version for version in history.versions}
    return all(link_target(path) == history.versions[version] for version, path in paths.items() if os.path.lexists(path))


def repair(name_folder: Path) -> None:
    """Point the links of one module's folder where its history says, and delete what the history does not mention.

    Raises:
        OSError: something could not be changed; the history still holds.
        InstallError: the history cannot be read.
    """
    for each in entries_of(name_folder):
        if is_draft(each) or is_link_draft(each):
            each.unlink()
    history = read_history(name_folder)
    if history is None:
        _delete_version_dirs(name_folder, {link_target(each) for each in entries_of(name_folder)})
        _remove_if_empty(name_folder)
        return
    history = _without_deleted(name_folder, history)
    for version, directory in history.versions.items():
        ensure_link(name_folder, version, directory)
    for each in entries_of(name_folder):
        if each.is_symlink() and each.name not in history.versions:
            each.unlink()
    _delete_version_dirs(name_folder, history.needed_dirs())
    if not history.versions and not any(is_version_dir(each) for each in entries_of(name_folder)):
        (name_folder / RECORD_NAME).unlink()
        _remove_if_empty(name_folder)


def _delete_version_dirs(name_folder: Path, needed: set[str]) -> None:
    for each in entries_of(name_folder):
        if is_version_dir(each) and each.name not in needed:
            delete(each)


def _without_deleted(name_folder: Path, history: History) -> History:
    """Drop the versions whose link or files were deleted by hand; no change of hub leaves a version without them."""
    deleted = {
        version
        for version, directory in history.versions.items()
        if not os.path.lexists(name_folder / version) or not (name_folder / directory).is_dir()
    }
    if deleted:
        history = history.without(deleted)
        commit(name_folder, history)
    return history


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):  # not empty, or already gone
        folder.rmdir()

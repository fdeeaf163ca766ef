"""Changes of one module's versions: add, remove, roll back; the caller holds the lock of the home.

Each change prepares files that nothing refers to yet, commits one new history (:mod:`hubserve.registry.history`), then brings the folder
in line with it.
"""

from contextlib import suppress
from pathlib import Path

from hubserve.errors import InstallError
from hubserve.registry.digests import sync
from hubserve.registry.history import Change, History, commit, read_history
from hubserve.registry.manifest import read_manifest
from hubserve.registry.names import version_key
from hubserve.registry.recovery import repair
from hubserve.registry.version_dirs import adopt, ensure_link, link_target, link_version, move_to, new_version_dir, versions_on_disk

_MAX_CHANGES = 50


def add_version(staged: Path, version_folder: Path, keep_replaced: int) -> tuple[Path, bool]:
    """Install staged files as a version, and make it current.

    Args:
        staged: the files, already on the disk.
        version_folder: ``modules/<name>/<version>``.
        keep_replaced: how many replaced copies of a version to keep.
    Returns:
        The version directory, and True if it replaced the same version.
    Raises:
        InstallError: it failed; everything is as it was.
    """
    name_folder, version = version_folder.parent, version_folder.name
    try:
        _make_name_folder(name_folder)
        history = _open_history(name_folder)
        replaced = history.versions.get(version, "")
        version_dir = new_version_dir(name_folder, version)
        move_to(staged, version_dir)
        if not replaced:
            link_version(name_folder, version, version_dir.name)
            sync(name_folder)
        changes = (*history.changes, Change(history.current, version, replaced))
        after = History(version, {**history.versions, version: version_dir.name}, changes if history.current else ())
        commit(name_folder, _bounded(after, keep_replaced))
    except BaseException as error:
        _repair_if_possible(name_folder)
        if isinstance(error, OSError):
            raise InstallError(
                f"cannot put the module in place: {error}. What was there is still there; fix the problem and try again."
            ) from error
        raise
    _repair_if_possible(name_folder)
    return version_dir, bool(replaced)


def remove_versions(name_folder: Path, version: str | None) -> None:
    """Remove a version, or every version where None. Files that a process still runs are deleted later, once it has ended.

    Raises:
        OSError: it failed; everything is as it was.
    """
    try:
        history = _open_history(name_folder)
        commit(name_folder, history.without({version} if version else {*history.versions}))
    finally:
        _repair_if_possible(name_folder)


def plan_rollback(name_folder: Path, name: str) -> tuple[History, History]:
    """Find what rolling back the last change does.

    Returns:
        The history now, and the one to give to :func:`roll_back`.
    Raises:
        InstallError: there is nothing to roll back to.
        OSError: the folder cannot be read or written.
    """
    before = _open_history(name_folder)
    changes = before.changes
    while changes:
        change, changes = changes[-1], changes[:-1]
        after = _rolled_back(name_folder, before, change, changes)
        if after[:2] != before[:2]:
            return before, after
    raise InstallError(
        f"'{name}' has nothing to go back to: no version that was current before is installed, and no replaced files of {before.current} "
        f"are kept. 'hub list' shows what is installed; hub install puts another version in place."
    )


def roll_back(name_folder: Path, after: History) -> None:
    """Apply a planned rollback.

    Raises:
        OSError: it failed; everything is as it was.
    """
    commit(name_folder, after)
    _repair_if_possible(name_folder)


def delete_replaced(name_folder: Path, directories: set[str]) -> None:
    """Delete replaced copies; the changes that they were kept for can no longer be rolled back.

    Raises:
        OSError: it failed; everything is as it was.
    """
    history = read_history(name_folder)
    if history is not None:
        commit(name_folder, history.without_replaced(directories))
        _repair_if_possible(name_folder)


def _rolled_back(name_folder: Path, history: History, change: Change, changes: tuple[Change, ...]) -> History:
    versions = dict(history.versions)
    if change.replaced_dir and _has_manifest(name_folder / change.replaced_dir):
        versions[change.version] = change.replaced_dir
    return History(change.current if change.current in versions else history.current, versions, changes)


def _has_manifest(version_dir: Path) -> bool:
    try:
        read_manifest(version_dir)
    except InstallError:  # it was replaced because it was damaged, or it was deleted by hand
        return False
    return True


def _bounded(history: History, keep_replaced: int) -> History:
    """Drop the oldest replaced copies beyond the number that is kept, and the oldest changes."""
    counts: dict[str, int] = {}
    dropped = set()
    for change in reversed(history.changes):
        if change.replaced_dir:
            counts[change.version] = counts.get(change.version, 0) + 1
            if counts[change.version] > keep_replaced:
                dropped.add(change.replaced_dir)
    history = history.without_replaced(dropped)
    return history._replace(changes=history.changes[-_MAX_CHANGES:])


def _open_history(name_folder: Path) -> History:
    """Return the history to change; a folder without one, as in older homes, is given one from its version folders."""
    history = read_history(name_folder)
    if history is not None:
        return history
    directories = {each.name: link_target(each) or adopt(each) for each in versions_on_disk(name_folder)}
    newest = sorted(directories, key=version_key)[-1:]
    history = History("".join(newest), directories)
    commit(name_folder, history)
    for version, directory in directories.items():
        ensure_link(name_folder, version, directory)
    return history


def _make_name_folder(name_folder: Path) -> None:
    if not name_folder.exists():
        name_folder.mkdir()
        for each in (name_folder.parent, name_folder.parent.parent):
            sync(each)


def _repair_if_possible(name_folder: Path) -> None:
    """Repair the folder; the history holds already, so the next command does what fails now."""
    with suppress(OSError, InstallError):
        repair(name_folder)

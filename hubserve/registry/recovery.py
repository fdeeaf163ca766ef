"""Finishes or undoes what a process left half done when it was killed. Whoever calls holds the store's lock."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hubserve.errors import InstallError
from hubserve.registry import legacy_layout
from hubserve.registry.history import RECORD_NAME, Change, Record, commit, is_draft, read_record
from hubserve.registry.names import is_version, version_key
from hubserve.registry.version_dirs import delete, is_link_draft, is_place, settle, target

_STAGING_PREFIXES = ("install-",)


def recover(modules: Path, tmp: Path) -> None:
    """Bring every module's folder in line with its record, and delete what is left over."""
    for name_folder in _entries(modules):
        if name_folder.is_dir() and not name_folder.name.startswith("."):
            with suppress(OSError, InstallError):  # one folder that cannot be mended does not keep the others from being used
                mend(name_folder)
    legacy_layout.put_back(modules)
    for each in staging(tmp):
        shutil.rmtree(each, ignore_errors=True)


def staging(tmp: Path) -> Iterator[Path]:
    """What unfinished installs left; they happen under the lock, so it belongs to nobody alive."""
    for prefix in _STAGING_PREFIXES:
        yield from tmp.glob(prefix + "*")


def is_settled(name_folder: Path, record: Record) -> bool:
    """Whether every version's name leads to the files that the record tells of."""
    paths = {version: name_folder / version for version in record.versions}
    return all(target(path) == record.versions[version] for version, path in paths.items() if os.path.lexists(path))


def mend(name_folder: Path) -> None:
    """Have the links of one module's folder lead where its record says, and delete what it does not tell of.

    Raises:
        OSError: something could not be changed; what the record says holds.
        InstallError: the record cannot be read.
    """
    for each in _entries(name_folder):
        if is_draft(each) or is_link_draft(each):
            each.unlink()
    record = read_record(name_folder)
    if record is None:
        _delete_places(name_folder, {target(each) for each in _entries(name_folder)})
        remove_if_empty(name_folder)
        return
    record = _without_deleted(name_folder, record)
    for version, place in record.versions.items():
        settle(name_folder, version, place)
    for each in _entries(name_folder):
        if each.is_symlink() and each.name not in record.versions:
            each.unlink()
    _delete_places(name_folder, record.places())
    if not record.versions and not any(is_place(each) for each in _entries(name_folder)):
        (name_folder / RECORD_NAME).unlink()
        remove_if_empty(name_folder)


def _delete_places(name_folder: Path, needed: set[str]) -> None:
    for each in _entries(name_folder):
        if is_place(each) and each.name not in needed:
            delete(each)


def _without_deleted(name_folder: Path, record: Record) -> Record:
    """Versions whose link or files somebody deleted by hand are no longer installed: a change never leaves them without."""
    gone = {
        version
        for version, place in record.versions.items()
        if not os.path.lexists(name_folder / version) or not (name_folder / place).is_dir()
    }
    if gone:
        record = without(record, gone)
        commit(name_folder, record)
    return record


def without(record: Record, gone: set[str]) -> Record:
    """The record once some versions are no longer installed: the name means what it meant before, else the newest that is left."""
    versions = {version: place for version, place in record.versions.items() if version not in gone}
    changes = []
    for change in record.changes:
        place = "" if change.version in gone else change.place
        if change.current not in gone:
            changes.append(change._replace(place=place))
        elif place:
            changes.append(Change(change.version, change.version, place))
    if record.current in versions:
        return Record(record.current, versions, tuple(changes))
    before = [each.current for each in reversed(record.changes) if each.current in versions]
    newest = sorted(versions, key=version_key)[-1:]
    return Record([*before, *newest, ""][0], versions, tuple(changes))


def versions_on_disk(name_folder: Path) -> list[Path]:
    """The folders, and links to folders, that can be versions: what is installed where there is no record."""
    return [each for each in _entries(name_folder) if is_version(each.name) and each.is_dir()]


def remove_if_empty(folder: Path) -> None:
    """Remove a name's folder that holds no version any more."""
    with suppress(OSError):  # it holds something, or is gone
        folder.rmdir()


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []

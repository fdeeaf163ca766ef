"""The changes of a module: a version is put in place, taken out, or what was before comes back. Whoever calls holds the store's lock.

Each makes ready what nobody sees, then commits one new record (:mod:`hubserve.registry.history`), then brings the folder in line with it.
"""

from contextlib import suppress
from pathlib import Path

from hubserve.errors import InstallError
from hubserve.registry.digests import sync
from hubserve.registry.history import Change, Record, commit, read_record
from hubserve.registry.manifest import read_manifest
from hubserve.registry.names import version_key
from hubserve.registry.recovery import mend, versions_on_disk, without
from hubserve.registry.version_dirs import adopt, link, move, new_place, settle, target

_MOST_CHANGES = 50


def put_in_place(staged: Path, version_folder: Path, keep_replaced: int) -> tuple[Path, bool]:
    """Make ``staged`` the version, and the version what the bare name means.

    Args:
        staged: its files, on the disk.
        version_folder: ``modules/<name>/<version>``.
        keep_replaced: how many replaced copies of a version to keep.
    Returns:
        The folder of its files, and whether it replaced the same version.
    Raises:
        InstallError: it could not be; everything is as it was.
    """
    name_folder, version = version_folder.parent, version_folder.name
    try:
        _make_name_folder(name_folder)
        record = _open_record(name_folder)
        replaced = record.versions.get(version, "")
        place = new_place(name_folder, version)
        move(staged, place)
        if not replaced:
            link(name_folder, version, place.name)
            sync(name_folder)
        changes = (*record.changes, Change(record.current, version, replaced))
        after = Record(version, {**record.versions, version: place.name}, changes if record.current else ())
        commit(name_folder, _within(after, keep_replaced))
    except BaseException as error:
        _mend_quietly(name_folder)
        if isinstance(error, OSError):
            raise InstallError(
                f"cannot put the module in place: {error}. What was there is still there; mend the cause, try again."
            ) from error
        raise
    _mend_quietly(name_folder)
    return place, bool(replaced)


def take_out(name_folder: Path, version: str | None) -> None:
    """Uninstall a version, or every version. Files that a process still runs are deleted by a later call, once it has ended.

    Raises:
        OSError: it could not be; everything is as it was.
    """
    try:
        record = _open_record(name_folder)
        commit(name_folder, without(record, {version} if version else {*record.versions}))
    finally:
        _mend_quietly(name_folder)


def way_back(name_folder: Path, name: str) -> tuple[Record, Record]:
    """What taking the last change back does.

    Returns:
        The record now, and the one that :func:`go_back` is to be given.
    Raises:
        InstallError: there is nothing to go back to.
        OSError: the folder cannot be read or written.
    """
    before = _open_record(name_folder)
    changes = before.changes
    while changes:
        change, changes = changes[-1], changes[:-1]
        after = _taken_back(name_folder, before, change, changes)
        if after[:2] != before[:2]:
            return before, after
    raise InstallError(
        f"'{name}' has nothing to go back to: no version that it meant before is installed, and no replaced files of {before.current} are "
        f"kept. 'hub list' shows what is installed; hub install puts another version in place."
    )


def go_back(name_folder: Path, after: Record) -> None:
    """Take a change back.

    Raises:
        OSError: it could not be done; everything is as it was.
    """
    commit(name_folder, after)
    _mend_quietly(name_folder)


def forget_replaced(name_folder: Path, places: set[str]) -> None:
    """Delete replaced copies; what they were kept for can no longer be taken back.

    Raises:
        OSError: it could not be; everything is as it was.
    """
    record = read_record(name_folder)
    if record is not None:
        commit(name_folder, _dropped(record, places))
        _mend_quietly(name_folder)


def _taken_back(name_folder: Path, record: Record, change: Change, changes: tuple[Change, ...]) -> Record:
    versions = dict(record.versions)
    if change.place and _is_whole(name_folder / change.place):
        versions[change.version] = change.place
    return Record(change.current if change.current in versions else record.current, versions, changes)


def _is_whole(place: Path) -> bool:
    try:
        read_manifest(place)
    except InstallError:  # it was replaced because it was damaged, or somebody deleted it
        return False
    return True


def _within(record: Record, keep_replaced: int) -> Record:
    """Without the replaced copies that are more than are kept, the oldest first."""
    counts: dict[str, int] = {}
    dropped = set()
    for change in reversed(record.changes):
        if change.place:
            counts[change.version] = counts.get(change.version, 0) + 1
            if counts[change.version] > keep_replaced:
                dropped.add(change.place)
    record = _dropped(record, dropped)
    return record._replace(changes=record.changes[-_MOST_CHANGES:])


def _dropped(record: Record, places: set[str]) -> Record:
    changes = [each._replace(place="") if each.place in places else each for each in record.changes]
    return record._replace(changes=tuple(each for each in changes if each.place or each.current != each.version))


def _open_record(name_folder: Path) -> Record:
    """The record to change; a folder without one, as older homes have them, gets one that says what lies in it."""
    record = read_record(name_folder)
    if record is not None:
        return record
    places = {each.name: target(each) or adopt(each) for each in versions_on_disk(name_folder)}
    newest = sorted(places, key=version_key)[-1:]
    record = Record("".join(newest), places)
    commit(name_folder, record)
    for version, place in places.items():
        settle(name_folder, version, place)
    return record


def _make_name_folder(name_folder: Path) -> None:
    if not name_folder.exists():
        name_folder.mkdir()
        for each in (name_folder.parent, name_folder.parent.parent):
            sync(each)


def _mend_quietly(name_folder: Path) -> None:
    """The record holds already; what cannot be brought in line now, the next command brings."""
    with suppress(OSError, InstallError):
        mend(name_folder)

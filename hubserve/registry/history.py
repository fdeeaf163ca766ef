"""``.history.json`` beside a module's versions: which files each version is, what the bare name means, and what it meant before.

The record alone decides what is installed. It is replaced in one rename, so that every change of a module has happened or has not.
A home without one is read as it lies: every folder is a version, and the newest is meant.
"""

import json
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from hubserve.errors import InstallError
from hubserve.kinds.versions import RECORD_NAME
from hubserve.registry.digests import sync
from hubserve.registry.names import is_version

__all__ = ["NO_VERSIONS", "RECORD_NAME", "Change", "Record", "commit", "is_draft", "read_record"]

_SCHEMA_VERSION = 1
_DRAFT_SUFFIX = ".draft"
_PLACE = re.compile(r"\.?[0-9A-Za-z][0-9A-Za-z.+!_-]*")


class Change(NamedTuple):
    """What one installation changed, so that it can be taken back.

    Attributes:
        current: the version that the name meant before; "" for none.
        version: the version that was installed.
        place: the folder of the files that it had before, if they are kept; else "".
    """

    current: str
    version: str
    place: str = ""


class Record(NamedTuple):
    """One module's record.

    Attributes:
        current: the version that the bare name means; "" for none.
        versions: each installed version, and the folder in the module's folder that holds its files.
        changes: what can be taken back, from the oldest to the last.
    """

    current: str
    versions: dict[str, str]
    changes: tuple[Change, ...] = ()

    def places(self) -> set[str]:
        """Every folder that is needed."""
        return {*self.versions.values(), *self.kept()}

    def kept(self) -> dict[str, str]:
        """The folders that hold replaced files, with the version that they were."""
        return {change.place: change.version for change in self.changes if change.place}


NO_VERSIONS = Record("", {})


def read_record(name_folder: Path) -> Record | None:
    """The record of a module's folder; None if there is none, or it is damaged.

    Raises:
        InstallError: it is there and cannot be read now, which must not be taken for having none.
    """
    path = name_folder / RECORD_NAME
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InstallError(f"cannot read '{path}': {error.strerror}. Check its permissions and the disk, and try again.") from error
    try:
        return _from_json(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _from_json(document: dict[str, Any]) -> Record:
    if not isinstance(document["schema_version"], int) or document["schema_version"] > _SCHEMA_VERSION:
        raise ValueError("a newer hubserve wrote it")
    versions = {_version(version): _place(place) for version, place in document["versions"].items()}
    changes = [Change(_version(each["current"], ""), _version(each["version"]), _place(each["place"], "")) for each in document["changes"]]
    return Record(_version(document["current"], ""), versions, tuple(changes))


def _version(value: Any, *more: str) -> str:
    if value in more or (isinstance(value, str) and is_version(value)):
        return str(value)
    raise ValueError(f"{value!r} is no version")


def _place(value: Any, *more: str) -> str:
    """A folder's name, which must not lead elsewhere."""
    if value in more or (isinstance(value, str) and _PLACE.fullmatch(value)):
        return str(value)
    raise ValueError(f"{value!r} is no folder's name")


def commit(name_folder: Path, record: Record) -> None:
    """Make ``record`` what holds from now on.

    Raises:
        OSError: it could not be written; the one before holds.
    """
    path = name_folder / RECORD_NAME
    before = path.read_bytes() if path.exists() else None
    _replace(path, _to_json(record))
    try:
        sync(name_folder)
    except OSError:
        # A rename that may not outlast a power cut is no change; nobody was told of it yet.
        if before is None:
            path.unlink()
        else:
            _replace(path, before)
        raise


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(f"{path.name}.{os.getpid()}{_DRAFT_SUFFIX}")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):  # it is replaced, or was never made
            draft.unlink()
        raise


def _to_json(record: Record) -> bytes:
    document = {
        "schema_version": _SCHEMA_VERSION,
        "current": record.current,
        "versions": record.versions,
        "changes": [each._asdict() for each in record.changes],
    }
    return (json.dumps(document, indent=1) + "\n").encode()


def is_draft(path: Path) -> bool:
    """Whether a file is a record that was never finished."""
    return path.name.startswith(RECORD_NAME + ".") and path.name.endswith(_DRAFT_SUFFIX)

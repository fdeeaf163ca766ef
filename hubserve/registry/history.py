"""``.history.json`` beside a module's versions: which files each version has, what the bare name means, and what it meant before.

The history alone decides what is installed. It is replaced by one rename, so every change of a module is atomic.
A home without one is read from its folders: every folder is a version, and the newest is current.
"""

import json
import os
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from hubserve.errors import InstallError
from hubserve.kinds.versions import RECORD_NAME
from hubserve.registry.digests import sync
from hubserve.registry.names import is_version, version_key

__all__ = ["NO_HISTORY", "RECORD_NAME", "Change", "History", "commit", "is_draft", "read_history"]

_SCHEMA_VERSION = 1
_DRAFT_SUFFIX = ".draft"
_DIR_NAME = re.compile(r"\.?[0-9A-Za-z][0-9A-Za-z.+!_-]*")


class Change(NamedTuple):
    """One installation, with what is needed to roll it back.

    Attributes:
        current: the version that was current before; "" for none.
        version: the version that was installed.
        replaced_dir: the version directory that it replaced, if its files are kept; else "".
    """

    current: str
    version: str
    replaced_dir: str = ""


class History(NamedTuple):
    """The installed versions of one module, and the changes that can be rolled back.

    Attributes:
        current: the version that the bare name means; "" for none.
        versions: each installed version, and the name of its version directory in the module's folder.
        changes: what can be rolled back, from the oldest to the newest.
    """

    current: str
    versions: dict[str, str]
    changes: tuple[Change, ...] = ()

    def needed_dirs(self) -> set[str]:
        """Return the version directories that must not be deleted."""
        return {*self.versions.values(), *self.replaced_dirs()}

    def replaced_dirs(self) -> dict[str, str]:
        """Return the version directories that hold replaced files, each with its version."""
        return {change.replaced_dir: change.version for change in self.changes if change.replaced_dir}

    def without(self, removed: Collection[str]) -> "History":
        """Return the history without some versions: the name means what it meant before, else the newest version that is left."""
        versions = {version: directory for version, directory in self.versions.items() if version not in removed}
        changes = []
        for change in self.changes:
            replaced_dir = "" if change.version in removed else change.replaced_dir
            if change.current not in removed:
                changes.append(change._replace(replaced_dir=replaced_dir))
            elif replaced_dir:
                changes.append(Change(change.version, change.version, replaced_dir))
        if self.current in versions:
            return History(self.current, versions, tuple(changes))
        before = [each.current for each in reversed(self.changes) if each.current in versions]
        newest = sorted(versions, key=version_key)[-1:]
        return History([*before, *newest, ""][0], versions, tuple(changes))

    def without_replaced(self, directories: Collection[str]) -> "History":
        """Return the history without some replaced copies; a change that only they could roll back is dropped."""
        changes = [each._replace(replaced_dir="") if each.replaced_dir in directories else each for each in self.changes]
        return self._replace(changes=tuple(each for each in changes if each.replaced_dir or each.current != each.version))


NO_HISTORY = History("", {})


def read_history(name_folder: Path) -> History | None:
    """Read the history in a module's folder; None if it is missing or damaged.

    Raises:
        InstallError: it exists and cannot be read now, which is not the same as a home without one.
    """
    path = name_folder / RECORD_NAME
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InstallError(f"cannot read '{path}': {error.strerror}. Check its permissions and the disk, then try again.") from error
    try:
        return _from_json(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _from_json(document: dict[str, Any]) -> History:
    if not isinstance(document["schema_version"], int) or document["schema_version"] > _SCHEMA_VERSION:
        raise ValueError("written by a newer hubserve")
    versions = {_version(version): _dir_name(directory) for version, directory in document["versions"].items()}
    changes = [
        Change(_version(each["current"], ""), _version(each["version"]), _dir_name(each["place"], "")) for each in document["changes"]
    ]
    return History(_version(document["current"], ""), versions, tuple(changes))


def _version(value: Any, *more: str) -> str:
    if value in more or (isinstance(value, str) and is_version(value)):
        return str(value)
    raise ValueError(f"not a version: {value!r}")


def _dir_name(value: Any, *more: str) -> str:
    """Check the name of a version directory, which must not lead out of the module's folder."""
    if value in more or (isinstance(value, str) and _DIR_NAME.fullmatch(value)):
        return str(value)
    raise ValueError(f"not a directory name: {value!r}")


def commit(name_folder: Path, history: History) -> None:
    """Write a module's history; from then on it holds.

    Raises:
        OSError: it could not be written; the previous one holds.
    """
    path = name_folder / RECORD_NAME
    before = path.read_bytes() if path.exists() else None
    _replace(path, _to_json(history))
    try:
        sync(name_folder)
    except OSError:
        # A rename that may not survive a power cut does not count, and nothing has been reported as done yet.
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
        with suppress(OSError):  # already renamed, or never created
            draft.unlink()
        raise


def _to_json(history: History) -> bytes:
    document = {
        "schema_version": _SCHEMA_VERSION,
        "current": history.current,
        "versions": history.versions,
        "changes": [{"current": each.current, "version": each.version, "place": each.replaced_dir} for each in history.changes],
    }
    return (json.dumps(document, indent=1) + "\n").encode()


def is_draft(path: Path) -> bool:
    """Return True for a history that was never finished."""
    return path.name.startswith(RECORD_NAME + ".") and path.name.endswith(_DRAFT_SUFFIX)

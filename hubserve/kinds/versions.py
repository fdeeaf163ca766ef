"""Find and compare installed versions by their folders alone, for instances and scripts, which do without the registry."""

import json
import re
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

from hubserve.paths import modules_dir

#: release numbers, 0 for a pre-release or else 1, and the parts after the release numbers
VersionKey = Tuple[List[int], int, List[Tuple[int, str]]]

#: file beside a module's versions with the current one; see :mod:`hubserve.registry.history`
RECORD_NAME = ".history.json"

_CONDITION = re.compile(r"\s*(>=|<=|==|=|>|<)?\s*(.+?)\s*")
_COMPARE: Dict[str, Callable[[VersionKey, VersionKey], bool]] = {
    ">=": lambda one, other: one >= other,
    "<=": lambda one, other: one <= other,
    ">": lambda one, other: one > other,
    "<": lambda one, other: one < other,
    "=": lambda one, other: one == other,
    "==": lambda one, other: one == other,
}


def version_key(version: str) -> VersionKey:
    """Return the sort key of a version: numbers by value, without trailing zeros, ``1.0rc1`` < ``1.0`` < ``1.0.post1``."""
    parts = re.findall(r"[0-9]+|[A-Za-z]+", version)
    count = next((index for index, part in enumerate(parts) if not part.isdigit()), len(parts))
    release = [int(part) for part in parts[:count]]
    while release and release[-1] == 0:
        release.pop()
    rest = [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in parts[count:]]
    return release, 0 if rest and rest[0][1] != "post" else 1, rest


def satisfies(version: str, condition: str) -> bool:
    """Return True if a version meets a condition such as ``1.2.0``, ``>=1.1`` or ``<2``; an empty condition is always met."""
    matched = _CONDITION.fullmatch(condition or "")
    if not matched:
        return True
    return _COMPARE[matched.group(1) or "=="](version_key(version), version_key(matched.group(2)))


def installed_versions(folder_name: str) -> Dict[str, Path]:
    """Return the installed versions of a module, oldest first; none if PaddleHub itself installed it (see :func:`flat_folder`)."""
    if flat_folder(folder_name):
        return {}
    try:
        folders = [each for each in (modules_dir() / folder_name).iterdir() if each.is_dir() and not each.name.startswith((".", "__"))]
    except OSError:
        return {}
    # resolved: a running version is not affected when a link changes
    return {each.name: each.resolve() for each in sorted(folders, key=lambda each: version_key(each.name))}


def flat_folder(folder_name: str) -> Optional[Path]:
    """Return the folder of a module that PaddleHub itself installed, ``modules/<name>/module.py``, or None."""
    folder = modules_dir() / folder_name
    return folder if (folder / "module.py").is_file() else None


def current_version(folder_name: str) -> Optional[Path]:
    """Return the folder of a module's current version; None if it is not installed.

    Homes of PaddleHub have no history file: the current version is then the newest, or the one that PaddleHub installed.
    """
    name_folder = modules_dir() / folder_name
    try:
        record = json.loads((name_folder / RECORD_NAME).read_text(encoding="utf-8"))
        place = name_folder / str(record["versions"][record["current"]])
        if place.is_dir():
            return place
    except (OSError, ValueError, TypeError, KeyError):
        pass
    versions = list(installed_versions(folder_name).values())
    return versions[-1] if versions else flat_folder(folder_name)


def source_folders(version_folder: Path) -> List[Path]:
    """Return the folders to look up an installed version's relative model paths: the one that it was installed from, and its parent."""
    try:
        source = json.loads((version_folder / ".hubserve.json").read_text("utf-8"))["source_folder"]
    except (OSError, ValueError, KeyError, TypeError):  # a folder that is not installed, or was not installed from a folder
        return []
    return [version_folder / source, (version_folder / source).parent] if source else []

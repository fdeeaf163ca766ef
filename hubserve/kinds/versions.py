"""Which installed version of a module is meant, told by its folder alone: what instances and scripts can do without the registry."""

import json
import re
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

from hubserve.paths import modules_dir

#: release numbers, whether it is a final release, what follows them
VersionKey = Tuple[List[int], int, List[Tuple[int, str]]]

#: beside a module's versions: which of them its bare name means; see :mod:`hubserve.registry.history`
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
    """Sort key: numbers by their value, trailing zeros without weight, ``1.0rc1`` before ``1.0`` and ``1.0.post1`` behind it."""
    parts = re.findall(r"[0-9]+|[A-Za-z]+", version)
    count = next((index for index, part in enumerate(parts) if not part.isdigit()), len(parts))
    release = [int(part) for part in parts[:count]]
    while release and release[-1] == 0:
        release.pop()
    rest = [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in parts[count:]]
    return release, 0 if rest and rest[0][1] != "post" else 1, rest


def satisfies(version: str, condition: str) -> bool:
    """Whether a version is as asked for: ``1.2.0``, ``>=1.1``, ``<2``; nothing asked is always satisfied."""
    matched = _CONDITION.fullmatch(condition or "")
    if not matched:
        return True
    return _COMPARE[matched.group(1) or "=="](version_key(version), version_key(matched.group(2)))


def installed_versions(folder_name: str) -> Dict[str, Path]:
    """The installed versions of a module, from the oldest to the newest; none where PaddleHub itself put it there (:func:`flat_folder`)."""
    if flat_folder(folder_name):
        return {}
    try:
        folders = [each for each in (modules_dir() / folder_name).iterdir() if each.is_dir() and not each.name.startswith((".", "__"))]
    except OSError:
        return {}
    # resolved: what is run is run from where its files really are, so that nothing changes under it
    return {each.name: each.resolve() for each in sorted(folders, key=lambda each: version_key(each.name))}


def flat_folder(folder_name: str) -> Optional[Path]:
    """The folder of a module that PaddleHub installed itself, ``modules/<name>/module.py``; None if there is none."""
    folder = modules_dir() / folder_name
    return folder if (folder / "module.py").is_file() else None


def current_version(folder_name: str) -> Optional[Path]:
    """The files of the version that a module's bare name means; None if it is not installed.

    Homes of PaddleHub's time have no record of it: there it is the newest, or the only one, which PaddleHub itself installed.
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
    """Where an installed version's relative model paths are looked up: the folder that it was installed from, and that one's parent."""
    try:
        source = json.loads((version_folder / ".hubserve.json").read_text("utf-8"))["source_folder"]
    except (OSError, ValueError, KeyError, TypeError):  # a folder that is not installed, or was not installed from a folder
        return []
    return [version_folder / source, (version_folder / source).parent] if source else []

"""Which modules use which environment, and the removal of those that none does."""

import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from hubserve.registry.environments.environment_record import environments_dir, folders, used_bytes
from hubserve.registry.lock import store_lock
from hubserve.registry.manifest import MANIFEST_NAME
from hubserve.registry.progress import Progress

#: ``modules/<name>/<version>/``, and whatever else keeps versions at that depth, such as those that can be rolled back to.
_MANIFESTS = (f"*/*/{MANIFEST_NAME}", f"*/*/*/{MANIFEST_NAME}", f"*/*/*/*/{MANIFEST_NAME}")
_REMOVED = ".removed"


class Pruned(NamedTuple):
    """What a prune did.

    Attributes:
        removed: key to bytes freed.
        running: keys that no module uses, but a process does.
    """

    removed: dict[str, int]
    running: list[str]


def users(home: Path) -> dict[str, list[str]]:
    """Key -> ``name version`` of the modules that run there, of every version that lies in the home, also those that are put aside."""
    return _listed(home, lambda document: document.get("environment"))


def profile_users(home: Path) -> dict[str, list[str]]:
    """Profile -> ``name version`` of the modules whose environment stands on it, likewise."""
    return _listed(home, lambda document: (document.get("environment_choice") or {}).get("profile"))


def _listed(home: Path, key_of: Callable[[dict[str, Any]], Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pattern in _MANIFESTS:
        for path in home.glob(pattern):
            if path.relative_to(home).parts[0] == environments_dir(home).name:
                continue
            with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
                document = json.loads(path.read_text("utf-8"))
                if key := key_of(document):
                    found.setdefault(key, []).append(f"{document['name']} {document['version']}")
    return {key: sorted(set(names)) for key, names in found.items()}


def running_keys(home: Path) -> set[str]:
    """The environments that a process of this machine runs in now."""
    base = os.path.realpath(environments_dir(home)) + os.sep
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            program = path.read_bytes().split(b"\0")[0].decode("utf-8", "replace")
            folder = os.path.realpath(os.path.dirname(program)) if os.path.isabs(program) else ""
            if folder.startswith(base):
                found.add(folder[len(base) :].split(os.sep)[0])
    return found


def prune(home: Path, *, timeout_s: float, progress: Progress) -> Pruned:
    """Remove the environments that no installed module uses, and what is left of unfinished ones. Whoever calls holds the store's lock.

    An environment that a process runs in stays: it may be of a module that is still served although it was removed.

    Raises:
        InstallError: another process builds, and did not finish in time.
    """
    removed: dict[str, int] = {}
    with store_lock(environments_dir(home), timeout_s, progress):
        kept, running = users(home), running_keys(home)
        for half_removed in environments_dir(home).glob(f".*{_REMOVED}"):
            shutil.rmtree(half_removed, ignore_errors=True)
        unused = [each for each in folders(home) if each.name not in kept]
        for folder in unused:
            if folder.name not in running:
                progress(f"removing {folder.name}")
                removed[folder.name] = remove_environment(folder)
    return Pruned(removed, [each.name for each in unused if each.name in running])


def remove_environment(folder: Path) -> int:
    """Remove one environment; killed at any point, what is left of it counts as unfinished.

    Returns:
        The bytes that were freed.
    """
    size_bytes = used_bytes(folder)
    # renamed first, so that nobody finds half of it
    aside = folder.with_name(f".{folder.name}{_REMOVED}")
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(folder, aside)
    shutil.rmtree(aside, ignore_errors=True)
    return size_bytes

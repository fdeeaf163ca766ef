"""Find the modules that use each environment, and remove unused environments."""

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

#: ``modules/<name>/<version>/`` and other folders that keep versions at such depths, for example for a rollback
_MANIFESTS = (f"*/*/{MANIFEST_NAME}", f"*/*/*/{MANIFEST_NAME}", f"*/*/*/*/{MANIFEST_NAME}")
_REMOVED = ".removed"


class Pruned(NamedTuple):
    """Result of a prune.

    Attributes:
        removed: key to bytes freed.
        running: keys that no module uses but a process still does.
    """

    removed: dict[str, int]
    running: list[str]


def users(home: Path) -> dict[str, list[str]]:
    """Return key -> ``name version`` of the modules that run there, for every version in the home, including replaced ones."""
    return _listed(home, lambda document: document.get("environment"))


def profile_users(home: Path) -> dict[str, list[str]]:
    """Return profile -> ``name version`` of the modules whose environment is based on it, likewise."""
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
    """Return the keys of the environments that processes of this machine run in."""
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
    """Remove unfinished environments and those that no installed module uses. The caller must hold the store's lock.

    An environment that a process runs in stays: its module may still be served after it was uninstalled.

    Raises:
        InstallError: another process is building and did not finish in time.
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
    """Remove an environment; after a kill at any point, the rest counts as unfinished.

    Returns:
        The freed bytes.
    """
    size_bytes = used_bytes(folder)
    # renamed first, so that no other process finds half of it
    aside = folder.with_name(f".{folder.name}{_REMOVED}")
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(folder, aside)
    shutil.rmtree(aside, ignore_errors=True)
    return size_bytes

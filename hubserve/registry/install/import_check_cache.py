"""Cache of import checks that succeeded: importing an engine takes seconds, so the same files are not checked twice.

Only successes are cached. If a file, a package or an environment variable has changed, the module is checked again.
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import hubserve
from hubserve.kinds.base import ModuleInfo
from hubserve.registry.environments.launch import Launch
from hubserve.registry.instance_command import users_python_path


class ImportCheckCache:
    """Cache entry of one module version in one environment.

    Args:
        home: the home.
        info: the module's metadata.
        environment: the key of its environment; "" for hub's Python.
        launched: how it is started there.
        folder: its files as they are now.
        search_path: folders in which its relative model paths are looked up.
    """

    def __init__(self, home: Path, info: ModuleInfo, environment: str, launched: Launch, folder: Path, search_path: Sequence[Path]) -> None:
        name = hashlib.sha256(json.dumps([info.name, info.version, environment]).encode()).hexdigest()
        self._path = home / "cache" / "checked" / name
        others = [info.name, info.version, environment or _host_packages(), hubserve.__version__, dict(launched.environ)]
        conditions = json.dumps([*others, [str(each) for each in search_path], users_python_path()])
        self._conditions = conditions.replace(str(folder), "")  # the staging folder differs each time

    def contains(self, digest_of: Callable[[], str]) -> bool:
        """Return True if the same files could be imported before; their digest is computed only if there is an entry."""
        try:
            known = self._path.read_text("utf-8")
        except (OSError, ValueError):
            return False
        return known == self._entry(digest_of())

    def add(self, digest: str) -> None:
        """Record that files with a digest could be imported."""
        with suppress(OSError):  # they are checked again next time
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._path.with_name(f".{self._path.name}.{os.getpid()}")
            partial.write_text(self._entry(digest), "utf-8")
            partial.replace(self._path)

    def _entry(self, digest: str) -> str:
        return hashlib.sha256(f"{self._conditions}\n{digest}".encode()).hexdigest()


def _host_packages() -> str:
    """Return a fingerprint of the packages of this Python: their versions, and when their folders changed."""
    found = [sys.version]
    for folder in sys.path:
        with suppress(OSError):
            found.append(f"{folder} {os.stat(folder).st_mtime_ns}")
            found += sorted(each.name for each in os.scandir(folder) if each.name.endswith((".dist-info", ".egg-info", ".pth")))
    return hashlib.sha256("\n".join(found).encode()).hexdigest()

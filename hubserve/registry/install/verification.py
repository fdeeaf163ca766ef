"""Compare installed files with what was installed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hubserve.registry.digests import digest_folder, read_file_list
from hubserve.registry.installed import Installed
from hubserve.registry.manifest import FILES_NAME
from hubserve.registry.progress import Progress, silent
from hubserve.registry.version_dirs import DirectoryLock


class Verdict(NamedTuple):
    """Result of verifying one version.

    Attributes:
        name, version: the module's.
        changed, missing, extra: relative paths.
        error: another problem; "" for none.
    """

    name: str
    version: str
    changed: list[str]
    missing: list[str]
    extra: list[str]
    error: str = ""

    @property
    def is_intact(self) -> bool:
        """True if the files are those that were installed."""
        return not (self.changed or self.missing or self.extra or self.error)

    def to_json(self) -> dict[str, Any]:
        """Return the document of ``--json``."""
        return {**self._asdict(), "ok": self.is_intact}

    def problems(self) -> Iterator[str]:
        """Yield one line for each problem: a sentence, or what happened to a path."""
        for change in ("changed", "missing", "extra"):
            yield from (f"{change}: {path}" for path in getattr(self, change))
        if self.error:
            yield self.error


def verify(installed: Installed, progress: Progress = silent) -> Verdict:
    """Read every file of a version; bytecode in ``__pycache__`` is ignored."""
    name, version = installed.info.name, installed.info.version
    lock = DirectoryLock(installed.version_dir)  # keeps an uninstall from deleting what is being read
    try:
        contents, digests = digest_folder(installed.version_dir, progress, f"reading {name} {version}")
    except OSError as error:
        return Verdict(name, version, [], [], [], f"cannot be read: {error.strerror or error} ({error.filename})")
    finally:
        lock.release()
    if contents.digest == installed.manifest.digest:
        return Verdict(name, version, [], [], [])
    listed, list_path = read_file_list(installed.version_dir), _list_path(installed.version_dir)
    if listed is None:
        why = f"its files are not those that were installed; which ones is unknown, because {list_path} is missing or damaged"
        return Verdict(name, version, [], [], [], why)
    changed = sorted(path for path in listed.keys() & digests.keys() if listed[path] != digests[path])
    missing, extra = sorted(listed.keys() - digests.keys()), sorted(digests.keys() - listed.keys())
    if not (changed or missing or extra):
        return Verdict(name, version, [], [], [], f"its manifest and {list_path} describe different files")
    return Verdict(name, version, changed, missing, extra)


def _list_path(version_dir: Path) -> str:
    return f"'{version_dir / FILES_NAME}'"

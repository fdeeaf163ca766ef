"""Holds installed files against what was installed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from hubserve.registry.digests import list_files, read_file_list
from hubserve.registry.progress import Progress, silent
from hubserve.registry.store import Installed
from hubserve.registry.version_dirs import Hold


class Verdict(NamedTuple):
    """What became of one version's files.

    Attributes:
        name, version: the module.
        changed, missing, extra: relative paths.
        error: what is wrong otherwise; "" for nothing.
    """

    name: str
    version: str
    changed: list[str]
    missing: list[str]
    extra: list[str]
    error: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether the files are those that were installed."""
        return not (self.changed or self.missing or self.extra or self.error)

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**self._asdict(), "ok": self.is_whole}

    def problems(self) -> Iterator[str]:
        """A sentence or a path with its fate for each thing that is wrong."""
        for fate in ("changed", "missing", "extra"):
            yield from (f"{fate}: {path}" for path in getattr(self, fate))
        if self.error:
            yield self.error


def verify(installed: Installed, progress: Progress = silent) -> Verdict:
    """Read every file of a version; bytecode that Python keeps in ``__pycache__`` is not looked at."""
    name, version = installed.info.name, installed.info.version
    hold = Hold(installed.place)  # an uninstall does not delete what is being read
    try:
        contents, digests = list_files(installed.place, progress, f"reading {name} {version}")
    except OSError as error:
        return Verdict(name, version, [], [], [], f"cannot be read: {error.strerror or error} ({error.filename})")
    finally:
        hold.release()
    listed = read_file_list(installed.place)
    if contents.digest == installed.manifest.digest:
        return Verdict(name, version, [], [], [])
    if listed is None:
        why = (
            f"its files are not those that were installed; which, is not known, because {_list_name(installed.place)} is missing or damaged"
        )
        return Verdict(name, version, [], [], [], why)
    changed = sorted(path for path in listed.keys() & digests.keys() if listed[path] != digests[path])
    missing, extra = sorted(listed.keys() - digests.keys()), sorted(digests.keys() - listed.keys())
    if not (changed or missing or extra):
        return Verdict(name, version, [], [], [], f"its manifest and {_list_name(installed.place)} tell of different files")
    return Verdict(name, version, changed, missing, extra)


def _list_name(place: Path) -> str:
    from hubserve.registry.manifest import FILES_NAME

    return f"'{place / FILES_NAME}'"

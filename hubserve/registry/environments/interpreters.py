"""Find the Pythons of this machine: look for candidates and run each once to identify it."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

OLDEST, NEWEST = (3, 8), (3, 13)

_PROBE = (
    "import sys, json, sysconfig; print(json.dumps([list(sys.version_info[:3]), getattr(sys, '_base_executable', '') or sys.executable,"
    " sys.version_info[3], sysconfig.get_platform(), sys.implementation.name if hasattr(sys, 'implementation') else 'cpython']))"
)
_PROBE_TIMEOUT_S = 20
_NAMES = ("python3", *(f"python3.{minor}" for minor in range(NEWEST[1], OLDEST[1] - 1, -1)))
_PATTERNS = (
    "~/.pyenv/versions/*/bin/python",
    "$PYENV_ROOT/versions/*/bin/python",
    "~/.local/share/uv/python/*/bin/python3",
    "~/.asdf/installs/python/*/bin/python3",
    "/usr/bin/python3.[0-9]*",
    "/usr/local/bin/python3.[0-9]*",
    "/opt/python*/bin/python3",
    "/opt/*/bin/python3",
)


class Python(NamedTuple):
    """Python interpreter.

    Attributes:
        path: its executable; for a virtual environment, that of the Python it was made from.
        version: ``3.8.18``.
        platform: platform of its packages, such as ``linux-x86_64``.
    """

    path: str
    version: str
    platform: str

    @property
    def minor(self) -> str:
        """Minor version: ``3.8``."""
        return ".".join(self.version.split(".")[:2])

    @property
    def numbers(self) -> tuple[int, ...]:
        """Version as numbers, for comparisons."""
        return tuple(int(each) for each in self.version.split("."))

    @property
    def supported(self) -> bool:
        """True if instances can run in it."""
        return OLDEST <= self.numbers[:2] <= NEWEST


def host() -> Python:
    """Return the Python that runs this process."""
    base = getattr(sys, "_base_executable", "") or sys.executable
    return Python(base if Path(base).exists() else sys.executable, ".".join(map(str, sys.version_info[:3])), sysconfig.get_platform())


def find_pythons(cache: Path, *, remember: bool = True) -> list[Python]:
    """Return every Python found, this process's first, then from newest to oldest, including unsupported ones.

    Args:
        cache: file of the interpreters identified before.
        remember: whether to update that file.
    """
    known = _read(cache)
    identified: dict[str, Any] = {}
    found = {os.path.realpath(host().path): host()}
    for candidate in _candidates():
        real = os.path.realpath(candidate)
        if real in found:
            continue
        python = _remembered(candidate, real, known, identified)
        if python and os.path.realpath(python.path) not in found:
            found[os.path.realpath(python.path)] = python
    if remember and identified != known:
        _write(cache, identified)
    first, *others = found.values()
    return [first, *sorted(others, key=lambda each: each.numbers, reverse=True)]


def probe(path: str) -> Python | None:
    """Run an executable and return the Python that it is, or None if it does not run or is not a released CPython."""
    try:
        environ = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        command = [path, "-S", "-c", _PROBE]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=True)
        version, base, level, platform, implementation = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError, TypeError):
        return None
    if implementation != "cpython" or level != "final":
        return None
    return Python(base if Path(base).exists() else path, ".".join(map(str, version)), platform)


def _candidates() -> Iterator[str]:
    for name in _NAMES:
        for folder in os.environ.get("PATH", "").split(os.pathsep):
            # pyenv's shims work for the selected versions only; the versions themselves are found below
            if folder and Path(folder).name != "shims":
                path = shutil.which(name, path=folder)
                if path:
                    yield path
    for pattern in _PATTERNS:
        expanded = os.path.expandvars(os.path.expanduser(pattern))
        if "$" not in expanded:
            yield from _executables(Path("/").glob(expanded.lstrip("/")))


def _executables(paths: Iterable[Path]) -> list[str]:
    return sorted(str(each) for each in paths if each.name.replace("python", "").replace(".", "").isdigit() or each.name == "python")


def _remembered(candidate: str, real: str, known: dict[str, Any], identified: dict[str, Any]) -> Python | None:
    try:
        status = os.stat(real)
    except OSError:
        return None
    stamp = [status.st_mtime_ns, status.st_size]
    entry = known.get(candidate)
    if isinstance(entry, dict) and entry.get("stamp") == stamp and entry.get("real") == real:
        identified[candidate] = entry
        with suppress(KeyError, TypeError):
            return Python(*entry["python"]) if entry["python"] else None
    python = probe(candidate)
    identified[candidate] = {"real": real, "stamp": stamp, "python": python}
    return python


def _read(cache: Path) -> dict[str, Any]:
    try:
        document = json.loads(cache.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _write(cache: Path, identified: dict[str, Any]) -> None:
    with suppress(OSError):  # they are identified again next time
        cache.parent.mkdir(parents=True, exist_ok=True)
        partial = cache.with_name(f".{cache.name}.{os.getpid()}")
        partial.write_text(json.dumps(identified, indent=1), "utf-8")
        partial.replace(cache)

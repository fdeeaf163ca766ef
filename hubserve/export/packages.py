"""Pin the packages of this environment that hubserve serves with, and build hubserve's own wheel."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

import hubserve
from hubserve.errors import ConfigError, HubError
from hubserve.paths import home
from hubserve.registry.environments.interpreters import host
from hubserve.registry.environments.requirements import read_requirements
from hubserve.registry.environments.tools import scratch_tool
from hubserve.registry.environments.tools.base import Order
from hubserve.registry.environments.tools.package_index import index_settings
from hubserve.registry.environments.tools.process import ToolFailed
from hubserve.registry.environments.tools.uv import Uv
from hubserve.registry.progress import Progress

#: extras that no server needs
_NOT_FOR_SERVING = ("all", "docs", "flask", "model", "operations", "test")
#: indexes of builds that PyPI does not have, by the local part of their versions
_LOCAL_BUILDS = re.compile(r"torch.*==.*\+(cpu|cu\d+|rocm[\d.]+)$")
#: the earliest time that archives can hold
EPOCH = 315532800


def installed_extras() -> list[str]:
    """Return the extras of hubserve whose packages are all installed here, without those that no server needs."""
    extras = metadata.metadata("hubserve").get_all("Provides-Extra") or []
    return [each for each in extras if each not in _NOT_FOR_SERVING and not _missing(each)]


def _missing(extra: str) -> list[str]:
    return [each.name for each in _requirements("hubserve", [extra]) if _find(each.name) is None]


def pinned_packages(extras: Iterable[str], folders: Sequence[Path]) -> list[str]:
    """Return ``name==version`` of everything that hubserve with some extras needs, as it is installed here, sorted.

    Args:
        extras: of hubserve.
        folders: of modules that run in this Python; what they require and is installed is pinned too.
    Raises:
        ConfigError: an extra is unknown, or its packages are not installed.
    """
    extras = list(extras)
    known = metadata.metadata("hubserve").get_all("Provides-Extra") or []
    for each in extras:
        if each not in known:
            raise ConfigError(f"hubserve has no extra '{each}'; there are {', '.join(known)}")
        if missing := _missing(each):
            raise ConfigError(
                f"the extra '{each}' is not installed here ({', '.join(missing)} missing). Run: pip install 'hubserve[{each}]'"
            )
    wanted = list(_requirements("hubserve", extras))
    for folder in folders:
        wanted += [found for line in read_requirements(folder, allow_urls=True).lines if (found := _requirement(line)) is not None]
    pins: dict[str, str] = {}
    seen: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        requirement = wanted.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        installed = _find(requirement.name)
        if installed is None or key in seen or key[0] == "hubserve":
            continue
        seen.add(key)
        pins[key[0]] = f"{key[0]}=={installed.version}"
        wanted += _requirements(requirement.name, requirement.extras)
    return [pins[name] for name in sorted(pins)]


def requirements_text(pins: Sequence[str], progress: Progress, notes: list[str]) -> str:
    """Return a requirements file of pins, with the digests of their files where uv and the index give them for all."""
    lines: list[str] = []
    try:
        if Uv.available():
            with scratch_tool(home(), progress, Uv) as tool:
                assert isinstance(tool, Uv), "the requested class"
                lines = tool.hashes(host(), Order(pins, (), (), index_settings()))
        else:
            notes.append("requirements.txt has no digests, because uv is not installed here (pip install 'hubserve[environments]')")
    except HubError as error:
        notes.append(f"requirements.txt has no digests: {error.message}")
    except ToolFailed as error:
        notes.append(f"requirements.txt has no digests, because uv cannot ask the package index for them: {error.output.strip()[-300:]}")
    builds = sorted({found[1] for pin in pins if (found := _LOCAL_BUILDS.match(pin))})
    head = [f"--extra-index-url https://download.pytorch.org/whl/{each}" for each in builds]
    return "\n".join([*head, *(lines or pins)]) + "\n"


def write_wheel(folder: Path) -> Path:
    """Write the wheel of the hubserve that runs: built from its sources, or packed from its installed files.

    Returns:
        The wheel.
    Raises:
        HubError: it cannot be built; the message has pip's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sources = _sources()
    if sources is None:
        return _pack_installed(metadata.distribution("hubserve"), folder)
    with tempfile.TemporaryDirectory(prefix="hubserve-wheel-") as scratch:
        copied = Path(scratch, "sources")  # a build leaves files in its folder
        shutil.copytree(sources, copied, ignore=_only_package(sources))
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", str(folder), str(copied)]
        environ = {**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)}
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HubError(f"hubserve's wheel cannot be built from '{sources}': {done.stderr.strip()[-500:]}. Fix that and export again.")
    return next(folder.glob("hubserve-*.whl"))


def _sources() -> Path | None:
    """Return the folder of the sources that run; None if hubserve runs from installed files."""
    folder = Path(hubserve.__file__).resolve().parent.parent
    return folder if (folder / "pyproject.toml").is_file() else None


def _only_package(sources: Path) -> Callable[[str, list[str]], list[str]]:
    kept = {"hubserve", "pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE"}

    def ignored(folder: str, names: list[str]) -> list[str]:
        at_top = Path(folder) == sources
        return [each for each in names if (at_top and each not in kept) or each == "__pycache__"]

    return ignored


def _pack_installed(distribution: metadata.Distribution, folder: Path) -> Path:
    """Pack installed files into a wheel again: those that its ``RECORD`` lists below the folder of packages."""
    wheel = folder / f"hubserve-{distribution.version}-py3-none-any.whl"
    date = (1980, 1, 1, 0, 0, 0)
    left_out = ("INSTALLER", "REQUESTED", "direct_url.json", "RECORD")
    files = [each for each in distribution.files or [] if not str(each).startswith("..") and each.suffix != ".pyc"]
    record = next((each for each in files if each.name == "RECORD"), None)
    if record is None:
        raise HubError("the installed hubserve has no list of its files (RECORD). Install it again with pip.")
    lines = []
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for each in sorted(files, key=str):
            if each.name in left_out and each.parent == record.parent:
                continue
            archive.writestr(zipfile.ZipInfo(str(each), date), Path(str(each.locate())).read_bytes(), zipfile.ZIP_DEFLATED)
            digest = f"{each.hash.mode}={each.hash.value}" if each.hash else ""
            lines.append(f"{each},{digest},{each.size or ''}")
        archive.writestr(zipfile.ZipInfo(str(record), date), "\n".join([*lines, f"{record},,"]) + "\n", zipfile.ZIP_DEFLATED)
    return wheel


def _requirements(name: str, extras: Iterable[str]) -> Iterator[Requirement]:
    """Yield what an installed package requires on this machine, with some of its extras."""
    for line in metadata.requires(name) or []:
        requirement = _requirement(line)
        if requirement is None:
            continue
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": each}) for each in (*extras, "")):
            yield requirement


def _requirement(line: str) -> Requirement | None:
    try:
        return Requirement(line)
    except InvalidRequirement:  # an option, or an address
        return None


def _find(name: str) -> metadata.Distribution | None:
    try:
        return metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None

"""Checks of the software on this machine: Python, packages, commands."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from hubserve.doctor.findings import ERROR, NOTE, WARNING, Finding
from hubserve.engines.subprocess_call import call_in_child
from hubserve.errors import HubError
from hubserve.paths import home
from hubserve.registry.environments.host_packages import OPENCV_BUILDS, find_installed, installed_opencv_builds, is_contrib
from hubserve.registry.environments.interpreters import find_pythons
from hubserve.registry.environments.resolve import PYTHONS_CACHE

_TRY_S = 10.0
_OPENCV_TIMEOUT_S = 60.0


def check_python(requires: str = "") -> Iterator[Finding]:
    """Check that hubserve supports the version of this Python.

    Args:
        requires: supported versions; those of the installed hubserve if "".
    """
    version = "{}.{}.{}".format(*sys.version_info)
    try:
        requires = requires or (metadata.metadata("hubserve").get_all("Requires-Python") or [""])[0]
    except metadata.PackageNotFoundError:
        requires = ""
    if version not in SpecifierSet(requires):
        yield Finding(
            ERROR,
            "python",
            f"this is Python {version} ({sys.executable}), but hubserve requires {requires}",
            "Install hubserve with another Python",
        )
    else:
        yield Finding(NOTE, "python", f"{version} ({sys.executable})")


def check_packages() -> Iterator[Finding]:
    """Check the packages that hubserve needs, and the versions of those in its extras."""
    try:
        listed = [Requirement(each) for each in metadata.requires("hubserve") or ()]
        extras = metadata.metadata("hubserve").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        yield Finding(
            NOTE,
            "packages",
            "hubserve runs from its sources, so the versions of its packages cannot be checked",
            "pip install -e .",
        )
        return
    seen = set()
    for requirement in listed:
        needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        applies = needed or any(requirement.marker and requirement.marker.evaluate({"extra": extra}) for extra in extras)
        key = (requirement.name, str(requirement.specifier))
        if applies and key not in seen:  # several extras may list the same requirement
            seen.add(key)
            yield from compare_requirement(requirement, needed=needed)


def compare_requirement(requirement: Requirement, *, needed: bool) -> Iterator[Finding]:
    """Compare this environment with a requirement.

    Args:
        requirement: a package and its versions.
        needed: whether a missing package, or another version of it, is an error.
    """
    found = find_installed(requirement.name)
    # upgrade the installed build of OpenCV: another one beside it would overwrite it
    wanted = f"{found.name if found else requirement.name}{requirement.specifier}"
    fix = f"pip install '{wanted}'"
    if found is None:
        if needed:
            yield Finding(ERROR, requirement.name, f"the package is required but not installed in {sys.prefix}", fix)
    elif not requirement.specifier.contains(found.version, prereleases=True):
        yield Finding(ERROR if needed else WARNING, found.name, f"version {found.version} is installed, but {wanted} is required", fix)


def check_opencv() -> Iterator[Finding]:
    """Check that exactly one build of OpenCV is installed and can be imported."""
    builds = installed_opencv_builds()
    if not builds:
        return  # reported with the other packages
    listed = ", ".join(f"{each.name} {each.version}" for each in builds)
    # a build with the contributed modules is replaced by another with them, because something may import them
    headless = next(each for each in OPENCV_BUILDS if is_contrib(each) == any(is_contrib(build.name) for build in builds))
    fix = f"pip uninstall -y {' '.join(each.name for each in builds)} && pip install {headless}"
    if len(builds) > 1:
        reason = f"several builds of OpenCV are installed ({listed}); they overwrite each other's files in the folder 'cv2'"
        yield Finding(WARNING, "opencv", reason, fix)
    try:
        call_in_child("hubserve.doctor.probe:import_opencv", [], _OPENCV_TIMEOUT_S)
    except HubError as error:
        yield Finding(ERROR, "opencv", f"{listed} cannot be imported: {error.message}", fix)
    else:
        if len(builds) == 1:
            yield Finding(NOTE, "opencv", listed)


def check_hub_commands() -> Iterator[Finding]:
    """Check that the shell finds this ``hub``."""
    folders = [Path(each) for each in os.environ.get("PATH", "").split(os.pathsep) if each]
    found = list(
        dict.fromkeys((each / "hub").resolve() for each in folders if os.access(each / "hub", os.X_OK) and (each / "hub").is_file())
    )
    own = (Path(sys.executable).parent / "hub").resolve()
    if own.is_file() and found and found[0] != own:
        yield Finding(
            WARNING,
            "PATH",
            f"the shell's 'hub' is {found[0]}, but this is {own}",
            f"Put {own.parent} first in PATH, or uninstall the other",
        )
    elif len(found) > 1:
        others = ", ".join(map(str, found[1:]))
        yield Finding(WARNING, "PATH", f"there are several commands 'hub': {found[0]} runs, not {others}", "Uninstall the unused ones")


def check_other_pythons() -> Iterator[Finding]:
    """Report the other interpreters of this machine, for modules that need another Python."""
    pythons = find_pythons(home() / "cache" / PYTHONS_CACHE, remember=False)[1:]
    listed = ", ".join(f"{each.version} ({each.path})" for each in pythons if each.supported)
    yield Finding(NOTE, "other Pythons", listed or "none found")


def check_tools() -> Iterator[Finding]:
    """Report the commands that installing can use."""
    for name, use in (
        ("uv", "environments are made with venv and pip, which takes longer"),
        ("git", "modules cannot be installed from git"),
    ):
        path = shutil.which(name)
        if path is None:
            yield Finding(NOTE, name, f"not installed: {use}")
            continue
        version = first_line_of([path, "--version"])
        if version:
            yield Finding(NOTE, name, f"{version} ({path})")
        else:
            yield Finding(WARNING, name, f"{path} does not run: '{name} --version' failed", "Reinstall it, or remove it from PATH")


def first_line_of(command: list[str]) -> str:
    """Return the first line that a command prints; "" if it fails."""
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=_TRY_S, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout.partition("\n")[0].strip()


def check_variables() -> Iterator[Finding]:
    """Check for environment variables that change imports or linking."""
    yield from _check_folders("LD_LIBRARY_PATH", "libraries")
    yield from _check_folders("PYTHONPATH", "packages")
    for path in os.environ.get("LD_PRELOAD", "").replace(":", " ").split():
        if "/" in path and not Path(path).exists():
            yield Finding(WARNING, "LD_PRELOAD", f"'{path}' does not exist, so every process prints an error", "Remove it from LD_PRELOAD")
    if os.environ.get("PYTHONHOME"):
        yield Finding(
            WARNING,
            "PYTHONHOME",
            "it is set, so instances with another Python look for its library in the wrong folder",
            "unset PYTHONHOME",
        )


def _check_folders(variable: str, what: str) -> Iterator[Finding]:
    value = os.environ.get(variable, "")
    for folder in value.split(os.pathsep) if value else ():
        if not folder:
            reason = f"it has an empty entry, which means the working directory: {what} there are loaded instead of the right ones"
        elif not Path(folder).is_absolute():
            reason = f"'{folder}' is relative, so it depends on the working directory"
        elif not Path(folder).exists():
            reason = f"the folder '{folder}' does not exist"
        else:
            continue
        yield Finding(WARNING, variable, reason, f"Remove the entry from {variable}, or make it absolute")

"""Packages of the Python that runs hubserve: find them by the names that requirements use, and check requirements against them.

OpenCV is published in four builds, each a package of its own that installs the same folder ``cv2``. A requirement that names one is met by
another, because they differ only in windows on a screen, which no server opens, and in the contributed modules.
"""

from collections.abc import Sequence
from importlib import metadata
from typing import TYPE_CHECKING, NamedTuple

from hubserve.registry.environments.requirements import Requirements

if TYPE_CHECKING:
    from packaging.requirements import Requirement

#: builds of OpenCV, the preferred ones first: without windows (no libGL needed), then with fewer modules
OPENCV_BUILDS = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")


class Installed(NamedTuple):
    """Installed package."""

    name: str
    version: str


def find_installed(name: str) -> Installed | None:
    """Return the installed package that meets a requirement of this name, or None.

    For a build of OpenCV this may be another build, but never one without the contributed modules where the name asks for them.
    """
    from packaging.utils import canonicalize_name

    wanted = canonicalize_name(name)
    others = [each for each in OPENCV_BUILDS if is_contrib(each) or not is_contrib(wanted)] if wanted in OPENCV_BUILDS else []
    return next((Installed(each, version) for each in (name, *others) if (version := _version(each)) is not None), None)


def installed_opencv_builds() -> list[Installed]:
    """Return the builds of OpenCV that are installed. More than one overwrite each other's files."""
    return [Installed(each, version) for each in OPENCV_BUILDS if (version := _version(each)) is not None]


def is_contrib(name: str) -> bool:
    """Return whether a package is a build of OpenCV with the contributed modules."""
    return name.startswith("opencv-contrib-")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def unmet_requirements(requirements: Requirements) -> list[str]:
    """Return the requirements that this Python does not meet, each with the installed version: ``numpy<1.24 (has 2.4.6)``."""
    from packaging.requirements import Requirement

    found = [text for line in requirements.lines for text in _unmet(Requirement(line), ("",), set())]
    constraints = [Requirement(line) for line in requirements.constraints]
    return found + [text for each in constraints if find_installed(each.name) for text in _unmet(each, ("",), set())]


def _unmet(requirement: "Requirement", extras: Sequence[str], seen: set[tuple[str, str]]) -> list[str]:
    """Check one requirement and its extras; a package's own dependencies were checked when it was installed."""
    from packaging.requirements import Requirement

    if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
        return []
    found = find_installed(requirement.name)
    if found is None:
        return [f"{requirement} (not there)"]
    if requirement.url or not requirement.specifier.contains(found.version, prereleases=True):
        other = f"{found.name} " if found.name != requirement.name else ""
        return [f"{requirement} (has {other}{found.version})"]
    missing = []
    for extra in requirement.extras:
        if (requirement.name, extra) in seen:
            continue
        seen.add((requirement.name, extra))
        for line in metadata.requires(found.name) or []:
            inner = Requirement(line)
            if inner.marker and "extra" in str(inner.marker):
                missing += _unmet(inner, (extra,), seen)
    return missing

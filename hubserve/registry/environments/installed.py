"""Packages of the Python that runs hubserve, found by the names that requirements give them.

OpenCV is published in four builds, each a package of its own that installs the same folder ``cv2``. A requirement that names one is met by
another, because what differs between them is windows on a screen, which no server opens, and the contributed modules.
"""

from importlib import metadata
from typing import NamedTuple

#: the builds of OpenCV, the preferred ones first: without windows (no libGL needed), then with fewer modules
OPENCV_BUILDS = ("opencv-python-headless", "opencv-python", "opencv-contrib-python-headless", "opencv-contrib-python")


class Installed(NamedTuple):
    """An installed package."""

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

"""Versions of installed packages, found without importing them."""

from importlib import metadata
from typing import Dict, Tuple

#: package that is imported -> the names under which it is installed, where those are others
_DISTRIBUTIONS: Dict[str, Tuple[str, ...]] = {
    "paddle": ("paddlepaddle", "paddlepaddle-gpu"),
    "tensorflow": ("tensorflow", "tensorflow-cpu", "tensorflow-gpu"),
    "megenginelite": ("megengine",),
}


def version_of(*distributions: str) -> str:
    """Return the version of the first of these distributions that is installed; "" without one."""
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ""


def package_version(package: str) -> str:
    """Return the version of a package by the name that it is imported by; "" if it is not installed."""
    return version_of(*_DISTRIBUTIONS.get(package, (package,)))


def paddle_version() -> str:
    """Return the version of Paddle, installed under either of its names."""
    return package_version("paddle")

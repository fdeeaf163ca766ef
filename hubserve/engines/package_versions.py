"""Versions of installed packages, found without importing them."""

from importlib import metadata


def version_of(*distributions: str) -> str:
    """The version of the first of these distributions that is installed; empty if none is."""
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ""


def paddle_version() -> str:
    """The version of Paddle, under either of the names it is installed by."""
    return version_of("paddlepaddle", "paddlepaddle-gpu")

"""Versions of installed packages, found without importing them."""

from importlib import metadata


def version_of(*distributions: str) -> str:
    """Return the version of the first of these distributions that is installed; "" without one."""
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return ""


def paddle_version() -> str:
    """Return the version of Paddle, installed under either of its names."""
    return version_of("paddlepaddle", "paddlepaddle-gpu")

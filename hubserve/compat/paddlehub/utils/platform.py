"""``paddlehub.utils.platform``."""

import os
import platform


def get_platform() -> str:
    """Return the operating system in one line."""
    return platform.platform()


def is_windows() -> bool:
    """Return whether this is Windows."""
    return os.name == "nt"

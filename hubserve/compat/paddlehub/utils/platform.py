"""``paddlehub.utils.platform``."""

import os
import platform


def get_platform() -> str:
    """Return the platform of this machine, in a line."""
    return platform.platform()


def is_windows() -> bool:
    """Return True on Windows."""
    return os.name == "nt"

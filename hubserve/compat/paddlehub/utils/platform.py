"""``paddlehub.utils.platform``."""

import os
import platform


def get_platform() -> str:
    """What this machine runs, in a line."""
    return platform.platform()


def is_windows() -> bool:
    """Whether this is Windows."""
    return os.name == "nt"

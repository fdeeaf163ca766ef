"""Paths of result pictures that modules save, each with a unique name."""

import itertools
import os
import time

_numbers = itertools.count()


def new_path(folder: str, prefix: str = "") -> str:
    """Return the path of a new ``.png`` in a folder, which is created; instances of one module may share the folder."""
    os.makedirs(folder, exist_ok=True)
    return os.path.join(folder, f"{prefix}{time.time():.6f}_{os.getpid()}_{next(_numbers)}.png")

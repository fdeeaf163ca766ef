"""Log the uses of removed names by user code, each once."""

import os
import re
import sys
import sysconfig
from contextlib import suppress
from functools import lru_cache
from types import FrameType
from typing import Optional, Set

_PACKAGES = re.compile(r"[\\/](site|dist)-packages[\\/]")
_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_STANDARD = tuple({os.path.dirname(os.path.abspath(os.__file__)) + os.sep, sysconfig.get_paths()["stdlib"] + os.sep})

_logged: Set[str] = set()


def user_frame() -> Optional[FrameType]:
    """Return the frame that asked for a name if it is user code; None for an installed package or Python itself."""
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(("<frozen ", _HERE)):
        frame = frame.f_back
    return frame if frame is not None and is_of_user(frame.f_code.co_filename) else None


@lru_cache(maxsize=4096)
def is_of_user(file: str) -> bool:
    """Return True for a file of user code: neither Python's own nor of an installed package."""
    return not (_PACKAGES.search(file) or os.path.abspath(file).startswith(_STANDARD))


def log_call(name: str, replacement: str) -> None:
    """Log the place of the first call, by any code."""
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    log(name, replacement, frame)


def log(name: str, replacement: str, frame: Optional[FrameType]) -> None:
    """Log that a frame uses a removed name, once for each name."""
    if name in _logged or replacement == f"{name}:":  # a module, which is logged when it is imported
        return
    _logged.add(name)
    position = f"{frame.f_code.co_filename}, line {frame.f_lineno}: " if frame is not None else ""
    package = name.partition(".")[0]
    version = getattr(sys.modules.get(package), "__version__", "")
    holder = f"{package} {version}" if version else f"Python {sys.version_info[0]}.{sys.version_info[1]}"
    with suppress(OSError, ValueError):  # a log that has been closed
        sys.stderr.write(f"{position}{holder} no longer has {name}; {_shown(replacement)} is used in its place\n")


def _shown(replacement: str) -> str:
    module, _, attribute = replacement.partition(":")
    if module.startswith("hubserve."):
        return "a replacement by hub"
    return attribute if module == "builtins" else f"{module}.{attribute}".rstrip(".")

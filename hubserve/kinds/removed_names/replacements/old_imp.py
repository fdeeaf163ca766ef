"""The parts of the module ``imp``, which Python 3.12 removed, that modules use to load a file as a module."""

import importlib.util
import sys
from importlib import reload
from types import ModuleType
from typing import Any, Optional, Sequence, Tuple

__all__ = ["find_module", "get_magic", "load_module", "load_source", "new_module", "reload"]

PY_SOURCE, PY_COMPILED, C_EXTENSION, PKG_DIRECTORY = 1, 2, 3, 5

new_module = ModuleType


def get_magic() -> bytes:
    """Return the first bytes of compiled files."""
    return importlib.util.MAGIC_NUMBER


def load_source(name: str, pathname: str, file: Any = None) -> ModuleType:  # noqa: ARG001 - as imp had it
    """Import a file as a module of any name."""
    spec = importlib.util.spec_from_file_location(name, pathname)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot import '{pathname}'", name=name, path=pathname)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def find_module(name: str, path: Optional[Sequence[str]] = None) -> Tuple[Any, str, Tuple[str, str, int]]:
    """Return an open file, its path and its type.

    Raises:
        ImportError: the module does not exist.
    """
    from importlib.machinery import PathFinder

    spec = PathFinder.find_spec(name, path)
    if spec is None or spec.origin is None:
        raise ImportError(f"No module named {name!r}", name=name)
    if spec.submodule_search_locations:
        return None, next(iter(spec.submodule_search_locations)), ("", "", PKG_DIRECTORY)
    if not spec.origin.endswith(".py"):
        return open(spec.origin, "rb"), spec.origin, (".so", "rb", C_EXTENSION)
    return open(spec.origin, encoding="utf-8"), spec.origin, (".py", "r", PY_SOURCE)


def load_module(name: str, file: Any, filename: str, details: Tuple[str, str, int]) -> ModuleType:  # noqa: ARG001
    """Import the result of :func:`find_module`."""
    return load_source(name, f"{filename}/__init__.py" if details[2] == PKG_DIRECTORY else filename)

"""Patch modules with the names that they lack."""

import gc
import sys
import warnings
from contextlib import suppress
from ctypes import py_object, pythonapi
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any, Callable, Dict, FrozenSet, NamedTuple, Optional, Tuple

from hubserve.kinds.removed_names import TABLES
from hubserve.kinds.removed_names.usage_log import log, log_call, user_frame


class Patches(NamedTuple):
    """The patches of one module, by attribute: added attributes, wrappers of functions, and methods of classes."""

    names: Dict[str, str]
    wrapped: Dict[str, str]
    methods: Dict[str, str]


def patches_by_module() -> Dict[str, Patches]:
    """Return the patches of each module, by its name."""
    patches: Dict[str, Patches] = {}
    for table in {id(each): each for each in TABLES.values()}.values():
        for kind, entries in enumerate((table.NAMES, getattr(table, "WRAPPED", {}), getattr(table, "METHODS", {}))):
            for name, replacement in entries.items():
                module, _, attribute = name.rpartition(".")
                if kind == 2:
                    module, _, owner = module.rpartition(".")
                    attribute = f"{owner}.{attribute}"
                if replacement:
                    patches.setdefault(module, Patches({}, {}, {}))[kind][attribute] = replacement
        for name in getattr(table, "LEFT_OVER", {}):
            package, _, attribute = name.partition(".")
            if "." not in attribute:
                patches.setdefault(package, Patches({}, {}, {})).names[attribute] = f"{name}:"
    return patches


def patch(module: ModuleType, wanted: Patches) -> None:
    """Add the names that a module lacks."""
    for name, replacement in wanted.wrapped.items():
        if name in vars(module):
            wrapper = _resolve(replacement)(vars(module)[name], lambda full=f"{module.__name__}.{name}", to=replacement: log_call(full, to))
            if wrapper is not None:
                setattr(module, name, wrapper)
    for name, replacement in wanted.methods.items():
        owner_name, _, method = name.partition(".")
        owner = getattr(module, owner_name, None)
        if owner is not None and not hasattr(owner, method):
            _set_on_type(owner, method, _logged_method(f"{module.__name__}.{name}", replacement))
    missing = {name: replacement for name, replacement in wanted.names.items() if name not in vars(module)}
    if missing:
        module.__getattr__ = _finder_of(module, missing)  # type: ignore[method-assign]  # PEP 562


def _finder_of(module: ModuleType, missing: Dict[str, str]) -> Callable[[str], Any]:
    original: Optional[Callable[[str], Any]] = vars(module).get("__getattr__")
    found: Dict[str, Any] = {}

    def find(name: str) -> Any:
        if name in missing:
            frame = user_frame()
            if frame is not None or f"{module.__name__}.{name}" in left_over_modules():
                if name not in found:
                    found[name] = _present(original, name) or (_resolve(missing[name]), True)
                value, is_ours = found[name]
                if is_ours:
                    log(f"{module.__name__}.{name}", missing[name], frame)
                return value
        if original is not None:
            return original(name)
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

    return find


def _present(original: Optional[Callable[[str], Any]], name: str) -> Optional[Tuple[Any, bool]]:
    """Ask the package's own ``__getattr__``, which may still have the name."""
    if original is None:
        return None
    with warnings.catch_warnings(), suppress(AttributeError, ImportError, RuntimeError):
        warnings.simplefilter("ignore")
        return original(name), False
    return None


def _resolve(replacement: str) -> Any:
    module, _, attributes = replacement.partition(":")
    found: Any = import_module(module)
    for each in filter(None, attributes.split(".")):
        found = getattr(found, each)
    return found


def _logged_method(name: str, replacement: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        log_call(name, replacement)
        return _resolve(replacement)(self, *args, **kwargs)

    method.__name__ = name.rpartition(".")[2]
    return method


def _set_on_type(owner: Any, name: str, function: Callable[..., Any]) -> None:
    """Add a method to a class, also to one that is written in C."""
    try:
        setattr(owner, name, function)
    except TypeError:
        # a class in C refuses it, and shows its dictionary through a proxy only
        behind = [each for each in gc.get_referents(vars(owner)) if isinstance(each, dict)]
        if len(behind) == 1 and sys.implementation.name == "cpython":
            behind[0][name] = function
            pythonapi.PyType_Modified(py_object(owner))


@lru_cache(maxsize=1)
def left_over_modules() -> FrozenSet[str]:
    """Return the names of removed modules whose remains can be imported."""
    return frozenset(name for table in TABLES.values() for name in getattr(table, "LEFT_OVER", ()))

"""Restore the names that newer packages removed, for old code.

A package is patched when it is imported, and only where it lacks a name. Attributes of modules are found by the module's ``__getattr__``,
and only for code outside the standard library and installed packages, which look for a name to detect a version.
"""

import gc
import os
import re
import sys
import sysconfig
import warnings
from contextlib import suppress
from ctypes import py_object, pythonapi
from functools import lru_cache
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import FrameType, ModuleType
from typing import Any, Callable, Dict, FrozenSet, NamedTuple, Optional, Set, Tuple

from hubserve.kinds.removed_names import TABLES, VARIABLE

_PACKAGES = re.compile(r"[\\/](site|dist)-packages[\\/]")
_HERE = os.path.dirname(os.path.abspath(__file__))
_STANDARD = tuple({os.path.dirname(os.path.abspath(os.__file__)) + os.sep, sysconfig.get_paths()["stdlib"] + os.sep})

_logged: Set[str] = set()


class _Changes(NamedTuple):
    """The patches of one module, by attribute: added attributes, wrappers of functions, and methods of classes."""

    names: Dict[str, str]
    wrapped: Dict[str, str]
    methods: Dict[str, str]


def install() -> None:
    """Restore removed names in this process, unless ``HUB_OLD_NAMES`` is 0. Nothing is imported for it."""
    if os.environ.get(VARIABLE) == "0" or is_installed():
        return
    changes = _by_module()
    sys.meta_path.insert(0, _Watch(changes))
    sys.meta_path.append(_OldModules())
    for name, wanted in changes.items():
        module = sys.modules.get(name)
        if module is not None:
            _change(module, wanted)


def is_installed() -> bool:
    """Return True if this process finds removed names."""
    return any(isinstance(each, _Watch) for each in sys.meta_path)


def _by_module() -> Dict[str, _Changes]:
    """Return the changes of each module, by its name."""
    changes: Dict[str, _Changes] = {}
    for table in {id(each): each for each in TABLES.values()}.values():
        for kind, entries in enumerate((table.NAMES, getattr(table, "WRAPPED", {}), getattr(table, "METHODS", {}))):
            for name, replacement in entries.items():
                module, _, attribute = name.rpartition(".")
                if kind == 2:
                    module, _, owner = module.rpartition(".")
                    attribute = f"{owner}.{attribute}"
                if replacement:
                    changes.setdefault(module, _Changes({}, {}, {}))[kind][attribute] = replacement
        for name in getattr(table, "LEFT_OVER", {}):
            package, _, attribute = name.partition(".")
            if "." not in attribute:
                changes.setdefault(package, _Changes({}, {}, {})).names[attribute] = f"{name}:"
    return changes


class _Watch(MetaPathFinder):
    """Finder that patches modules right after their import, whichever finder finds them."""

    def __init__(self, changes: Dict[str, _Changes]) -> None:
        self._changes = changes
        self._asking: Set[str] = set()

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Optional[ModuleSpec]:
        """Find the modules of the tables only, through the other finders."""
        wanted = self._changes.get(fullname)
        if wanted is None or fullname in self._asking:
            return None
        self._asking.add(fullname)
        try:
            spec = _ask_others(self, fullname, path, target)
        finally:
            self._asking.discard(fullname)
        loader: Any = spec.loader if spec else None
        if loader is None or not hasattr(loader, "exec_module"):
            return spec
        execute = loader.exec_module

        def exec_and_change(module: ModuleType) -> None:
            execute(module)
            _change(module, wanted)

        with suppress(AttributeError):  # a loader that is a class, as that of built-in modules, which are imported already
            loader.exec_module = exec_and_change
        return spec


def _ask_others(watch: MetaPathFinder, fullname: str, path: Any, target: Any) -> Optional[ModuleSpec]:
    for finder in sys.meta_path:
        if finder is not watch and hasattr(finder, "find_spec"):
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                return spec
    return None


class _OldModules(MetaPathFinder):
    """Finder of removed modules, after every other finder."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Optional[ModuleSpec]:  # noqa: ARG002 - the protocol's signature
        """Find the replacement of a removed module, for user code."""
        replacement, for_all = _replacement_of(fullname)
        if not replacement or not _is_findable(replacement):
            return None
        caller = _caller()
        if caller is None and not for_all:
            return None
        if "." not in fullname.partition(".")[2]:  # once for a package
            _log(fullname, replacement, caller)
        return ModuleSpec(fullname, _Alias(replacement), is_package=True)


def _replacement_of(module: str) -> Tuple[str, bool]:
    """Return the replacement of a module, or of the package that it was in, and whether packages find it, too."""
    table = TABLES.get(module.split(".", maxsplit=1)[0])
    left_over = getattr(table, "LEFT_OVER", {})
    known = {**getattr(table, "MODULES", {}), **left_over}
    name, rest = module, ""
    while name and name not in known:
        name, _, last = name.rpartition(".")
        rest = f".{last}{rest}"
    return (f"{known[name]}{rest}", name in left_over) if known.get(name) else ("", False)


def _is_findable(module: str) -> bool:
    with suppress(ImportError):
        return find_spec(module) is not None
    return False


class _Alias(Loader):
    """Loader of a module whose content is another module's."""

    def __init__(self, name: str) -> None:
        self._name = name

    def create_module(self, spec: ModuleSpec) -> Optional[ModuleType]:  # noqa: ARG002 - the protocol's signature
        """Return None, for an empty module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Copy the other module's attributes, without modules that have a replacement of their own."""
        other = import_module(self._name)
        kept = {"__name__", "__spec__", "__loader__", "__package__", "__path__", "__getattr__"}
        inner = {name for name in vars(other) if f"{module.__name__}.{name}" in _left_over()}
        vars(module).update({key: value for key, value in vars(other).items() if key not in kept | inner})

        def find(name: str) -> Any:
            full = f"{module.__name__}.{name}"
            return import_module(full) if full in _left_over() else getattr(other, name)

        module.__getattr__ = find  # type: ignore[method-assign]  # PEP 562


@lru_cache(maxsize=1)
def _left_over() -> FrozenSet[str]:
    return frozenset(name for table in TABLES.values() for name in getattr(table, "LEFT_OVER", ()))


def _change(module: ModuleType, wanted: _Changes) -> None:
    for name, replacement in wanted.wrapped.items():
        if name in vars(module):
            around = _resolve(replacement)(vars(module)[name], lambda full=f"{module.__name__}.{name}", to=replacement: _log_call(full, to))
            if around is not None:
                setattr(module, name, around)
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
            caller = _caller()
            if caller is not None or f"{module.__name__}.{name}" in _left_over():
                if name not in found:
                    found[name] = _present(original, name) or (_resolve(missing[name]), True)
                value, is_ours = found[name]
                if is_ours:
                    _log(f"{module.__name__}.{name}", missing[name], caller)
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
        _log_call(name, replacement)
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


def _caller() -> Optional[FrameType]:
    """Return the frame that asked for a name if it is user code; None for an installed package or Python itself."""
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None and (frame.f_code.co_filename.startswith("<frozen ") or os.path.dirname(frame.f_code.co_filename) == _HERE):
        frame = frame.f_back
    return frame if frame is not None and is_of_user(frame.f_code.co_filename) else None


@lru_cache(maxsize=4096)
def is_of_user(file: str) -> bool:
    """Return True for a file of user code: neither Python's own nor of an installed package."""
    return not (_PACKAGES.search(file) or os.path.abspath(file).startswith(_STANDARD))


def _log_call(name: str, replacement: str) -> None:
    """Log the place of the first call, by any code."""
    frame: Optional[FrameType] = sys._getframe(1)
    while frame is not None and os.path.dirname(frame.f_code.co_filename) == _HERE:
        frame = frame.f_back
    _log(name, replacement, frame)


def _log(name: str, replacement: str, frame: Optional[FrameType]) -> None:
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

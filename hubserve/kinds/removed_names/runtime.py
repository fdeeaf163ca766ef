"""Restore the names that newer packages removed, for old code.

A package is patched when it is imported, and only where it lacks a name. Attributes of modules are found by the module's ``__getattr__``,
and only for code outside the standard library and installed packages, which look for a name to detect a version.
"""

import os
import sys
from contextlib import suppress
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Dict, Optional, Set, Tuple

from hubserve.kinds.removed_names import TABLES, VARIABLE
from hubserve.kinds.removed_names.patches import Patches, left_over_modules, patch, patches_by_module
from hubserve.kinds.removed_names.usage_log import log, user_frame


def install() -> None:
    """Restore removed names in this process, unless ``HUB_OLD_NAMES`` is 0. Nothing is imported for it."""
    if os.environ.get(VARIABLE) == "0" or is_installed():
        return
    patches = patches_by_module()
    sys.meta_path.insert(0, _PatchingFinder(patches))
    sys.meta_path.append(_OldModules())
    for name, wanted in patches.items():
        module = sys.modules.get(name)
        if module is not None:
            patch(module, wanted)


def is_installed() -> bool:
    """Return True if this process finds removed names."""
    return any(isinstance(each, _PatchingFinder) for each in sys.meta_path)


class _PatchingFinder(MetaPathFinder):
    """Finder that patches modules right after their import, whichever finder finds them."""

    def __init__(self, patches: Dict[str, Patches]) -> None:
        self._patches = patches
        self._asking: Set[str] = set()

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Optional[ModuleSpec]:
        """Find the modules of the tables only, through the other finders."""
        wanted = self._patches.get(fullname)
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

        def exec_and_patch(module: ModuleType) -> None:
            execute(module)
            patch(module, wanted)

        with suppress(AttributeError):  # a loader that is a class, as that of built-in modules, which are imported already
            loader.exec_module = exec_and_patch
        return spec


def _ask_others(own: MetaPathFinder, fullname: str, path: Any, target: Any) -> Optional[ModuleSpec]:
    for finder in sys.meta_path:
        if finder is not own and hasattr(finder, "find_spec"):
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
        frame = user_frame()
        if frame is None and not for_all:
            return None
        if "." not in fullname.partition(".")[2]:  # once for a package
            log(fullname, replacement, frame)
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
        inner = {name for name in vars(other) if f"{module.__name__}.{name}" in left_over_modules()}
        vars(module).update({key: value for key, value in vars(other).items() if key not in kept | inner})

        def find(name: str) -> Any:
            full = f"{module.__name__}.{name}"
            return import_module(full) if full in left_over_modules() else getattr(other, name)

        module.__getattr__ = find  # type: ignore[method-assign]  # PEP 562

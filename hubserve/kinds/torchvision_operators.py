"""Import torchvision beside a torch for which it was not built.

A package index offers torchvision for one kind of GPU. Beside a torch for CPUs its compiled operators cannot be loaded, and its import ends
with "operator torchvision::nms does not exist", although transforms and models need none of them. If that happens, the operators that the
import expects are declared, without an implementation, and the import is repeated.
"""

import sys
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any, List, Optional

_PACKAGE = "torchvision"
_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
#: a declaration lasts as long as its library
_LIBRARIES: List[Any] = []


def declare_missing() -> None:
    """Declare torchvision's operators in this process if its import fails for want of them. Nothing is imported for it."""
    if not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder(MetaPathFinder):
    """Finder of torchvision only."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Optional[ModuleSpec]:
        """Return the package's own spec, with a loader that repeats the import if operators are missing."""
        spec = PathFinder.find_spec(fullname, path, target) if fullname == _PACKAGE else None
        if spec is None or not isinstance(spec.loader, SourceFileLoader):
            return None
        spec.loader = _Loader(fullname, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Loader that runs the package's file once more if the first time ended for want of an operator."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the file."""
        try:
            super().exec_module(module)
        except RuntimeError as error:
            if f"{_PACKAGE}::" not in str(error) or _LIBRARIES:
                raise
            _declare()
            super().exec_module(module)


def _declare() -> None:
    for name in [each for each in sys.modules if each.startswith(_PACKAGE + ".")]:
        del sys.modules[name]  # parts of the failed import
    library = import_module("torch.library").Library(_PACKAGE, "DEF")
    for operator in _OPERATORS:
        library.define(operator)
    _LIBRARIES.append(library)
    sys.stderr.write(
        "torchvision is built for another torch than the one here: its compiled operators (nms, roi_align, ...) are not available\n"
    )

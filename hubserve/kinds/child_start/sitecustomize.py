"""Python imports this by itself at its start, in every interpreter that a module's process starts: it can import what the module can.

Such as the processes of ``multiprocessing`` with ``spawn`` or ``forkserver``, which import the functions that they are given by the name of
the module's package.
"""

import json
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec
from typing import Any, Dict, Optional

_HERE = os.path.dirname(os.path.abspath(__file__))


class _Packages(MetaPathFinder):
    """Finds a module's package, and installed modules, as its instance does.

    Args:
        packages: package name -> folder.
    """

    def __init__(self, packages: Dict[str, str]) -> None:
        self._packages = packages

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Optional[ModuleSpec]:  # noqa: ARG002 - the protocol's signature
        """Answer for top-level names only; hubserve is imported only for names that it may know."""
        if path is not None:
            return None
        installed = os.path.join(os.environ.get("HUB_HOME", ""), "modules", fullname)
        if fullname not in self._packages and not os.path.isdir(installed):
            return None
        from hubserve.kinds.packages import find_package

        return find_package(fullname, self._packages.get(fullname))


def _begin() -> None:
    known = json.loads(os.environ.get("HUBSERVE_IMPORTS") or "{}")
    sys.path[:] = [each for each in sys.path if os.path.abspath(each) != _HERE]
    sys.path.extend(each for each in known.get("path", ()) if each not in sys.path)
    sys.meta_path.append(_Packages(known.get("packages", {})))


def _go_on() -> None:
    """Import the file of this name that would have been imported without this one."""
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        sys.modules["sitecustomize"] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules["sitecustomize"])


_begin()
_go_on()

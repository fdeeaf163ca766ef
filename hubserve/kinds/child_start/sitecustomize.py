"""Python imports this by itself at its start, in every interpreter that a module's process starts: it can import what the module can.

Such as the processes of ``multiprocessing`` with ``spawn`` or ``forkserver``, which import the functions that they are given by the name of
the module's package.
"""

import json
import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any, Dict, List, Optional

_HERE = os.path.dirname(os.path.abspath(__file__))


class _Packages(MetaPathFinder):
    """Finds a module's package, and installed modules, as its instance does.

    Args:
        packages: package name -> folder.
        installed: the folder of the installed modules.
        old_names: give their code the names that newer packages removed.
    """

    def __init__(self, packages: Dict[str, str], installed: str, old_names: bool) -> None:
        self._packages = packages
        self._installed = installed
        self._old_names = old_names

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Optional[ModuleSpec]:  # noqa: ARG002 - the protocol's signature
        """Answer for top-level names only; hubserve is imported only for names that it may know."""
        is_known = fullname in self._packages or os.path.isdir(os.path.join(self._installed, fullname))
        if path is not None or not is_known:
            return None
        from hubserve.kinds.import_hooks import find_package

        if self._old_names:
            from hubserve.kinds.removed_names.runtime import install

            install()
        return find_package(fullname, self._packages.get(fullname))


class _Hubserve(MetaPathFinder):
    """Finds hubserve itself where its folder was taken off the path.

    Args:
        folder: the package.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Optional[ModuleSpec]:  # noqa: ARG002 - as above
        """Answer for hubserve only."""
        if fullname != "hubserve":
            return None
        return spec_from_file_location(fullname, os.path.join(self._folder, "__init__.py"), submodule_search_locations=[self._folder])


class _Beside(MetaPathFinder):
    """Finds what lies beside the places that the modules came from, as the instance does, behind every other finder.

    Args:
        folders: those that are looked at.
    """

    def __init__(self, folders: List[str]) -> None:
        self._folders = folders

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Optional[ModuleSpec]:  # noqa: ARG002 - the protocol's signature
        """Answer for top-level names only; hubserve is imported only where a folder or file may be meant."""
        if path is not None or not any(self._may_hold(folder, fullname) for folder in self._folders):
            return None
        from hubserve.kinds.project_imports import find_in

        return find_in(self._folders, fullname)

    @staticmethod
    def _may_hold(folder: str, name: str) -> bool:
        tried = (os.path.join(folder, name), os.path.join(folder, name + ".py"))
        return any(map(os.path.exists, tried)) or os.path.basename(folder).lower().replace("-", "_") == name.lower()


def _begin() -> None:
    sys.path[:] = [each for each in sys.path if os.path.abspath(each) != _HERE]
    text = os.environ.get("HUBSERVE_IMPORTS")
    if text:
        known = json.loads(text)
        sys.path.extend(each for each in known["path"] if each not in sys.path)
        own = os.path.dirname(known["hubserve"])
        if own not in known["path"] and os.path.basename(own) not in ("site-packages", "dist-packages"):
            # in a checkout, its "tools" and "tests" would hide those of modules
            sys.path[:] = [each for each in sys.path if os.path.abspath(each) != own]
            sys.meta_path.append(_Hubserve(known["hubserve"]))
        sys.meta_path.append(_Packages(known["packages"], known["installed"], known["old_names"]))
        sys.meta_path.append(_Beside(known["beside"]))


def _go_on() -> None:
    """Import the file of this name that would have been imported without this one."""
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        sys.modules["sitecustomize"] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules["sitecustomize"])


_begin()
_go_on()

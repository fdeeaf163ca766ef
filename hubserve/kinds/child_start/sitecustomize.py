"""Give every Python interpreter that a module's process starts the imports of that module. Python imports this file at its start.

Processes of ``multiprocessing`` with ``spawn`` or ``forkserver``, for example, import the functions that they receive by the name of the
module's package.
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
    """Finder of a module's package, and of installed modules, as in its instance.

    Args:
        packages: package name -> folder.
        installed: the folder of the installed modules.
        old_names: restore the names that newer packages removed.
    """

    def __init__(self, packages: Dict[str, str], installed: str, old_names: bool) -> None:
        self._packages = packages
        self._installed = installed
        self._old_names = old_names

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Optional[ModuleSpec]:  # noqa: ARG002 - the protocol's signature
        """Find top-level names only; hubserve is imported only for names of modules."""
        is_known = fullname in self._packages or os.path.isdir(os.path.join(self._installed, fullname))
        if path is not None or not is_known:
            return None
        from hubserve.kinds.import_hooks import find_package

        if self._old_names:
            from hubserve.kinds.removed_names.runtime import install

            install()
        return find_package(fullname, self._packages.get(fullname))


class _Hubserve(MetaPathFinder):
    """Finder of hubserve itself, whose folder was taken off the path.

    Args:
        folder: the package's folder.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Optional[ModuleSpec]:  # noqa: ARG002 - as above
        """Find hubserve only."""
        if fullname != "hubserve":
            return None
        return spec_from_file_location(fullname, os.path.join(self._folder, "__init__.py"), submodule_search_locations=[self._folder])


class _Beside(MetaPathFinder):
    """Finder of files beside the folders that the modules were installed from, as in the instance, after every other finder.

    Args:
        folders: the folders to search.
    """

    def __init__(self, folders: List[str]) -> None:
        self._folders = folders

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Optional[ModuleSpec]:  # noqa: ARG002 - the protocol's signature
        """Find top-level names only; hubserve is imported only if a folder or file of that name exists."""
        if path is not None or not any(self._may_hold(folder, fullname) for folder in self._folders):
            return None
        from hubserve.kinds.project_imports import find_in

        return find_in(self._folders, fullname)

    @staticmethod
    def _may_hold(folder: str, name: str) -> bool:
        tried = (os.path.join(folder, name), os.path.join(folder, name + ".py"))
        return any(map(os.path.exists, tried)) or os.path.basename(folder).lower().replace("-", "_") == name.lower()


def _install_finders() -> None:
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


def _import_shadowed() -> None:
    """Import the ``sitecustomize`` that this file hides."""
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        sys.modules["sitecustomize"] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules["sitecustomize"])


_install_finders()
_import_shadowed()

"""Make a module's folder importable under its name, and installed modules importable from one another.

Interpreters that the module's process starts get the same imports, through environment variables.
"""

import json
import os
import sys
import sysconfig
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Dict, Optional

import hubserve
from hubserve.errors import LoadFailed
from hubserve.kinds.project_imports import SURROUNDINGS, search_beside
from hubserve.kinds.removed_names import runtime
from hubserve.kinds.versions import current_version
from hubserve.paths import modules_dir

#: package name -> folder of the modules that this process has imported
LOADED: Dict[str, Path] = {}

_OWN_PATH = frozenset(sys.path)
#: the folder of a file that Python imports at its start
_CHILDREN = Path(__file__).resolve().parent / "child_start"
_VARIABLE = "HUBSERVE_IMPORTS"
_is_shared = False


def hide_neighbours() -> None:
    """Take the parent folder of hubserve off the path: in a checkout, its ``tools`` and ``tests`` would hide those of modules."""
    own = Path(hubserve.__file__).resolve().parent.parent
    paths = sysconfig.get_paths()
    if own not in {Path(paths["purelib"]).resolve(), Path(paths["platlib"]).resolve()}:  # those hold installed packages
        sys.path[:] = [each for each in sys.path if not each or Path(each).resolve() != own]


def share_with_children(*, always: bool = False) -> None:
    """Pass this process's packages and import path to the interpreters that it starts.

    Args:
        always: turn sharing on for this process; without it nothing is done until sharing is on.
    """
    global _is_shared  # noqa: PLW0603 - a property of the process, as its environment
    _is_shared |= always
    if not _is_shared:
        return
    packages = {name: str(folder) for name, folder in LOADED.items()}
    known = {
        "packages": packages,
        "path": [each for each in sys.path if each not in _OWN_PATH],
        "installed": str(modules_dir()),
        "beside": [str(folder) for each in SURROUNDINGS.values() for folder in each.folders],
        "hubserve": str(Path(hubserve.__file__).parent),
        "old_names": runtime.is_installed(),
    }
    os.environ[_VARIABLE] = json.dumps(known)
    others = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each and each != str(_CHILDREN)]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_CHILDREN), *others])


def install_package(name: str, folder: Path) -> None:
    """Import ``folder`` as the package ``name``, whatever the name of the folder.

    Raises:
        LoadFailed: a package of that name is already imported, or its ``__init__.py`` fails.
    """
    loaded = sys.modules.get(name)
    if loaded is not None:
        if str(folder) in getattr(loaded, "__path__", ()):
            return
        raise LoadFailed(f"a module cannot be called '{name}': a package of that name is already imported here. Rename the folder.")
    _InstalledModules.install()
    search_beside(name, folder)
    # Published modules import from beside their folder, and from inside it. The finder finds installed ones: with the modules folder on the
    # path, each folder of versions would be a package itself.
    for path in (folder.parent, folder):
        if path != modules_dir() and str(path) not in sys.path:
            sys.path.append(str(path))
    spec = _package_spec(name, folder)
    package = module_from_spec(spec)
    sys.modules[name] = package
    LOADED[name] = folder
    share_with_children()
    if spec.loader is None:
        return
    try:
        spec.loader.exec_module(package)
    except BaseException as error:
        del sys.modules[name], LOADED[name]
        raise LoadFailed(
            f"cannot import '{folder / '__init__.py'}': {type(error).__name__}: {error}. Fix it; it may be an empty file."
        ) from error


def _package_spec(name: str, folder: Path) -> ModuleSpec:
    init = folder / "__init__.py"
    if init.is_file():
        spec = spec_from_file_location(name, str(init), submodule_search_locations=[str(folder)])
        if spec is not None:
            return spec
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    return spec


class _InstalledModules(MetaPathFinder):
    """Finder of installed modules: ``import other_module`` imports the current version."""

    @classmethod
    def install(cls) -> None:
        """Add the finder once, after every other finder."""
        if not any(isinstance(each, cls) for each in sys.meta_path):
            sys.meta_path.append(cls())

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Optional[ModuleSpec]:  # noqa: ARG002 - the protocol's signature
        """Find top-level names only; submodules are found through the package's path."""
        return find_package(fullname) if path is None else None


def find_package(name: str, folder: Optional[str] = None) -> Optional[ModuleSpec]:
    """Return the import spec of a module as a package; None if there is no module of this name.

    Args:
        name: the package's.
        folder: the module's files; None for those of its current installed version.
    """
    found = current_version(name) if folder is None else Path(folder)
    return _package_spec(name, found) if found else None

"""Make a module's folder importable under its name, and installed modules importable from one another.

What is importable in the module's process is also importable in every interpreter that it starts, through their environment variables.
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
from hubserve.kinds.project_imports import AROUND, look_beside
from hubserve.kinds.removed_names import runtime
from hubserve.kinds.versions import current_version
from hubserve.paths import modules_dir

#: the modules that are packages of this process, by package name
LOADED: Dict[str, Path] = {}

_OWN_PATH = frozenset(sys.path)
#: holds a file that every Python imports at its start
_CHILDREN = Path(__file__).resolve().parent / "child_start"
_VARIABLE = "HUBSERVE_IMPORTS"
_is_shared = False


def hide_neighbours() -> None:
    """Take the folder that hubserve lies in off the path: in a checkout, its ``tools`` and ``tests`` would hide those of modules."""
    own = Path(hubserve.__file__).resolve().parent.parent
    paths = sysconfig.get_paths()
    if own not in {Path(paths["purelib"]).resolve(), Path(paths["platlib"]).resolve()}:  # there they are installed packages
        sys.path[:] = [each for each in sys.path if not each or Path(each).resolve() != own]


def share_with_children(*, always: bool = False) -> None:
    """Have interpreters that this process starts import the packages, and from the folders, that it imports now.

    Args:
        always: do so again whenever there are more; before it was asked for nothing is done.
    """
    global _is_shared  # noqa: PLW0603 - it is of the process, as the environment is
    _is_shared |= always
    if not _is_shared:
        return
    packages = {name: str(folder) for name, folder in LOADED.items()}
    known = {
        "packages": packages,
        "path": [each for each in sys.path if each not in _OWN_PATH],
        "installed": str(modules_dir()),
        "beside": [str(folder) for each in AROUND.values() for folder in each.folders],
        "hubserve": str(Path(hubserve.__file__).parent),
        "old_names": runtime.is_installed(),
    }
    os.environ[_VARIABLE] = json.dumps(known)
    others = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each and each != str(_CHILDREN)]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(_CHILDREN), *others])


def install_package(name: str, folder: Path) -> None:
    """Make ``folder`` the package ``name`` in this process, whatever the folder itself is called.

    Raises:
        LoadFailed: a package of that name is already imported, or its ``__init__.py`` fails.
    """
    loaded = sys.modules.get(name)
    if loaded is not None:
        if str(folder) in getattr(loaded, "__path__", ()):
            return
        raise LoadFailed(f"a module cannot be called '{name}': a package of that name is already imported here. Rename the folder.")
    _InstalledModules.install()
    look_beside(name, folder)
    # Published modules import from beside their folder, and from inside it. Installed ones are found by the finder: with the modules folder
    # on the path, each name's folder of versions would be a package itself.
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
            f"cannot import '{folder / '__init__.py'}': {type(error).__name__}: {error}. Mend it; it may be an empty file."
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
    """Finds ``import other_module`` as that version of the installed module which its bare name means."""

    @classmethod
    def install(cls) -> None:
        """Add it once, behind every other finder."""
        if not any(isinstance(each, cls) for each in sys.meta_path):
            sys.meta_path.append(cls())

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Optional[ModuleSpec]:  # noqa: ARG002 - the protocol's signature
        """Answer for top-level names only; the rest is found through the package's path."""
        return find_package(fullname) if path is None else None


def find_package(name: str, folder: Optional[str] = None) -> Optional[ModuleSpec]:
    """Find the import spec of a module as a package; None if there is no module of this name.

    Args:
        name: of the package.
        folder: the module's files; None for those of the installed version that the bare name means.
    """
    found = current_version(name) if folder is None else Path(folder)
    return _package_spec(name, found) if found else None

"""Import code beside the folder that a module was installed from: the ``tools`` and ``utils`` of its project.

An installed module is a copy of one folder of its project. The project's own guide runs commands in the project's folder, so that all of it
is on the path; here such imports are found in the folders around the one that was installed. They come after every other import, so that
they never hide installed packages.
"""

import json
import os
import stat
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple

from hubserve.paths import modules_dir, tmp_dir

_MANIFEST = ".hubserve.json"
#: the number of folders above the module's own that are searched
_LEVELS = 4
#: the folder that holds one of these is a project's top folder, where the search ends
_PROJECT_FILES = (".git", ".hg", "setup.py", "pyproject.toml")


class Surroundings(NamedTuple):
    """The folders around a module's origin in which its imports are searched.

    Attributes:
        origin: the folder that the module was installed from.
        folders: the folders above it, the nearest first.
        refused: a folder that ends the search because every user of this machine can write to it; "" if none does.
    """

    origin: Path
    folders: Tuple[Path, ...]
    refused: str = ""

    @property
    def gone(self) -> bool:
        """True if the folder has been moved or deleted."""
        return not self.origin.is_dir()


#: package name -> surroundings of the modules that this process has loaded
SURROUNDINGS: Dict[str, Surroundings] = {}


def surroundings(origin: Path) -> Surroundings:
    """Return the folders around a module's folder: at most four levels up, and not beyond the project's own folder."""
    folders: List[Path] = []
    for folder in list(origin.parents)[:_LEVELS] if not _is_project(origin) else ():
        if folder.parent == folder or (folders and str(folder) == os.path.expanduser("~")):
            break
        if _anyone_can_write(folder):
            return Surroundings(origin, tuple(folders), str(folder))
        folders.append(folder)
        if _is_project(folder):
            break
    return Surroundings(origin, tuple(folders))


def _is_project(folder: Path) -> bool:
    return any((folder / each).exists() for each in _PROJECT_FILES)


def _anyone_can_write(folder: Path) -> bool:
    try:
        return bool(folder.stat().st_mode & stat.S_IWOTH)
    except OSError:
        return False


def origin_of(folder: Path) -> Optional[Path]:
    """Return the folder that a module was installed from; None if it is not on this machine.

    Args:
        folder: of an installed version, or of a module that is not installed, which is its own origin.
    """
    folder = folder.absolute()
    if tmp_dir() in folder.parents:  # being installed: the installer knows where it comes from
        return None
    if modules_dir() not in folder.parents and modules_dir().resolve() not in folder.resolve().parents:
        return folder
    try:
        source = json.loads((folder / _MANIFEST).read_text("utf-8"))["source_folder"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # a relative one is a folder inside the archive that the module came from
    return Path(source) if isinstance(source, str) and os.path.isabs(source) else None


def folders_beside(folder: Path) -> Tuple[Path, ...]:
    """Return the folders around the one that a module was installed from; none if that is not on this machine."""
    origin = origin_of(folder)
    return surroundings(origin).folders if origin is not None else ()


def search_beside(name: str, folder: Path) -> None:
    """Find imports beside the folder that a module was installed from, if that is on this machine.

    Args:
        name: the module's package.
        folder: its files.
    """
    origin = origin_of(folder)
    if origin is not None:
        record_origin(name, origin)
    _Beside.install()


def record_origin(name: str, origin: Path) -> None:
    """Record the folder that a module is, or is being, installed from.

    Args:
        name: the module's package.
        origin: the folder.
    """
    SURROUNDINGS.setdefault(name, surroundings(origin.absolute()))


def find_in(folders: Sequence[str], name: str) -> Optional[ModuleSpec]:
    """Return the spec of a top-level import that one of the folders provides; None if none does."""
    spec = PathFinder.find_spec(name, list(folders))
    if spec is not None and (spec.loader is None or spec.origin is None):
        spec = _plain_package(spec)
    is_package = spec is not None and spec.submodule_search_locations is not None
    return spec if is_package else _project_package(folders, name) or spec


def _project_package(folders: Sequence[str], name: str) -> Optional[ModuleSpec]:
    """Return the spec of a project that is a package itself: ``import paddleclas`` in a checkout called PaddleClas."""
    for folder in map(Path, folders):
        init = folder / "__init__.py"
        if folder.name.lower().replace("-", "_") == name.lower() and init.is_file():
            loader = _ProjectLoader(name, str(init))
            return spec_from_file_location(name, str(init), loader=loader, submodule_search_locations=[str(folder)])
    return None


def is_project(spec: ModuleSpec) -> bool:
    """Return True for the spec of a project that is a package itself."""
    return isinstance(spec.loader, _ProjectLoader)


class _ProjectLoader(SourceFileLoader):
    """Loader of a project's own ``__init__.py``, which often imports all of it, code for training included; it may fail."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the file, and log a missing package: the parts that the module imports are imported without it."""
        try:
            super().exec_module(module)
        except ImportError as error:
            sys.stderr.write(f"hub: note: '{self.path}' cannot be imported ({error}), so '{self.name}' is used without it\n")


def _plain_package(spec: ModuleSpec) -> Optional[ModuleSpec]:
    """Return the spec of a package without ``__init__.py``; None for a folder without code that has the name by chance."""
    places = list(spec.submodule_search_locations or ())
    if not any(next(Path(place).glob(pattern), None) is not None for place in places for pattern in ("*.py", "*/*.py", "*/*/*.py")):
        return None
    package = ModuleSpec(spec.name, None, is_package=True)
    # a plain list: Python would look up the folders of a namespace package in sys.path again
    package.submodule_search_locations = places
    return package


class _Beside(MetaPathFinder):
    """Finder that searches the folders around the loaded modules, after every other finder."""

    @classmethod
    def install(cls) -> None:
        """Add the finder once, after every other finder."""
        if not any(isinstance(each, cls) for each in sys.meta_path):
            sys.meta_path.append(cls())

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Optional[ModuleSpec]:  # noqa: ARG002 - the protocol's signature
        """Find top-level names only; submodules are found through the package's path."""
        if path is not None:
            return None
        return find_in([str(folder) for each in SURROUNDINGS.values() for folder in each.folders], fullname)

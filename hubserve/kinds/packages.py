"""Makes a module's folder importable under its name, and installed modules importable from one another."""

import json
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, List, Optional, Tuple

from hubserve.errors import LoadFailed
from hubserve.home import modules_dir

#: beside a module's versions: which of them its bare name means; see :mod:`hubserve.registry.record`
RECORD_NAME = ".history.json"


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
    for path in (str(folder.parent), str(modules_dir()), str(folder)):  # published modules import by any of the three
        if path not in sys.path:
            sys.path.append(path)
    spec = _package_spec(name, folder)
    package = module_from_spec(spec)
    sys.modules[name] = package
    if spec.loader is None:
        return
    try:
        spec.loader.exec_module(package)
    except BaseException as error:
        del sys.modules[name]
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
        folder = current_version(fullname) if path is None else None
        return _package_spec(fullname, folder) if folder else None


def current_version(folder_name: str) -> Optional[Path]:
    """The files of the version that a module's bare name means; None if it is not installed.

    Homes of PaddleHub's time have no record of it: there it is the newest, by the numbers of its version text.
    """
    name_folder = modules_dir() / folder_name
    try:
        record = json.loads((name_folder / RECORD_NAME).read_text(encoding="utf-8"))
        place = name_folder / str(record["versions"][record["current"]])
        if place.is_dir():
            return place
    except (OSError, ValueError, TypeError, KeyError):
        pass
    try:
        versions = [each for each in name_folder.iterdir() if each.is_dir() and not each.name.startswith(".")]
    except OSError:
        return None
    return max(versions, key=_version_key) if versions else None


def _version_key(folder: Path) -> List[Tuple[int, str]]:
    return [(int(part) if part.isdigit() else -1, part) for part in folder.name.split(".")]

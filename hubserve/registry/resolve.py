"""Resolve a user's ``NAME``, ``NAME==VERSION`` or folder to a module."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from hubserve.engines.model_formats import KNOWN, is_model_name
from hubserve.errors import ModuleNotFound
from hubserve.kinds import ModuleInfo, find_kind, model_file, module_folder
from hubserve.kinds.model_file import KIND as MODEL
from hubserve.kinds.model_file import all_graphs
from hubserve.registry.installed import InstalledModules
from hubserve.registry.manifest import Manifest
from hubserve.registry.names import folder_name, is_name, split_reference


class Resolved(NamedTuple):
    """A module that can be started.

    Attributes:
        info: its metadata.
        folder: its files, absolute.
        import_name: the package name under which it is imported.
        search_path: folders in which its relative model paths are looked up.
        manifest: of an installed module; None for a folder outside the home.
        version_dir: the folder to run it from: ``folder``, or for an installed module what that leads to now, so that nothing changes
            under it.
        environment: the key of the environment that it runs in; "" for the host's Python.
    """

    info: ModuleInfo
    folder: Path
    import_name: str
    search_path: list[Path]
    manifest: Manifest | None = None
    version_dir: Path = Path()
    environment: str = ""


def resolve(reference: str, modules: InstalledModules | None = None) -> Resolved:
    """Find the module that a reference means. An installed name has priority over a folder of that name; ``./name`` is always a folder.

    A folder's ``module.py`` stands for the folder.

    Raises:
        ModuleNotFound: there is no such module, version or folder; the message lists what there is.
        LoadFailed: the folder is not a module.
        InvalidInput: the reference is empty, or ends in ``==``.
    """
    modules = modules or InstalledModules()
    if _is_path(reference):
        return _from_folder(Path(reference))
    if is_model_name(Path(reference)) and not Path(reference).exists():
        raise _no_file(Path(reference))
    name, version = split_reference(reference)
    try:
        installed = modules.get(name, version)
    except ModuleNotFound:
        if _is_here(reference) and version is None and not (is_name(name) and modules.versions(name)):
            return _from_folder(Path(reference))
        if not is_name(name) and Path(reference).is_file():
            raise _no_folder(Path(reference).absolute()) from None
        raise
    source = installed.manifest.source_folder
    manifest, version_dir = installed.manifest, installed.version_dir
    search_path = [version_dir / source, (version_dir / source).parent] if source else []
    return Resolved(installed.info, installed.folder, manifest.import_folder, search_path, manifest, version_dir, manifest.environment)


def may_mean(reference: str, name: str) -> bool:
    """Return True if a reference can mean the module of that name: it has the name, or is a folder's path."""
    return _is_path(reference) or _is_here(reference) or folder_name(split_reference(reference)[0]) == folder_name(name)


def named_file(reference: str) -> tuple[str, str]:
    """Split ``NAME=FILE``, which serves a model's file or folder under a name; the name is empty if there is none."""
    name, separator, path = reference.partition("=")
    return (name, path) if separator and path[:1] != "=" and is_name(name) and Path(path).expanduser().exists() else ("", reference)


def each_model(reference: str) -> list[str]:
    """List the models in a folder that holds several and no other module; the reference itself otherwise."""
    folder = Path(reference).expanduser()
    if not _is_path(reference) and is_name(reference) and InstalledModules().versions(reference):
        return [reference]
    graphs = all_graphs(folder.absolute())
    return [str(each) for each in graphs] if graphs and find_kind(folder).name == MODEL else [reference]


def _is_here(reference: str) -> bool:
    """Return True if a reference is the name of a folder or a model's file in the working directory."""
    path = module_folder(Path(named_file(reference)[1]))
    return path.is_dir() or (path.is_file() and is_model_name(path))


def _is_path(reference: str) -> bool:
    return os.sep in reference or reference in (".", "..") or reference.startswith("~")


def _from_folder(folder: Path) -> Resolved:
    folder = module_folder(folder.expanduser().absolute())
    is_model = model_file.is_model(folder)
    if is_model_name(folder) and not folder.exists():
        raise _no_file(folder)
    if not (
        is_model and folder.is_file()
    ):  # a link to a model's file keeps its name: download caches link to files that are named by their digests
        folder = folder.resolve()
    if not (folder.is_dir() or is_model):
        raise _no_folder(folder)
    info = find_kind(folder).describe(folder)
    if info.kind == MODEL:  # it has no code; its import name is the module's name
        return Resolved(info, folder, info.name, [], version_dir=folder)
    import_name = re.sub(r"\W", "_", folder.name) or "module_folder"
    return Resolved(info, folder, import_name, [folder.parent], version_dir=folder)


def _no_folder(path: Path) -> ModuleNotFound:
    if path.is_file():
        return ModuleNotFound(
            f"there is no folder '{path}': it is a file, and not a model that can be served here ({KNOWN}). Give a module's folder or such "
            "a model; an archive has to be installed first (hub install)."
        )
    return ModuleNotFound(f"there is no folder '{path}'. Give a module's folder, or the name of an installed one ('hub list').")


def _no_file(path: Path) -> ModuleNotFound:
    return ModuleNotFound(
        f"the file '{path.expanduser().absolute()}' does not exist. Give the path of a model's file, or of a module's folder."
    )

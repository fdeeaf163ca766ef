"""Brings the modules that PaddleHub has installed into a home, one by one."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import HubError, InstallError, ModuleNotFound
from hubserve.kinds import ModuleInfo, find_kind
from hubserve.registry.install.copying import measure_source
from hubserve.registry.legacy_layout import is_flat
from hubserve.registry.progress import Progress, silent
from hubserve.registry.store import Store

#: what modules from before PaddleHub 1.6 have instead of a module.py
_OLD_DESCRIPTION = "module_desc.pb"


class Import(NamedTuple):
    """What became of one module.

    Attributes:
        folder: where PaddleHub has it.
        name, version: its own; empty if they cannot be read.
        result: ``imported``; ``moved``; ``unchanged``: it was imported before; ``left``: see ``reason``; ``failed``: see ``reason``.
        reason: why not.
    """

    folder: Path
    name: str
    version: str
    result: str
    reason: str = ""


def find_folder(store: Store, given: Path | None) -> Path:
    """The folder of PaddleHub's modules: of ``given``, else of this home if it has any, else of ``~/.paddlehub``.

    Raises:
        ModuleNotFound: there is no such folder.
    """
    folder = given.expanduser().absolute() if given else _usual_folder(store)
    if not folder.is_dir():
        raise ModuleNotFound(
            f"there is no folder '{folder}'. Give the folder in which PaddleHub keeps its modules, such as ~/.paddlehub/modules."
        )
    inner = folder / "modules"
    return inner if inner.is_dir() and not is_flat(inner) else folder


def _usual_folder(store: Store) -> Path:
    return store.modules if _flat_modules(store.modules) else Path.home() / ".paddlehub" / "modules"


def _flat_modules(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    inside = sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith((".", "__")))
    return [each for each in inside if is_flat(each) or (each / _OLD_DESCRIPTION).is_file()]


def import_modules(store: Store, folder: Path, *, move: bool = False, check: bool = True, progress: Progress = silent) -> Iterator[Import]:
    """Install every module of a PaddleHub folder. What fails does not keep the rest.

    Args:
        store: where to.
        folder: holds ``<name>/module.py``; it is left as it is, unless it is the store's own.
        move: if it is the store's own, make each module a version in its place; PaddleHub no longer finds it then.
        check: import each once first.
        progress: told how far it is.
    Yields:
        What became of each, when it is done.
    """
    own = folder.resolve() == store.modules.resolve()
    for each in _flat_modules(folder):
        info = ModuleInfo("", "", "")
        try:
            info = _describe(each)
            result, reason = _import_one(store, each, info, own=own, move=move, check=check, progress=progress)
        except HubError as error:
            result, reason = "failed", error.message
        except OSError as error:
            result, reason = "failed", f"cannot read it: {error}. Mend that and try again."
        yield Import(each, info.name, info.version, result, reason)


def _describe(folder: Path) -> ModuleInfo:
    if (folder / _OLD_DESCRIPTION).is_file():
        raise InstallError(
            f"'{folder}' is described by a {_OLD_DESCRIPTION}, as before PaddleHub 1.6, and cannot be run. Take a newer version of it."
        )
    return find_kind(folder).describe(folder)


def _import_one(store: Store, folder: Path, info: ModuleInfo, *, own: bool, move: bool, check: bool, progress: Progress) -> tuple[str, str]:
    if own and not move:
        return "left", "it lies in this home, where hub keeps versions; with --move it becomes one, and PaddleHub no longer finds it"
    if own:
        store.install(folder, progress=progress, check=check, replace_flat=True)
        return "moved", ""
    there = next((each for each in store.list() if (each.info.name, each.info.version) == (info.name, info.version)), None)
    if there and there.manifest.digest == measure_source(folder).digest:
        return "unchanged", ""
    if there and there.manifest.source != str(folder):
        return "left", f"{info.name} {info.version} is installed from '{there.manifest.source}'; to replace it: hub install {folder}"
    store.install(folder, progress=progress, check=check)
    return "imported", ""

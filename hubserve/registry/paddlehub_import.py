"""Import the modules that PaddleHub has installed into a home."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import HubError, InstallError, ModuleNotFound
from hubserve.kinds import ModuleInfo, find_kind
from hubserve.registry.archives.copying import measure_source
from hubserve.registry.installer import Installer
from hubserve.registry.legacy_layout import is_flat
from hubserve.registry.progress import Progress, silent

#: describes a module from before PaddleHub 1.6, instead of a module.py
_OLD_DESCRIPTION = "module_desc.pb"


class Import(NamedTuple):
    """Result of importing one module.

    Attributes:
        folder: PaddleHub's folder of it.
        name, version: the module's; empty if they cannot be read.
        result: ``imported``; ``moved``; ``unchanged``: it was imported before; ``left``: see ``reason``; ``failed``: see ``reason``.
        reason: why it was not imported.
    """

    folder: Path
    name: str
    version: str
    result: str
    reason: str = ""


def find_folder(home: Path, given: Path | None) -> Path:
    """Return the folder of PaddleHub's modules: in ``given``, else in this home if it has any, else in ``~/.paddlehub``.

    Raises:
        ModuleNotFound: there is no such folder.
    """
    folder = given.expanduser().absolute() if given else _usual_folder(home / "modules")
    if not folder.is_dir():
        raise ModuleNotFound(
            f"there is no folder '{folder}'. Give the folder in which PaddleHub keeps its modules, such as ~/.paddlehub/modules."
        )
    inner = folder / "modules"
    return inner if inner.is_dir() and not is_flat(inner) else folder


def _usual_folder(modules: Path) -> Path:
    return modules if _flat_modules(modules) else Path.home() / ".paddlehub" / "modules"


def _flat_modules(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    inside = sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith((".", "__")))
    return [each for each in inside if is_flat(each) or (each / _OLD_DESCRIPTION).is_file()]


def import_modules(
    installer: Installer, folder: Path, *, move: bool = False, check: bool = True, progress: Progress = silent
) -> Iterator[Import]:
    """Install every module of a PaddleHub folder; one that fails does not stop the others.

    Args:
        installer: of the home to install into.
        folder: holds ``<name>/module.py``; unchanged, unless it is the home's own.
        move: if it is the home's own, turn each module into a version; PaddleHub no longer finds it then.
        check: import each module once first.
        progress: called as it proceeds.
    Yields:
        The result for each module, when it is done.
    """
    is_own = folder.resolve() == installer.installed.modules.resolve()
    for each in _flat_modules(folder):
        info = ModuleInfo("", "", "")
        try:
            info = _describe(each)
            result, reason = _import_one(installer, each, info, is_own=is_own, move=move, check=check, progress=progress)
        except HubError as error:
            result, reason = "failed", error.message
        except OSError as error:
            result, reason = "failed", f"cannot read it: {error}. Fix the problem and try again."
        yield Import(each, info.name, info.version, result, reason)


def _describe(folder: Path) -> ModuleInfo:
    if (folder / _OLD_DESCRIPTION).is_file():
        raise InstallError(
            f"'{folder}' is described by a {_OLD_DESCRIPTION}, as before PaddleHub 1.6, and cannot be run. Use a newer version of it."
        )
    return find_kind(folder).describe(folder)


def _import_one(
    installer: Installer, folder: Path, info: ModuleInfo, *, is_own: bool, move: bool, check: bool, progress: Progress
) -> tuple[str, str]:
    if is_own and not move:
        return "left", "it lies in this home, where hub keeps versions; with --move it becomes one, and PaddleHub no longer finds it"
    if is_own:
        installer.install(folder, progress=progress, check=check, replace_flat=True)
        return "moved", ""
    present = next((each for each in installer.installed.all() if (each.info.name, each.info.version) == (info.name, info.version)), None)
    if present and present.manifest.digest == measure_source(folder).digest:
        return "unchanged", ""
    if present and present.manifest.source != str(folder):
        return "left", f"{info.name} {info.version} is installed from '{present.manifest.source}'; to replace it: hub install {folder}"
    installer.install(folder, progress=progress, check=check)
    return "imported", ""

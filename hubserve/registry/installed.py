"""The installed modules of a home: which versions there are, and which one a name means."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import HubError, InstallError, ModuleNotFound
from hubserve.kinds.base import ModuleInfo
from hubserve.paths import home as default_home
from hubserve.registry.configuration import nearest
from hubserve.registry.history import NO_HISTORY, History, read_history
from hubserve.registry.legacy_layout import has_unfinished_takeover, is_flat
from hubserve.registry.lock import store_lock
from hubserve.registry.manifest import Manifest, read_manifest
from hubserve.registry.names import find_version, folder_name, is_name, version_key
from hubserve.registry.recovery import exclusive, links_match, recover
from hubserve.registry.version_dirs import entries_of, link_target, versions_on_disk

_REPAIR_TRIES = 100
_REPAIR_INTERVAL_S = 0.01


class Installed(NamedTuple):
    """One installed version of a module.

    Attributes:
        info: its metadata.
        folder: its files, ``modules/<name>/<version>``; other files as soon as the version is replaced.
        manifest: where it came from, and what it holds.
        version_dir: the directory that ``folder`` leads to, whose files never change: modules run from there.
        is_current: whether the module's bare name means this version.
    """

    info: ModuleInfo
    folder: Path
    manifest: Manifest
    version_dir: Path = Path()
    is_current: bool = False


class Listing(NamedTuple):
    """Installed versions, and what is wrong among them.

    Attributes:
        installed: by name, then from the oldest to the newest version.
        notes: one sentence for each folder that hub did not install or that is damaged.
    """

    installed: list[Installed]
    notes: list[str]


class InstalledModules:
    """Read-only view of the modules in a home. It is read anew by each call, so it shows the changes of other processes.

    Args:
        home: the home; ``$HUB_HOME`` or its default where None.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.home = (home or default_home()).absolute()
        self.modules = self.home / "modules"

    def all(self) -> list[Installed]:
        """Return every installed version, by name, then from the oldest to the newest."""
        return self.scan().installed

    def scan(self) -> Listing:
        """Return every installed version, and notes about other folders among them."""
        self._finish_takeover()
        installed, notes = [], []
        for name_folder in sorted(_subfolders(self.modules)):
            if is_flat(name_folder):
                notes.append(
                    f"'{name_folder}' was installed by PaddleHub itself; hub leaves it alone. To use it here: hub import-paddlehub --move"
                )
                continue
            found = self._read_name_folder(name_folder)
            installed += found.installed
            notes += found.notes
        return Listing(installed, notes)

    def names(self) -> list[str]:
        """Return the folder names of all modules that hub installed, damaged ones included; each can be given as a module's name."""
        return [each.name for each in sorted(_subfolders(self.modules)) if not is_flat(each) and any(self._read_name_folder(each))]

    def of(self, name: str) -> Listing:
        """Return every version of one module, and a note for each damaged one.

        Raises:
            ModuleNotFound: it is not installed.
        """
        listing = self._read(name)
        if not any(listing):
            raise self._not_installed(name)
        return listing

    def versions(self, name: str) -> list[str]:
        """Return the installed versions of a module, from the oldest to the newest; none if it is not installed.

        Raises:
            ModuleNotFound: the text cannot be a module's name.
        """
        return [each.info.version for each in self._read_name_folder(self.name_folder(name)).installed]

    def versions_in(self, name_folder: Path) -> list[Installed]:
        """Return the installed versions in a module's folder, from the oldest to the newest."""
        return self._read_name_folder(name_folder).installed

    def get(self, name: str, version: str | None = None) -> Installed:
        """Return one installed version.

        Args:
            name: the module's name; ``-`` and ``_`` are equivalent.
            version: where None, the version that was installed or rolled back to last. ``1.0`` also finds ``1.0.0``.
        Raises:
            ModuleNotFound: it is not installed; the message names what is.
            InstallError: it is installed, but its manifest cannot be read.
        """
        found, notes = self._read(name)
        present = {each.info.version: each for each in found}
        if not present and notes:
            raise InstallError(notes[0])
        if not present:
            raise self._not_installed(name)
        if version is None:
            return next((each for each in found if each.is_current), found[-1])
        match = find_version(version, [*present])
        if match is None:
            raise ModuleNotFound(
                f"'{name}' has no version {version}. Installed: {', '.join(present)}. Give one of these, or install that version."
            )
        return present[match]

    def current_version(self, name: str) -> str:
        """Return the version that a module's bare name means; "" if it is not installed, or damaged."""
        try:
            return self.get(name).info.version
        except HubError:
            return ""

    def replaced(self, name: str) -> list[Installed]:
        """Return the replaced copies of a module's versions that ``hub rollback`` can restore, in no particular order."""
        name_folder = self.name_folder(name)
        history = read_history(name_folder) or NO_HISTORY
        return _read_version_dirs(name_folder, history, [(version, each) for each, version in history.replaced_dirs().items()]).installed

    def name_folder(self, name: str) -> Path:
        """Return the folder that holds a module's versions.

        Raises:
            ModuleNotFound: the text cannot be a module's name.
        """
        if not is_name(name):  # '..' must not reach another folder
            raise ModuleNotFound(f"{name[:80]!a} cannot be a module's name. Run 'hub list' to see what is installed.")
        return self.modules / folder_name(name)

    def _read(self, name: str) -> Listing:
        self._finish_takeover()
        name_folder = self.name_folder(name)
        if is_flat(name_folder):
            raise ModuleNotFound(
                f"'{name}' was installed into '{name_folder}' by PaddleHub itself, without a version. Run: hub import-paddlehub --move"
            )
        return self._read_name_folder(name_folder)

    def _read_name_folder(self, name_folder: Path) -> Listing:
        while True:
            history = read_history(name_folder)
            if history is None:
                listing = _read_plain_folders(name_folder)
            else:
                if not links_match(name_folder, history):
                    self._repair_links(name_folder)
                present = [(version, each) for version, each in history.versions.items() if os.path.lexists(name_folder / version)]
                found, notes = _read_version_dirs(name_folder, history, present)
                listing = Listing(found, notes + _foreign_folders(name_folder, history))
            if read_history(name_folder) == history:  # otherwise another process changed it meanwhile
                return listing

    def _finish_takeover(self) -> None:
        """Move back the PaddleHub module that a killed process had moved aside to put a version in its place."""
        if has_unfinished_takeover(self.modules):
            with suppress(OSError, InstallError), exclusive(self.home):
                pass

    def _repair_links(self, name_folder: Path) -> None:
        """Wait until links match the history, or repair them: they lag for a moment in each change, and after a kill until a repair."""
        for _ in range(_REPAIR_TRIES):
            # A home that cannot be written is read as it is.
            with suppress(OSError, InstallError), store_lock(self.modules, 0):
                recover(self.home)
                return
            history = read_history(name_folder)
            if history is None or links_match(name_folder, history) or not os.access(self.modules, os.W_OK):
                return
            time.sleep(_REPAIR_INTERVAL_S)

    def _not_installed(self, name: str) -> ModuleNotFound:
        known = sorted({each.info.name for each in self.all()})
        some = f" Installed: {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}." if known else " Nothing is installed yet."
        return ModuleNotFound(
            f"no module '{name}' is installed{nearest(name, known)}.{some} Install one with: hub install FOLDER_OR_ARCHIVE".replace(
                "?.", "?"
            )
        )


def _subfolders(folder: Path) -> list[Path]:
    return [each for each in entries_of(folder) if each.is_dir() and not each.name.startswith((".", "__"))]


def _read_plain_folders(name_folder: Path) -> Listing:
    """Read a module's folder without a history: every folder is a version, and the newest is current."""
    directories = {each.name: link_target(each) or each.name for each in versions_on_disk(name_folder)}
    found, notes = _read_version_dirs(name_folder, History("", directories), [*directories.items()])
    if found:
        found[-1] = found[-1]._replace(is_current=True)
    return Listing(found, notes)


def _foreign_folders(name_folder: Path, history: History) -> list[str]:
    """Return a note for each plain folder among the versions that hub did not install."""
    plain = [each for each in _subfolders(name_folder) if not each.is_symlink() and each.name not in history.versions]
    return [f"'{each}' was not installed by hub, which leaves it alone. To use it here: hub install {each}" for each in plain]


def _read_version_dirs(name_folder: Path, history: History, directories: list[tuple[str, str]]) -> Listing:
    """Read the manifests of version directories, given with their versions."""
    installed, notes = [], []
    for version, name in directories:
        version_dir = name_folder / name
        folder = name_folder / version if link_target(name_folder / version) in ("", name) else version_dir
        try:
            manifest = read_manifest(version_dir)
        except HubError as error:
            if version_dir.exists():  # otherwise another process has just removed it
                notes.append(error.message.replace(str(version_dir), str(folder)))
        else:
            installed.append(Installed(manifest.info, folder, manifest, version_dir, version == history.current))
    return Listing(sorted(installed, key=lambda each: version_key(each.info.version)), notes)

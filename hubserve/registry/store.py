"""The modules that are installed in one home."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

from hubserve.errors import HubError, InstallError, ModuleNotFound
from hubserve.home import home as default_home
from hubserve.kinds.base import ModuleInfo
from hubserve.registry.configuration import install_settings, nearest
from hubserve.registry.installing import install
from hubserve.registry.lock import store_lock
from hubserve.registry.manifest import Manifest, read_manifest
from hubserve.registry.names import find_version, folder_name, is_name, version_key
from hubserve.registry.progress import Progress, silent
from hubserve.registry.recovery import left_half_done, recover
from hubserve.registry.removing import remove_name, remove_version
from hubserve.registry.sources import Request, fetched
from hubserve.registry.sources.addresses import check_sha256


class Installed(NamedTuple):
    """One installed version of a module.

    Attributes:
        info: its metadata.
        folder: its files, ``modules/<name>/<version>``.
        manifest: where it came from, and what it holds.
        replaced: after an install: whether the same version was there before.
    """

    info: ModuleInfo
    folder: Path
    manifest: Manifest
    replaced: bool = False


# A class with a method called list cannot write list[...] in its annotations.
Versions: TypeAlias = list[Installed]
Texts: TypeAlias = list[str]


class Listing(NamedTuple):
    """What a home holds.

    Attributes:
        installed: every version, by name and then from the oldest to the newest.
        notes: one sentence for each folder that is no version of ours, and why.
    """

    installed: list[Installed]
    notes: list[str]


class Store:
    """The installed modules of one home. Every process sees the same; any number may install and remove at once.

    Args:
        home: the home; ``$HUB_HOME`` or its default where None.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.home = (home or default_home()).absolute()
        self.modules = self.home / "modules"
        self.tmp = self.home / "tmp"

    def list(self) -> Versions:
        """Every installed version, by name and then from the oldest to the newest."""
        return self.scan().installed

    def scan(self) -> Listing:
        """What is installed, and what else lies among it."""
        self._heal()
        installed, notes = [], []
        for name_folder in sorted(_subfolders(self.modules)):
            if is_flat(name_folder):
                notes.append(
                    f"'{name_folder}' was put there by PaddleHub itself; hub leaves it alone. To use it here: hub install {name_folder}"
                )
                continue
            found, bad = _read_versions(name_folder)
            installed += found
            notes += bad
        return Listing(installed, notes)

    def versions(self, name: str) -> Texts:
        """The installed versions of a module, from the oldest to the newest; none if it is not installed.

        Raises:
            ModuleNotFound: it is no module's name at all.
        """
        self._heal()
        return [each.info.version for each in _read_versions(self._name_folder(name))[0]]

    def get(self, name: str, version: str | None = None) -> Installed:
        """One installed version.

        Args:
            name: the module's name; ``-`` and ``_`` are the same.
            version: which; the newest where None. An equal one will do: ``1.0`` finds ``1.0.0``.
        Raises:
            ModuleNotFound: it is not installed; the message says what is.
            InstallError: it is there, but its manifest cannot be read.
        """
        self._heal()
        found, bad = self._read(name)
        present = {each.info.version: each for each in found}
        if not present and bad:
            raise InstallError(bad[0])
        if not present:
            raise self._not_installed(name)
        if version is None:
            return found[-1]
        match = find_version(version, [*present])
        if match is None:
            raise ModuleNotFound(
                f"'{name}' has no version {version}. Installed: {', '.join(present)}. Ask for one of these, or install the other."
            )
        return present[match]

    def install(
        self,
        source: str | Path,
        *,
        progress: Progress = silent,
        check: bool = True,
        digest: str = "",
        indexes: Sequence[str] | None = None,
    ) -> Installed:
        """Install a module from a folder, an archive, an address, a git repository or an index.

        Args:
            source: the folder or archive; as text also ``https://...``, ``git+https://...[@REF]``, ``NAME``, ``NAME==VERSION`` or a range.
            progress: told how far it is.
            check: import the module once in a process of its own first.
            digest: ``sha256:`` and 64 hexadecimal digits that the archive must have.
            indexes: addresses and folders to look a name up in; those that are configured where None.
        Returns:
            What was installed.
        Raises:
            HubError: it could not be; everything is as it was before.
        """
        text = source if isinstance(source, str) else str(source.expanduser().absolute())  # a path is never a name
        settings = install_settings(self.home)
        request = Request(text, self.home, settings, progress, check_sha256(digest), indexes)
        with fetched(request) as found, self._transaction(progress, f"cannot install '{found.origin.shown}'"):
            folder, replaced = install(self.home, found.path, settings, progress, check=check, origin=found.origin)
            manifest = read_manifest(folder)
        return Installed(manifest.info, folder, manifest, replaced)

    def uninstall(self, name: str, version: str | None = None, *, progress: Progress = silent) -> Versions:
        """Remove one version of a module, or all of them where ``version`` is None.

        Returns:
            What was removed.
        Raises:
            ModuleNotFound: it is not installed.
            HubError: it could not be removed; everything is as it was before.
        """
        with self._transaction(progress, f"cannot uninstall '{name}'"):
            one = self.get(name, version)
            progress("removing")
            if version is not None:
                remove_version(one.folder, self.tmp)
                return [one]
            every = _read_versions(one.folder.parent)[0]
            remove_name(one.folder.parent, self.tmp)
            return every

    @contextmanager
    def exclusive(self, progress: Progress = silent) -> Iterator[None]:
        """Keep every other process from installing and removing; what a killed one left is mended first.

        Raises:
            InstallError: another process did not finish in time.
        """
        with store_lock(self.modules, install_settings(self.home).lock_timeout_s, progress):
            recover(self.modules, self.tmp)
            yield

    @contextmanager
    def _transaction(self, progress: Progress, failed: str) -> Iterator[None]:
        try:
            with self.exclusive(progress):
                yield
        except (OSError, shutil.Error) as error:
            raise InstallError(f"{failed}: {error}. What was there is still there; mend the cause and try again.") from error

    def _heal(self) -> None:
        """A process that was killed between two renames leaves a version aside; the next reader puts it back."""
        if not left_half_done(self.modules):
            return
        # A home that cannot be written is read as it is.
        with suppress(OSError), store_lock(self.modules, install_settings(self.home).lock_timeout_s):
            recover(self.modules, self.tmp)

    def _read(self, name: str) -> tuple[Versions, Texts]:
        name_folder = self._name_folder(name)
        if is_flat(name_folder):
            raise ModuleNotFound(
                f"'{name}' was put into '{name_folder}' by PaddleHub itself, without a version. Run: hub install {name_folder}"
            )
        return _read_versions(name_folder)

    def _name_folder(self, name: str) -> Path:
        if not is_name(name):  # '..' must not reach another folder
            raise ModuleNotFound(f"{name[:80]!a} is no module's name. Run 'hub list' to see what is installed.")
        return self.modules / folder_name(name)

    def _not_installed(self, name: str) -> ModuleNotFound:
        known = sorted({each.info.name for each in self.scan().installed})
        some = f" Installed: {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}." if known else " Nothing is installed yet."
        return ModuleNotFound(
            f"no module '{name}' is installed{nearest(name, known)}.{some} Install one with: hub install FOLDER_OR_ARCHIVE".replace(
                "?.", "?"
            )
        )


def is_flat(name_folder: Path) -> bool:
    """Whether PaddleHub itself installed a module here: its files lie in the name's folder, without a version."""
    return (name_folder / "module.py").is_file()


def _subfolders(folder: Path) -> list[Path]:
    try:
        return [each for each in folder.iterdir() if each.is_dir() and not each.name.startswith((".", "__"))]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read_versions(name_folder: Path) -> tuple[Versions, Texts]:
    installed, notes = [], []
    for folder in _subfolders(name_folder):
        try:
            manifest = read_manifest(folder)
        except HubError as error:
            if folder.exists():  # else another process removed it just now
                notes.append(error.message)
        else:
            installed.append(Installed(manifest.info, folder, manifest))
    return sorted(installed, key=lambda each: version_key(each.info.version)), notes

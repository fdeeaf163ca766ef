"""The modules that are installed in one home."""

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

from hubserve.errors import HubError, InstallError, ModuleNotFound
from hubserve.kinds.base import ModuleInfo
from hubserve.paths import home as default_home
from hubserve.registry.configuration import install_settings, nearest
from hubserve.registry.environments.install_options import Options
from hubserve.registry.history import NO_VERSIONS, Record, read_record
from hubserve.registry.install.transaction import install
from hubserve.registry.legacy_layout import is_flat, lie_aside
from hubserve.registry.lock import store_lock
from hubserve.registry.manifest import Manifest, read_manifest
from hubserve.registry.names import find_version, folder_name, is_name, version_key
from hubserve.registry.progress import Progress, silent
from hubserve.registry.recovery import is_settled, recover, versions_on_disk
from hubserve.registry.sources import Fetched, Request, fetched, named_as_given
from hubserve.registry.sources.addresses import check_sha256
from hubserve.registry.version_changes import go_back, take_out, way_back
from hubserve.registry.version_dirs import target


class Installed(NamedTuple):
    """One installed version of a module.

    Attributes:
        info: its metadata.
        folder: its files, ``modules/<name>/<version>``; other files from the moment that the version is replaced.
        manifest: where it came from, and what it holds.
        replaced: after an install: whether the same version was there before.
        place: the folder that ``folder`` leads to, whose files never change: what is run, is run from there.
        is_current: whether it is what the module's bare name means.
    """

    info: ModuleInfo
    folder: Path
    manifest: Manifest
    replaced: bool = False
    place: Path = Path()
    is_current: bool = False


class RolledBack(NamedTuple):
    """What a rollback did.

    Attributes:
        was: what the bare name meant before.
        now: what it means again.
        restored: the version whose replaced files came back; "" for none.
    """

    was: str
    now: Installed
    restored: str


# A class with a method called list cannot write list[...] in its annotations.
Versions: TypeAlias = list[Installed]
Texts: TypeAlias = list[str]
Pairs: TypeAlias = list[tuple[str, str]]

_SETTLE_TRIES = 100
_SETTLE_EVERY_S = 0.01


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
        self._finish_take_over()
        installed, notes = [], []
        for name_folder in sorted(_subfolders(self.modules)):
            if is_flat(name_folder):
                notes.append(
                    f"'{name_folder}' was put there by PaddleHub itself; hub leaves it alone. To use it here: hub import-paddlehub --move"
                )
                continue
            found, bad = self._read_versions(name_folder)
            installed += found
            notes += bad
        return Listing(installed, notes)

    def versions(self, name: str) -> Texts:
        """The installed versions of a module, from the oldest to the newest; none if it is not installed.

        Raises:
            ModuleNotFound: it is no module's name at all.
        """
        return [each.info.version for each in self._read_versions(self._name_folder(name))[0]]

    def names(self) -> Texts:
        """The folders of every module that hub installed, also of those that are damaged; each is as good as the module's name."""
        return [each.name for each in sorted(_subfolders(self.modules)) if not is_flat(each) and any(self._read_versions(each))]

    def of(self, name: str) -> Listing:
        """Every version of one module, and a sentence for each that is damaged.

        Raises:
            ModuleNotFound: it is not installed.
        """
        found, bad = self._read(name)
        if not found and not bad:
            raise self._not_installed(name)
        return Listing(found, bad)

    def kept(self, name: str) -> Versions:
        """The replaced copies of a module's versions that ``hub rollback`` can bring back, in no order."""
        name_folder = self._name_folder(name)
        record = read_record(name_folder) or NO_VERSIONS
        return _read_places(name_folder, record, [(version, place) for place, version in record.kept().items()])[0]

    def get(self, name: str, version: str | None = None) -> Installed:
        """One installed version.

        Args:
            name: the module's name; ``-`` and ``_`` are the same.
            version: which; where None, the one that was installed or rolled back to last. An equal one will do: ``1.0`` finds ``1.0.0``.
        Raises:
            ModuleNotFound: it is not installed; the message says what is.
            InstallError: it is there, but its manifest cannot be read.
        """
        found, bad = self._read(name)
        present = {each.info.version: each for each in found}
        if not present and bad:
            raise InstallError(bad[0])
        if not present:
            raise self._not_installed(name)
        if version is None:
            return next((each for each in found if each.is_current), found[-1])
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
        environment: Options | None = None,
        digest: str = "",
        indexes: Sequence[str] | None = None,
        replace_flat: bool = False,
        allow_downgrade: bool = False,
        model_name: str = "",
        model_version: str = "",
    ) -> Installed:
        """Install a module from a folder, an archive, an address, a git repository or an index.

        Args:
            source: the folder or archive; as text also ``https://...``, ``git+https://...[@REF]``, ``NAME``, ``NAME==VERSION`` or a range.
            progress: told how far it is.
            check: import the module once in a process of its own first.
            environment: what the user says of its environment.
            digest: ``sha256:`` and 64 hexadecimal digits that the archive must have.
            indexes: addresses and folders to look a name up in; those that are configured where None.
            replace_flat: take the place of a module that PaddleHub itself installed.
            allow_downgrade: take an older version than the installed one, or than a signed index had before.
            model_name: what a model's own files are to be called; by default as the file.
            model_version: the version of such a module; by default 1.0.0.
        Returns:
            What was installed.
        Raises:
            HubError: it could not be; everything is as it was before.
        """
        text = source if isinstance(source, str) else str(source.expanduser().absolute())  # a path is never a name
        settings = install_settings(self.home)
        request = Request(text, self.home, settings, progress, check_sha256(digest), indexes, self._current_version, allow_downgrade)
        request = request._replace(model_name=model_name, model_version=model_version)
        with fetched(request) as found:
            return self.install_found(found, progress=progress, check=check, environment=environment, replace_flat=replace_flat)

    def install_found(
        self,
        found: Fetched,
        *,
        progress: Progress = silent,
        check: bool = True,
        environment: Options | None = None,
        replace_flat: bool = False,
    ) -> Installed:
        """Install what is on this machine already; as :meth:`install`, which has it fetched.

        Raises:
            HubError: it could not be; everything is as it was before.
        """
        settings = install_settings(self.home)
        with self._transaction(progress, f"cannot install '{found.origin.shown}'"), named_as_given(found):
            done = install(
                self.home,
                found.path,
                settings,
                progress,
                check=check,
                options=environment,
                origin=found.origin,
                replace_flat=replace_flat,
            )
        return Installed(done.manifest.info, done.folder, done.manifest, done.replaced, done.place, is_current=True)

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
            gone = [one] if version is not None else self._read_versions(one.folder.parent)[0]
            take_out(one.folder.parent, one.folder.name if version is not None else None)
            return gone

    def rollback(self, name: str, *, progress: Progress = silent) -> RolledBack:
        """Take the last change of a module back: its bare name means what it meant before, and files that were replaced come back.

        Raises:
            ModuleNotFound: it is not installed.
            InstallError: there is nothing to go back to.
            HubError: it could not be done; everything is as it was before.
        """
        with self._transaction(progress, f"cannot roll '{name}' back"):
            one = self.get(name)
            progress("rolling back")
            before, after = way_back(one.folder.parent, one.info.name)
            place = one.folder.parent / after.versions[after.current]
            manifest = read_manifest(place)
            go_back(one.folder.parent, after)
        restored = [version for version, each in after.versions.items() if before.versions[version] != each]
        now = Installed(manifest.info, one.folder.parent / after.current, manifest, False, place, is_current=True)
        return RolledBack(before.current, now, "".join(restored))

    def sweep(self) -> None:
        """Delete the files of what was uninstalled or rolled back while processes ran it, as far as they have ended.

        Where another process changes the home just now, it is left to the next command.
        """
        with suppress(OSError, InstallError), store_lock(self.modules, 0):
            self.recover()

    @contextmanager
    def exclusive(self, progress: Progress = silent) -> Iterator[None]:
        """Keep every other process from installing and removing; what a killed one left is mended first.

        Raises:
            InstallError: another process did not finish in time.
        """
        with self.lock(progress):
            self.recover()
            yield

    @contextmanager
    def lock(self, progress: Progress = silent) -> Iterator[None]:
        """Keep every other process from installing and removing, and leave everything as it lies.

        Raises:
            InstallError: another process did not finish in time.
        """
        with store_lock(self.modules, install_settings(self.home).lock_timeout_s, progress):
            yield

    def recover(self) -> None:
        """Finish or undo what a killed process left half done. Whoever calls holds the lock."""
        recover(self.modules, self.tmp)

    @contextmanager
    def _transaction(self, progress: Progress, failed: str) -> Iterator[None]:
        try:
            with self.exclusive(progress):
                yield
        except (OSError, shutil.Error) as error:
            raise InstallError(f"{failed}: {error}. What was there is still there; mend the cause and try again.") from error

    def _read(self, name: str) -> tuple[Versions, Texts]:
        self._finish_take_over()
        name_folder = self._name_folder(name)
        if is_flat(name_folder):
            raise ModuleNotFound(
                f"'{name}' was put into '{name_folder}' by PaddleHub itself, without a version. Run: hub import-paddlehub --move"
            )
        return self._read_versions(name_folder)

    def _read_versions(self, name_folder: Path) -> tuple[Versions, Texts]:
        """The versions of one module's folder, from the oldest to the newest, and a sentence for each damaged one."""
        while True:
            record = read_record(name_folder)
            if record is None:
                found, bad = _read_folders(name_folder)
            else:
                if not is_settled(name_folder, record):
                    self._settle(name_folder)
                present = [(version, place) for version, place in record.versions.items() if os.path.lexists(name_folder / version)]
                found, bad = _read_places(name_folder, record, present)
                bad += _strangers(name_folder, record)
            if read_record(name_folder) == record:  # else another process changed it meanwhile
                return found, bad

    def _finish_take_over(self) -> None:
        """A process that was killed while a version took the place of what PaddleHub installed leaves that aside; it is put back here."""
        if lie_aside(self.modules):
            with suppress(OSError, InstallError), self.exclusive():
                pass

    def _settle(self, name_folder: Path) -> None:
        """A link lags behind the record for a moment in each change, and after a process was killed in it until somebody mends that."""
        for _ in range(_SETTLE_TRIES):
            # A home that cannot be written is read as it is.
            with suppress(OSError, InstallError), store_lock(self.modules, 0):
                recover(self.modules, self.tmp)
                return
            record = read_record(name_folder)
            if record is None or is_settled(name_folder, record) or not os.access(self.modules, os.W_OK):
                return
            time.sleep(_SETTLE_EVERY_S)

    def _name_folder(self, name: str) -> Path:
        if not is_name(name):  # '..' must not reach another folder
            raise ModuleNotFound(f"{name[:80]!a} is no module's name. Run 'hub list' to see what is installed.")
        return self.modules / folder_name(name)

    def _current_version(self, name: str) -> str:
        """Return the version that a module's bare name means now; "" if it is not installed, or damaged."""
        try:
            return self.get(name).info.version
        except HubError:
            return ""

    def _not_installed(self, name: str) -> ModuleNotFound:
        known = sorted({each.info.name for each in self.scan().installed})
        some = f" Installed: {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}." if known else " Nothing is installed yet."
        return ModuleNotFound(
            f"no module '{name}' is installed{nearest(name, known)}.{some} Install one with: hub install FOLDER_OR_ARCHIVE".replace(
                "?.", "?"
            )
        )


def _subfolders(folder: Path) -> list[Path]:
    try:
        return [each for each in folder.iterdir() if each.is_dir() and not each.name.startswith((".", "__"))]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _read_folders(name_folder: Path) -> tuple[Versions, Texts]:
    """Without a record every folder is a version, and the newest is meant by the bare name."""
    places = {each.name: target(each) or each.name for each in versions_on_disk(name_folder)}
    found, bad = _read_places(name_folder, Record("", places), [*places.items()])
    if found:
        found[-1] = found[-1]._replace(is_current=True)
    return found, bad


def _strangers(name_folder: Path, record: Record) -> Texts:
    """A sentence for each plain folder that something else put among the versions."""
    plain = [each for each in _subfolders(name_folder) if not each.is_symlink() and each.name not in record.versions]
    return [f"'{each}' was not put there by hub, which leaves it alone. To use it here: hub install {each}" for each in plain]


def _read_places(name_folder: Path, record: Record, places: Pairs) -> tuple[Versions, Texts]:
    installed, notes = [], []
    for version, name in places:
        place = name_folder / name
        folder = name_folder / version if target(name_folder / version) in ("", name) else place
        try:
            manifest = read_manifest(place)
        except HubError as error:
            if place.exists():  # else another process removed it just now
                notes.append(error.message.replace(str(place), str(folder)))
        else:
            installed.append(Installed(manifest.info, folder, manifest, False, place, version == record.current))
    return sorted(installed, key=lambda each: version_key(each.info.version)), notes

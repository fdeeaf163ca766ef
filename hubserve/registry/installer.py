"""Changes of the installed modules: install, uninstall, roll back."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.configuration import install_settings
from hubserve.registry.downloads.addresses import check_sha256
from hubserve.registry.environments.install_options import Options
from hubserve.registry.install.transaction import InstallResult, install
from hubserve.registry.installed import Installed, InstalledModules
from hubserve.registry.lock import store_lock
from hubserve.registry.manifest import read_manifest
from hubserve.registry.progress import Progress, silent
from hubserve.registry.recovery import exclusive, recover
from hubserve.registry.sources import Fetched, Request, fetched, named_as_given
from hubserve.registry.version_changes import plan_rollback, remove_versions, roll_back


class RollbackResult(NamedTuple):
    """Effect of a rollback.

    Attributes:
        was: the version that was current before.
        now: the version that is current again.
        restored: the version whose replaced files came back; "" for none.
    """

    was: str
    now: Installed
    restored: str


class Installer:
    """Installations, removals and rollbacks in one home; any number of processes may make them at once.

    Args:
        home: the home; ``$HUB_HOME`` or its default where None.

    Attributes:
        home: the home, absolute.
        installed: what is installed there.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.installed = InstalledModules(home)
        self.home = self.installed.home

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
    ) -> InstallResult:
        """Install a module from a folder, an archive, an address, a git repository or an index.

        Args:
            source: the folder or archive; as text also ``https://...``, ``git+https://...[@REF]``, ``NAME``, ``NAME==VERSION`` or a range.
            progress: called as it proceeds.
            check: import the module once in a process of its own first.
            environment: the user's options for its environment.
            digest: ``sha256:`` and 64 hexadecimal digits that the archive must have.
            indexes: addresses and folders to look a name up in; the configured ones where None.
            replace_flat: replace a module that PaddleHub itself installed.
            allow_downgrade: accept an older version than the installed one, or than a signed index had before.
            model_name: the module's name if the source is a model's own files; by default that of the file.
            model_version: the version of such a module; by default 1.0.0.
        Raises:
            HubError: it failed; everything is as it was.
        """
        text = source if isinstance(source, str) else str(source.expanduser().absolute())  # a path is never a name
        settings = install_settings(self.home)
        current_version = self.installed.current_version
        request = Request(text, self.home, settings, progress, check_sha256(digest), indexes, current_version, allow_downgrade)
        request = request._replace(model_name=model_name, model_version=model_version)
        with fetched(request) as found:
            return self.install_fetched(found, progress=progress, check=check, environment=environment, replace_flat=replace_flat)

    def install_fetched(
        self,
        found: Fetched,
        *,
        progress: Progress = silent,
        check: bool = True,
        environment: Options | None = None,
        replace_flat: bool = False,
    ) -> InstallResult:
        """Install a folder or archive that was fetched to this machine; see :meth:`install`.

        Raises:
            HubError: it failed; everything is as it was.
        """
        settings = install_settings(self.home)
        with self._transaction(progress, f"cannot install '{found.origin.shown}'"), named_as_given(found):
            return install(
                self.home,
                found.path,
                settings,
                progress,
                check=check,
                options=environment,
                origin=found.origin,
                replace_flat=replace_flat,
            )

    def uninstall(self, name: str, version: str | None = None, *, progress: Progress = silent) -> list[Installed]:
        """Remove one version of a module, or all of them where ``version`` is None; return what was removed.

        Raises:
            ModuleNotFound: it is not installed.
            HubError: it failed; everything is as it was.
        """
        with self._transaction(progress, f"cannot uninstall '{name}'"):
            one = self.installed.get(name, version)
            progress("removing")
            name_folder = one.folder.parent
            removed = [one] if version is not None else self.installed.versions_in(name_folder)
            remove_versions(name_folder, one.folder.name if version is not None else None)
            return removed

    def rollback(self, name: str, *, progress: Progress = silent) -> RollbackResult:
        """Undo the last change of a module: its bare name means what it meant before, and replaced files come back.

        Raises:
            ModuleNotFound: it is not installed.
            InstallError: there is nothing to roll back to.
            HubError: it failed; everything is as it was.
        """
        with self._transaction(progress, f"cannot roll '{name}' back"):
            one = self.installed.get(name)
            progress("rolling back")
            name_folder = one.folder.parent
            before, after = plan_rollback(name_folder, one.info.name)
            version_dir = name_folder / after.versions[after.current]
            manifest = read_manifest(version_dir)
            roll_back(name_folder, after)
        restored = [version for version, each in after.versions.items() if before.versions[version] != each]
        now = Installed(manifest.info, name_folder / after.current, manifest, version_dir, is_current=True)
        return RollbackResult(before.current, now, "".join(restored))

    def sweep(self) -> None:
        """Delete the files of uninstalled or rolled back versions whose processes have ended.

        If another process is changing the home, this is left to the next command.
        """
        with suppress(OSError, InstallError), store_lock(self.home / "modules", 0):
            recover(self.home)

    @contextmanager
    def _transaction(self, progress: Progress, failed: str) -> Iterator[None]:
        try:
            with exclusive(self.home, progress):
                yield
        except (OSError, shutil.Error) as error:
            raise InstallError(f"{failed}: {error}. What was there is still there; fix the problem and try again.") from error

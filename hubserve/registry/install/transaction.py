"""The transaction behind ``hub install``: stage, verify, check, and only then put in place; the caller holds the lock of the home."""

from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import HubError, InstallError
from hubserve.kinds import ModuleInfo, find_kind
from hubserve.kinds.project_requirements import imports_beside
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.digests import digest_folder, sync_tree, write_file_list
from hubserve.registry.environments.install_options import AUTO, Options
from hubserve.registry.environments.launch import launch
from hubserve.registry.environments.staged_environment import StagedEnvironment, staged_environment
from hubserve.registry.history import read_history
from hubserve.registry.install.import_check import check_import
from hubserve.registry.install.import_check_cache import ImportCheckCache
from hubserve.registry.install.staging import Staged, check_source, errors_name_source, staged
from hubserve.registry.legacy_layout import is_flat, moved_aside
from hubserve.registry.manifest import Manifest, read_manifest, write_manifest
from hubserve.registry.names import folder_name
from hubserve.registry.progress import Progress
from hubserve.registry.provenance import Origin
from hubserve.registry.version_changes import add_version


class InstallResult(NamedTuple):
    """An installed version.

    Attributes:
        manifest: its manifest.
        folder: ``modules/<name>/<version>``, a link to its files.
        version_dir: the directory of its files.
        replaced: True if it replaced the same version.
    """

    manifest: Manifest
    folder: Path
    version_dir: Path
    replaced: bool

    @property
    def info(self) -> ModuleInfo:
        """The module's metadata."""
        return self.manifest.info


def install(
    home: Path,
    source: Path,
    settings: InstallSettings,
    progress: Progress,
    *,
    check: bool,
    options: Options | None = None,
    origin: Origin | None = None,
    replace_flat: bool = False,
) -> InstallResult:
    """Install one module.

    Args:
        home: the home that holds ``modules`` and ``tmp``.
        source: a folder or an archive.
        settings: what is accepted.
        progress: called as it proceeds.
        check: import the module once first.
        options: the user's options for its environment.
        origin: where ``source`` was fetched from; itself where None.
        replace_flat: replace a module that PaddleHub itself installed.
    Raises:
        HubError: the source is refused; the message says why. Nothing has changed.
        OSError: reading or writing failed. Nothing has changed.
    """
    source = check_source(source, home)
    origin = origin or Origin(str(source))
    if source.is_dir():
        find_kind(source).describe(source)  # refuse a folder without a module before it is copied
    with staged(home, source, origin, settings, progress) as module:
        info = module.info
        origin.check_promised(info.name, info.version)
        version_folder = _version_folder(home, info, replace_flat=replace_flat)
        options = as_before(options, version_folder)
        prepared_environment = staged_environment(home, module.folder, info, options, settings, progress, module.beside)
        with errors_name_source(module.folder, source), prepared_environment as prepared:
            checked = _check_import(module, home, prepared.key, settings, progress) if check else None
            progress("writing to disk")
            manifest = _write_manifest(module, origin, prepared)
            sync_tree(module.folder)
            with moved_aside(version_folder.parent):
                version_dir, replaced = add_version(module.folder, version_folder, settings.keep_replaced)
            if checked:
                checked.add(manifest.digest)
    return InstallResult(manifest, version_folder, version_dir, replaced)


def as_before(options: Options | None, version_folder: Path) -> Options:
    """Return the user's options; where none are given, those of the version that is installed.

    Args:
        options: what the user gives now; None for nothing.
        version_folder: ``modules/<name>/<version>``.
    """
    options = options or Options()
    if options.profile == AUTO:
        return options._replace(profile="")
    if options.profile or options.packages:
        return options
    history = read_history(version_folder.parent)
    for folder in (version_folder, version_folder.parent / (history.current if history else "")):
        if folder != version_folder.parent and folder.is_dir():
            try:
                chosen = read_manifest(folder).chosen
            except HubError:  # a damaged version is replaced, and its options are ignored
                continue
            return options._replace(profile=chosen.asked, packages=chosen.packages)
    return options


def _version_folder(home: Path, info: ModuleInfo, *, replace_flat: bool) -> Path:
    """Return ``modules/<name>/<version>``, unless another module is in the way."""
    name_folder = home / "modules" / folder_name(info.name)
    if is_flat(name_folder) and replace_flat:
        return name_folder / info.version
    if is_flat(name_folder):
        raise InstallError(
            f"'{name_folder}' holds a module that PaddleHub itself installed, and hub does not overwrite it. "
            "To make it one of hub's versions: hub import-paddlehub --move. Or move that folder away, or set HUB_HOME to another home."
        )
    for other in _names_in(name_folder) - {info.name}:
        raise InstallError(
            f"'{info.name}' and the installed '{other}' would share the folder '{name_folder}', because '-' and '_' are the same there. "
            f"Rename the module, or run: hub uninstall {other}"
        )
    return name_folder / info.version


def _names_in(name_folder: Path) -> set[str]:
    names = set()
    for folder in name_folder.glob("[!.]*/"):
        try:
            names.add(read_manifest(folder).info.name)
        except HubError:  # a damaged version is replaced
            continue
    return names


def _check_import(module: Staged, home: Path, environment: str, settings: InstallSettings, progress: Progress) -> ImportCheckCache:
    """Import the module once, unless the same files could be imported before."""
    info, base = module.info, module.lookup_base
    search_path = [base, base.parent] if base else []
    launched = launch(info, module.folder, home, environment)
    cache = ImportCheckCache(home, info, environment, launched, module.folder, search_path)
    # files beside the source are not in the digest, and may have changed
    is_self_contained = not module.source_folder or not imports_beside(module.folder, module.beside)
    if not (is_self_contained and cache.contains(lambda: digest_folder(module.folder)[0].digest)):
        progress("importing it once, in a process of its own")
        check_import(
            module.folder,
            folder_name(info.name),
            info.kind,
            home=home,
            search_path=search_path,
            timeout_s=settings.check_timeout_s,
            launched=launched,
            origin=module.source_folder,
        )
    return cache


def _write_manifest(module: Staged, origin: Origin, prepared: StagedEnvironment) -> Manifest:
    folder, base = module.folder, module.lookup_base
    contents, digests = digest_folder(folder)
    write_file_list(folder, digests)
    manifest = Manifest(
        info=module.info,
        source=origin.shown,
        source_folder=str(base.relative_to(folder) if base and folder in base.parents else base or ""),
        import_folder=folder_name(module.info.name),
        installed_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        digest=contents.digest,
        files=contents.files,
        size_bytes=contents.size_bytes,
        environment=prepared.key,
        provenance=origin.provenance,
        chosen=prepared.chosen,
    )
    write_manifest(folder, manifest)
    return manifest

"""The transaction behind ``hub install``: stage, verify, check, and only then put in place. Whoever calls holds the store's lock."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import HubError, InstallError, ModuleNotFound
from hubserve.kinds import ModuleInfo, find_kind
from hubserve.kinds.project_imports import surroundings
from hubserve.kinds.project_requirements import imports_beside
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.digests import list_files, sync_tree, write_file_list
from hubserve.registry.environments.install_options import AUTO, Options
from hubserve.registry.environments.launch import launch
from hubserve.registry.environments.transaction import Prepared, provided_environment
from hubserve.registry.history import read_record
from hubserve.registry.install.archive import FORMATS, unpack
from hubserve.registry.install.copying import copy_folder
from hubserve.registry.install.import_check import check_import
from hubserve.registry.install.import_check_cache import Checked
from hubserve.registry.install.outside_files import packed_source
from hubserve.registry.legacy_layout import is_flat, set_aside
from hubserve.registry.manifest import Manifest, read_manifest, write_manifest
from hubserve.registry.names import check_name, check_version, folder_name
from hubserve.registry.progress import Progress
from hubserve.registry.provenance import Origin
from hubserve.registry.version_changes import put_in_place


class Placed(NamedTuple):
    """A version that was installed.

    Attributes:
        manifest: what it is.
        folder: ``modules/<name>/<version>``, a link to its files.
        place: the folder of its files.
        replaced: whether it replaced the same version.
    """

    manifest: Manifest
    folder: Path
    place: Path
    replaced: bool


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
) -> Placed:
    """Install one module.

    Args:
        home: the home that holds ``modules`` and ``tmp``.
        source: a folder or an archive.
        settings: what is accepted.
        progress: told how far it is.
        check: import the module once first.
        options: what the user says of its environment.
        origin: where ``source`` was fetched from; itself where None.
        replace_flat: take the place of a module that PaddleHub itself installed.
    Returns:
        Where it is.
    Raises:
        HubError: the source is refused; the message says why. Nothing has changed.
        OSError: reading or writing failed. Nothing has changed.
    """
    source = _check_source(source, home)
    origin = origin or Origin(str(source))
    if source.is_dir():
        find_kind(source).describe(source)  # what is no module is refused before it is copied
    with _staging(home) as staging:
        staged, info = _stage(staging, source, settings, progress, follow_links=origin.is_local)
        origin.check_promised(info.name, info.version)
        version_folder = _place(home, info, replace_flat=replace_flat)
        base = _lookup_base(staged, source, origin)
        options = as_before(options, version_folder)
        came_from = base if base and staged not in base.parents else None
        beside = surroundings(came_from).folders if came_from else ()
        with _named_as(staged, source), provided_environment(home, staged, info, options, settings, progress, beside) as prepared:
            checked = _check(staged, info, home, base, came_from, prepared.key, settings, progress) if check else None
            progress("writing to disk")
            manifest = _write_manifest(staged, info, origin, base, prepared)
            sync_tree(staged)
            with set_aside(version_folder.parent):
                place, replaced = put_in_place(staged, version_folder, settings.keep_replaced)
            if checked:
                checked.note(manifest.digest)
    return Placed(manifest, version_folder, place, replaced)


def as_before(options: Options | None, version_folder: Path) -> Options:
    """Return the user's wishes, and of those that are not said the ones of the version that is installed.

    Args:
        options: what the user says now; None for nothing.
        version_folder: where the version goes.
    """
    options = options or Options()
    if options.profile == AUTO:
        return options._replace(profile="")
    if options.profile or options.packages:
        return options
    record = read_record(version_folder.parent)
    for folder in (version_folder, version_folder.parent / (record.current if record else "")):
        if folder != version_folder.parent and folder.is_dir():
            try:
                chosen = read_manifest(folder).chosen
            except HubError:  # a damaged version is replaced, not respected
                continue
            return options._replace(profile=chosen.asked, packages=chosen.packages)
    return options


def _check_source(source: Path, home: Path) -> Path:
    source = source.expanduser().absolute()
    if not source.exists():
        raise ModuleNotFound(f"there is no '{source}'. Give the module's folder, or an archive of it ({FORMATS}).")
    resolved = source.resolve()
    if source.is_dir() and (resolved == home.resolve() or resolved in home.resolve().parents):
        raise InstallError(f"'{source}' holds the home of hub itself ('{home}'). Give the module's own folder.")
    if not (source.is_dir() or source.is_file()):
        raise InstallError(f"'{source}' is neither a folder nor a file. Give the module's folder, or an archive of it ({FORMATS}).")
    return source


@contextmanager
def _staging(home: Path) -> Iterator[Path]:
    tmp = home / "tmp"
    tmp.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix="install-", dir=tmp))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _stage(staging: Path, source: Path, settings: InstallSettings, progress: Progress, *, follow_links: bool) -> tuple[Path, ModuleInfo]:
    """Bring the files in, and read what they say of themselves."""
    raw = staging / ".raw" / source.name  # some modules are called as their folder
    raw.mkdir(mode=0o755, parents=True)
    if source.is_dir():
        copy_folder(source, raw, settings, progress, follow_links=follow_links)
        found = raw
    else:
        found = unpack(source, raw, settings, progress)
    with _named_as(found, source):
        info = find_kind(found).describe(found)
    check_name(info.name)
    check_version(info.version)
    staged = staging / folder_name(info.name)  # modules may import themselves by this name
    found.rename(staged)
    return staged, info


def _lookup_base(staged: Path, source: Path, origin: Origin) -> Path | None:
    """The folder that relative model paths are looked up from, if there is one."""
    packed = packed_source(staged)
    if packed is None:
        return source if source.is_dir() and origin.is_local else None
    (staged / packed).mkdir(parents=True, exist_ok=True)  # a path that climbs out of it passes through it
    return staged / packed


def _place(home: Path, info: ModuleInfo, *, replace_flat: bool) -> Path:
    """Where the version goes, unless something else is there."""
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
        except HubError:  # a damaged version is replaced, not respected
            continue
    return names


def _check(
    staged: Path,
    info: ModuleInfo,
    home: Path,
    base: Path | None,
    came_from: Path | None,
    environment: str,
    settings: InstallSettings,
    progress: Progress,
) -> Checked:
    search_path = [base, base.parent] if base else []
    launched = launch(info, staged, home, environment)
    checked = Checked(home, info, environment, launched, staged, search_path)
    # files beside its folder may have changed
    is_alone = came_from is None or not imports_beside(staged, surroundings(came_from).folders)
    if not (is_alone and checked.knows(lambda: list_files(staged)[0].digest)):
        progress("importing it once, in a process of its own")
        name, timeout_s = folder_name(info.name), settings.check_timeout_s
        check_import(staged, name, info.kind, home=home, search_path=search_path, timeout_s=timeout_s, launched=launched, origin=came_from)
    return checked


@contextmanager
def _named_as(staged: Path, source: Path) -> Iterator[None]:
    """Errors name the files that the user gave and can mend, not their copies."""
    try:
        yield
    except HubError as error:
        error.args = (error.message.replace(str(staged), str(source)), *error.args[1:])
        error.detail = error.detail.replace(str(staged), str(source))
        raise


def _write_manifest(staged: Path, info: ModuleInfo, origin: Origin, base: Path | None, prepared: Prepared) -> Manifest:
    contents, digests = list_files(staged)
    write_file_list(staged, digests)
    manifest = Manifest(
        info=info,
        source=origin.shown,
        source_folder=str(base.relative_to(staged) if base and staged in base.parents else base or ""),
        import_folder=folder_name(info.name),
        installed_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        digest=contents.digest,
        files=contents.files,
        size_bytes=contents.size_bytes,
        environment=prepared.key,
        provenance=origin.provenance,
        chosen=prepared.chosen,
    )
    write_manifest(staged, manifest)
    return manifest

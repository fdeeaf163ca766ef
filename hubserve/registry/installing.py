"""The transaction behind ``hub install``: stage, verify, check, and only then put in place. Whoever calls holds the store's lock."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from hubserve.errors import HubError, InstallError, ModuleNotFound
from hubserve.kinds import ModuleInfo, find_kind
from hubserve.registry.archive import FORMATS, unpack
from hubserve.registry.check import check_import
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.contents import measure, sync_tree
from hubserve.registry.copying import copy_folder
from hubserve.registry.flat import is_flat, set_aside
from hubserve.registry.manifest import Manifest, read_manifest, write_manifest
from hubserve.registry.names import check_name, check_version, folder_name
from hubserve.registry.progress import Progress
from hubserve.registry.recovery import put_in_place


def install(
    home: Path, source: Path, settings: InstallSettings, progress: Progress, *, check: bool, replace_flat: bool = False
) -> tuple[Path, bool]:
    """Install one module.

    Args:
        home: the home that holds ``modules`` and ``tmp``.
        source: a folder or an archive.
        settings: what is accepted.
        progress: told how far it is.
        check: import the module once first.
        replace_flat: take the place of a module that PaddleHub itself installed.
    Returns:
        The version's folder, and whether it replaced the same version.
    Raises:
        HubError: the source is refused; the message says why. Nothing has changed.
        OSError: reading or writing failed. Nothing has changed.
    """
    source = _check_source(source, home)
    if source.is_dir():
        find_kind(source).describe(source)  # what is no module is refused before it is copied
    with _staging(home) as staging:
        staged, info = _stage(staging, source, settings, progress)
        version_folder = _place(home, info, replace_flat=replace_flat)
        if check:
            progress("importing it once, in a process of its own")
            _check(staged, info, source, home, timeout_s=settings.check_timeout_s)
        progress("writing to disk")
        _write_manifest(staged, info, source)
        sync_tree(staged)
        replaced = version_folder.exists()
        with set_aside(version_folder.parent):
            put_in_place(staged, version_folder)
    return version_folder, replaced


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


def _stage(staging: Path, source: Path, settings: InstallSettings, progress: Progress) -> tuple[Path, ModuleInfo]:
    """Bring the files in, and read what they say of themselves."""
    raw = staging / ".raw"
    raw.mkdir(mode=0o755)
    if source.is_dir():
        copy_folder(source, raw, settings, progress)
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


def _check(staged: Path, info: ModuleInfo, source: Path, home: Path, *, timeout_s: float) -> None:
    search_path = [source, source.parent] if source.is_dir() else []
    with _named_as(staged, source):
        check_import(staged, folder_name(info.name), info.kind, home=home, search_path=search_path, timeout_s=timeout_s)


@contextmanager
def _named_as(staged: Path, source: Path) -> Iterator[None]:
    """Errors name the files that the user gave and can mend, not their copies."""
    try:
        yield
    except HubError as error:
        error.args = (error.message.replace(str(staged), str(source)), *error.args[1:])
        error.detail = error.detail.replace(str(staged), str(source))
        raise


def _write_manifest(staged: Path, info: ModuleInfo, source: Path) -> None:
    contents = measure(staged)
    write_manifest(
        staged,
        Manifest(
            info=info,
            source=str(source),
            source_folder=str(source) if source.is_dir() else "",
            import_folder=folder_name(info.name),
            installed_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            digest=contents.digest,
            files=contents.files,
            size_bytes=contents.size_bytes,
        ),
    )

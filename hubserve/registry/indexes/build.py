"""Makes and changes an index in a folder of this machine; how it gets to a web server is its owner's affair."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from hubserve.errors import InstallError, ModuleNotFound
from hubserve.kinds import ModuleInfo, find_kind, module_folder
from hubserve.registry.archives.outside_files import Assets
from hubserve.registry.archives.packing import pack
from hubserve.registry.archives.unpacking import unpack
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.digests import digest_of, sync
from hubserve.registry.indexes.format import (
    ARCHIVES_FOLDER,
    INDEX_NAME,
    MODULES_FOLDER,
    SCHEMA_VERSION,
    IndexDocument,
    ModuleDocument,
    Release,
    Summary,
    encoded,
    module_path,
    read_module_document,
)
from hubserve.registry.indexes.select import Requirement, best
from hubserve.registry.indexes.signing import load_private, sign
from hubserve.registry.names import check_name, check_version, find_version, folder_name, version_key
from hubserve.registry.progress import Progress, silent

_SUFFIXES = (".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tar", ".zip")
_LOCK_NAME = ".hubserve.lock"


class Published(NamedTuple):
    """One version that was put into an index.

    Attributes:
        name: of the module.
        release: as the index has it now.
        added: False if the same archive was there already.
    """

    name: str
    release: Release
    added: bool


def build(folder: Path, settings: InstallSettings, progress: Progress = silent) -> dict[str, ModuleDocument]:
    """Make a folder of archives an index: read what each says of itself, without running it, and write the JSON.

    Signatures and withdrawals that are there stay, with the archives that they were made for. The documents are written one by one, the
    list of names last; if it fails before, they are as they were.

    Args:
        folder: holds the archives, at any depth.
        settings: how large a module may be.
        progress: told how far it is.
    Returns:
        The modules by name.
    Raises:
        HubError: an archive is none, or two are the same version; the message names it. Nothing was written.
    """
    folder = _existing(folder)
    with _changing(folder, settings):
        known = {each.sha256: (document.name, each) for document in _documents(folder).values() for each in document.versions}
        modules: dict[str, ModuleDocument] = {}
        for archive in sorted(_archives(folder)):
            relative = archive.relative_to(folder).as_posix()
            sha256 = digest_of(archive, progress)
            name, release = known.get(sha256) or _described(archive, sha256, settings, progress)
            _add(modules, name, msgspec.structs.replace(release, archive=relative), relative)
        _write(folder, modules)
    return modules


def publish(
    source: Path,
    folder: Path,
    settings: InstallSettings,
    progress: Progress = silent,
    *,
    key: Path | None = None,
    force: bool = False,
    assets: Assets | None = None,
) -> Published:
    """Put a module into an index: pack it if it is a folder, add the archive, write the JSON.

    Args:
        source: the module's folder, or an archive of it.
        folder: the index; made if it is missing.
        settings: how large a module may be.
        progress: told how far it is.
        key: a private key's file to sign with.
        force: replace another archive of the same version.
        assets: what a module's folder reads from outside of it, if that is to be packed with it.
    Raises:
        InstallError: the version is there with other content, and ``force`` is off. Nothing was written.
        HubError: the source is no module, or the key none.
    """
    private = load_private(key) if key else None
    folder = folder.expanduser().absolute()
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with _changing(folder, settings), _packed(source, folder, assets, progress) as archive:
        sha256 = digest_of(archive, progress)
        name, release = _described(archive, sha256, settings, progress)
        modules = _documents(folder)
        present = _present(modules, name, release)
        if present and present.sha256 != sha256 and not force:
            raise InstallError(
                f"{name} {release.version} is in '{folder}' already, with other content, and others may have installed it. Publish the "
                "change under another version, or replace it: --force"
            )
        added = present is None or present.sha256 != sha256
        if present and not added:
            release = present
        else:
            release = msgspec.structs.replace(release, archive=_place(archive, folder, name, release.version))
        if private:
            release = msgspec.structs.replace(release, signature=sign(private, name, release))
        _replace(modules, name, release, present)
        _write(folder, modules)
        if present and present.archive != release.archive:
            with suppress(OSError):
                (folder / present.archive).unlink()
    return Published(name, release, added)


def yank(folder: Path, requirement: Requirement, reason: str, settings: InstallSettings) -> Release:
    """Withdraw a version, or allow it again where ``reason`` is "": it is then chosen only by whoever names it.

    Raises:
        ModuleNotFound: the index does not have it.
    """
    folder = _existing(folder)
    with _changing(folder, settings):
        modules = _documents(folder)
        document = modules.get(folder_name(requirement.name))
        version = find_version(requirement.exact, [each.version for each in document.versions]) if document else None
        if document is None or version is None:
            raise ModuleNotFound(f"'{folder}' has no {requirement}. Name a version that it has: NAME==VERSION.")
        present = next(each for each in document.versions if each.version == version)
        release = msgspec.structs.replace(present, yanked=reason)
        _replace(modules, document.name, release, present)
        _write(folder, modules)
    return release


def _existing(folder: Path) -> Path:
    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise InstallError(f"there is no folder '{folder}'. Give the folder that holds the archives, or make it first.")
    return folder


@contextmanager
def _changing(folder: Path, settings: InstallSettings) -> Iterator[None]:
    """One change of an index at a time."""
    from filelock import FileLock, Timeout

    try:
        with _writing(folder), FileLock(folder / _LOCK_NAME, timeout=settings.lock_timeout_s):
            yield
    except Timeout:
        raise InstallError(
            f"another process has been changing '{folder}' for more than {settings.lock_timeout_s} s. Wait for it, or end it."
        ) from None


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, shutil.Error) as error:
        raise InstallError(f"cannot change the index '{folder}': {error}. Mend the cause, then run: hub index build {folder}") from error


def _archives(folder: Path) -> Iterator[Path]:
    for base, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        for each in files:
            if each.endswith(_SUFFIXES) and not each.startswith("."):
                yield Path(base, each)


def _documents(folder: Path) -> dict[str, ModuleDocument]:
    """What the index says now, by the names' folders."""
    found = {}
    for path in sorted((folder / MODULES_FOLDER).glob("*.json")):
        document = read_module_document(path.read_bytes(), path.stem, str(path))
        found[folder_name(document.name)] = document
    return found


def _described(archive: Path, sha256: str, settings: InstallSettings, progress: Progress) -> tuple[str, Release]:
    """What an archive says of itself; none of its code is run."""
    with tempfile.TemporaryDirectory(prefix="hubserve-index-") as scratch:
        root = unpack(archive, Path(scratch), settings, progress)
        try:
            info = find_kind(root).describe(root)
        except Exception as error:
            error.args = (str(error).replace(str(root), str(archive)), *error.args[1:])
            raise
        check_name(info.name)
        check_version(info.version)
        return info.name, Release(
            version=info.version,
            archive="",
            sha256=sha256,
            size_bytes=archive.stat().st_size,
            kind=info.kind,
            summary=info.summary,
            requires_python=_requires_python(info),
            requirements_sha256=_requirements_sha256(root),
        )


def _requires_python(info: ModuleInfo) -> str:
    value = getattr(info, "requires_python", "")
    return value if isinstance(value, str) else ""


def _requirements_sha256(root: Path) -> str:
    path = root / "requirements.txt"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""


@contextmanager
def _packed(source: Path, folder: Path, assets: Assets | None, progress: Progress) -> Iterator[Path]:
    source = module_folder(source.expanduser().absolute())
    if source.is_dir():
        with tempfile.TemporaryDirectory(prefix=".publish-", dir=folder) as scratch:
            yield pack(source, Path(scratch), progress, assets)
    elif source.is_file():
        yield source
    else:
        raise ModuleNotFound(f"there is no '{source}'. Give the module's folder, or an archive of it.")


def _present(modules: dict[str, ModuleDocument], name: str, release: Release) -> Release | None:
    document = modules.get(folder_name(name))
    if document is None:
        return None
    _check_same_name(document.name, name)
    return next((each for each in document.versions if each.version == release.version), None)


def _check_same_name(present: str, name: str) -> None:
    if present != name:
        raise InstallError(
            f"'{name}' and '{present}' would share one place in the index, because '-' and '_' are the same there. Rename one."
        )


def _place(archive: Path, folder: Path, name: str, version: str) -> str:
    """Put an archive into the index under a name that tells its content; an older one of the same version is not overwritten yet."""
    suffix = next((each for each in _SUFFIXES if archive.name.endswith(each)), ".tar")
    relative = f"{ARCHIVES_FOLDER}/{name}-{version}{suffix}"
    if (folder / relative).exists() and not (folder / relative).samefile(archive):
        relative = f"{ARCHIVES_FOLDER}/{name}-{version}-{digest_of(archive, silent)[:12]}{suffix}"
    target = folder / relative
    target.parent.mkdir(exist_ok=True)
    if target.exists() and target.samefile(archive):
        return relative
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.copyfile(archive, partial)
        sync(partial)
        os.replace(partial, target)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
    return relative


def _add(modules: dict[str, ModuleDocument], name: str, release: Release, relative: str) -> None:
    present = _present(modules, name, release)
    if present:
        raise InstallError(f"'{present.archive}' and '{relative}' are both {name} {release.version}. Remove one of them.")
    _replace(modules, name, release, None)


def _replace(modules: dict[str, ModuleDocument], name: str, release: Release, present: Release | None) -> None:
    document = modules.get(folder_name(name))
    others = [each for each in document.versions if each is not present] if document else []
    ordered = sorted([*others, release], key=lambda each: version_key(each.version))
    modules[folder_name(name)] = ModuleDocument(SCHEMA_VERSION, name, ordered)


def _write(folder: Path, modules: dict[str, ModuleDocument]) -> None:
    """Write every document that differs, the list of names last; then what is listed nowhere any more goes."""
    (folder / MODULES_FOLDER).mkdir(exist_ok=True)
    for document in modules.values():
        _write_file(folder / module_path(document.name), encoded(document))
    names = {document.name: _summary(document) for document in sorted(modules.values(), key=lambda each: each.name)}
    _write_file(folder / INDEX_NAME, encoded(IndexDocument(SCHEMA_VERSION, names)))
    for path in (folder / MODULES_FOLDER).glob("*.json"):
        if path.stem not in modules:
            path.unlink()


def _summary(document: ModuleDocument) -> Summary:
    latest = best(document.versions, Requirement(document.name, ""))
    return Summary(latest.version, latest.summary) if latest else Summary()


def _write_file(path: Path, content: bytes) -> None:
    with suppress(FileNotFoundError):
        if path.read_bytes() == content:
            return
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        sync(partial)
        os.replace(partial, path)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()

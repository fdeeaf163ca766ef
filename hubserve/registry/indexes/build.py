"""Build an index in a local folder, publish modules to it, and withdraw versions."""

import hashlib
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
from hubserve.registry.digests import digest_of
from hubserve.registry.indexes.format import SCHEMA_VERSION, ModuleDocument, Release
from hubserve.registry.indexes.index_folder import (
    add_archive,
    archives_in,
    existing_folder,
    locked,
    read_documents,
    write_documents,
    write_errors,
)
from hubserve.registry.indexes.keys import load_private
from hubserve.registry.indexes.select import Requirement
from hubserve.registry.indexes.signatures import sign
from hubserve.registry.names import check_name, check_version, find_version, folder_name, version_key
from hubserve.registry.progress import Progress, silent


class Published(NamedTuple):
    """A version that was published.

    Attributes:
        name: the module's name.
        release: as it is in the index now.
        added: False if the same archive was there already.
    """

    name: str
    release: Release
    added: bool


def build(folder: Path, settings: InstallSettings, progress: Progress = silent) -> dict[str, ModuleDocument]:
    """Turn a folder of archives into an index: read the metadata of each, without running its code, and write the JSON.

    Existing signatures and withdrawals stay with their archives. The documents are written one by one, the list of names last; nothing
    is written if it fails before that.

    Args:
        folder: holds the archives, at any depth.
        settings: limits the size of a module.
        progress: called as it proceeds.
    Returns:
        The modules by name.
    Raises:
        HubError: an archive is not a module, or two are the same version; the message names it. Nothing was written.
    """
    folder = existing_folder(folder)
    with locked(folder, settings):
        known = {each.sha256: (document.name, each) for document in read_documents(folder).values() for each in document.versions}
        modules: dict[str, ModuleDocument] = {}
        for archive in sorted(archives_in(folder)):
            relative = archive.relative_to(folder).as_posix()
            sha256 = digest_of(archive, progress)
            name, release = known.get(sha256) or _describe(archive, sha256, settings, progress)
            _add_new(modules, name, msgspec.structs.replace(release, archive=relative))
        write_documents(folder, modules)
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
    """Add a module to an index: pack it if it is a folder, copy the archive, write the JSON.

    Args:
        source: the module's folder, or an archive of it.
        folder: the index; created if it is missing.
        settings: limits the size of a module.
        progress: called as it proceeds.
        key: a private key's file to sign with.
        force: replace another archive of the same version.
        assets: files outside a module's folder to pack with it.
    Raises:
        InstallError: the version is there with other content, and ``force`` is off. Nothing was written.
        HubError: the source is not a module, or the key not a private key.
    """
    private = load_private(key) if key else None
    folder = folder.expanduser().absolute()
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, settings), _packed(source, folder, assets, progress) as archive:
        sha256 = digest_of(archive, progress)
        name, release = _describe(archive, sha256, settings, progress)
        modules = read_documents(folder)
        present = _find(modules, name, release.version)
        if present and present.sha256 != sha256 and not force:
            raise InstallError(
                f"{name} {release.version} is in '{folder}' already, with other content, and others may have installed it. Publish the "
                "change under another version, or replace it: --force"
            )
        added = present is None or present.sha256 != sha256
        if present and not added:
            release = present
        else:
            release = msgspec.structs.replace(release, archive=add_archive(archive, folder, name, release.version))
        if private:
            release = msgspec.structs.replace(release, signature=sign(private, name, release))
        _put(modules, name, release, present)
        write_documents(folder, modules)
        if present and present.archive != release.archive:
            with suppress(OSError):
                (folder / present.archive).unlink()
    return Published(name, release, added)


def yank(folder: Path, requirement: Requirement, reason: str, settings: InstallSettings) -> Release:
    """Withdraw a version, so that only ``NAME==VERSION`` finds it; or undo that where ``reason`` is "".

    Raises:
        ModuleNotFound: the index does not have it.
    """
    folder = existing_folder(folder)
    with locked(folder, settings):
        modules = read_documents(folder)
        document = modules.get(folder_name(requirement.name))
        version = find_version(requirement.exact, [each.version for each in document.versions]) if document else None
        if document is None or version is None:
            raise ModuleNotFound(f"'{folder}' has no {requirement}. Name a version that it has: NAME==VERSION.")
        present = next(each for each in document.versions if each.version == version)
        release = msgspec.structs.replace(present, yanked=reason)
        _put(modules, document.name, release, present)
        write_documents(folder, modules)
    return release


def _describe(archive: Path, sha256: str, settings: InstallSettings, progress: Progress) -> tuple[str, Release]:
    """Read the name and the release from an archive; none of its code is run."""
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


def _find(modules: dict[str, ModuleDocument], name: str, version: str) -> Release | None:
    """Return a version that the index has; refuse a name that shares its document with another module's."""
    document = modules.get(folder_name(name))
    if document is None:
        return None
    if document.name != name:
        raise InstallError(
            f"'{name}' and '{document.name}' would share one place in the index, because '-' and '_' are the same there. Rename one."
        )
    return next((each for each in document.versions if each.version == version), None)


def _add_new(modules: dict[str, ModuleDocument], name: str, release: Release) -> None:
    present = _find(modules, name, release.version)
    if present:
        raise InstallError(f"'{present.archive}' and '{release.archive}' are both {name} {release.version}. Remove one of them.")
    _put(modules, name, release, None)


def _put(modules: dict[str, ModuleDocument], name: str, release: Release, present: Release | None) -> None:
    """Add a release, or put it in place of ``present``."""
    document = modules.get(folder_name(name))
    others = [each for each in document.versions if each is not present] if document else []
    ordered = sorted([*others, release], key=lambda each: version_key(each.version))
    modules[folder_name(name)] = ModuleDocument(SCHEMA_VERSION, name, ordered)

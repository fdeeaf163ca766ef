"""An index in a local folder: its lock, its documents and its archives."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hubserve.errors import InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.digests import digest_of
from hubserve.registry.file_replacement import replacing
from hubserve.registry.indexes.format import (
    ARCHIVES_FOLDER,
    INDEX_NAME,
    MODULES_FOLDER,
    SCHEMA_VERSION,
    IndexDocument,
    ModuleDocument,
    Summary,
    encoded,
    module_path,
    read_module_document,
)
from hubserve.registry.indexes.select import Requirement, best
from hubserve.registry.names import folder_name
from hubserve.registry.progress import silent

_ARCHIVE_SUFFIXES = (".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tar", ".zip")
_LOCK_NAME = ".hubserve.lock"


def existing_folder(folder: Path) -> Path:
    """Return the absolute path of an index's folder.

    Raises:
        InstallError: it does not exist.
    """
    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise InstallError(f"there is no folder '{folder}'. Give the folder that holds the archives, or make it first.")
    return folder


@contextmanager
def locked(folder: Path, settings: InstallSettings) -> Iterator[None]:
    """Keep other processes from changing an index.

    Raises:
        InstallError: another process did not finish in time, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    try:
        with write_errors(folder), FileLock(folder / _LOCK_NAME, timeout=settings.lock_timeout_s):
            yield
    except Timeout:
        raise InstallError(
            f"another process has been changing '{folder}' for more than {settings.lock_timeout_s} s. Wait for it, or stop it."
        ) from None


@contextmanager
def write_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the file system into InstallError."""
    try:
        yield
    except (OSError, shutil.Error) as error:
        raise InstallError(f"cannot change the index '{folder}': {error}. Fix the problem, then run: hub index build {folder}") from error


def archives_in(folder: Path) -> Iterator[Path]:
    """Yield the archives at any depth; hidden files and folders are skipped."""
    for base, folders, files in os.walk(folder):
        folders[:] = [each for each in folders if not each.startswith(".")]
        for each in files:
            if each.endswith(_ARCHIVE_SUFFIXES) and not each.startswith("."):
                yield Path(base, each)


def read_documents(folder: Path) -> dict[str, ModuleDocument]:
    """Read the documents of all modules, by the folder names of the modules."""
    found = {}
    for path in sorted((folder / MODULES_FOLDER).glob("*.json")):
        document = read_module_document(path.read_bytes(), path.stem, str(path))
        found[folder_name(document.name)] = document
    return found


def write_documents(folder: Path, modules: dict[str, ModuleDocument]) -> None:
    """Write every document that changed, the list of names last; then delete the documents of modules that are gone."""
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
    with replacing(path) as partial:
        partial.write_bytes(content)


def add_archive(archive: Path, folder: Path, name: str, version: str) -> str:
    """Copy an archive into the index, and return its path there; another archive of the same version is not overwritten."""
    suffix = next((each for each in _ARCHIVE_SUFFIXES if archive.name.endswith(each)), ".tar")
    relative = f"{ARCHIVES_FOLDER}/{name}-{version}{suffix}"
    if (folder / relative).exists() and not (folder / relative).samefile(archive):
        relative = f"{ARCHIVES_FOLDER}/{name}-{version}-{digest_of(archive, silent)[:12]}{suffix}"
    target = folder / relative
    target.parent.mkdir(exist_ok=True)
    if not (target.exists() and target.samefile(archive)):
        with replacing(target) as partial:
            shutil.copyfile(archive, partial)
    return relative

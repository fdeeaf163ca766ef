"""Pack a module's folder into one archive. The same files always give the same bytes."""

import gzip
import io
import lzma
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from hubserve.errors import InstallError
from hubserve.kinds import ModuleInfo, find_kind, module_folder
from hubserve.paths import home
from hubserve.registry.archives.copying import Entry, list_folder, size_of
from hubserve.registry.archives.outside_files import FOLDER as ASSETS_FOLDER
from hubserve.registry.archives.outside_files import INDEX as ASSETS_INDEX
from hubserve.registry.archives.outside_files import Assets
from hubserve.registry.configuration import install_settings
from hubserve.registry.file_replacement import replacing
from hubserve.registry.names import check_name, check_version, folder_name
from hubserve.registry.progress import Progress, silent

#: allowed endings of an archive's name
SUFFIXES = (".tar.gz", ".tar.xz")


def pack(folder: Path, target: Path | None = None, progress: Progress = silent, assets: Assets | None = None) -> Path:
    """Pack a module's folder into an archive for ``hub install``; none of the module's code is run.

    Links inside the folder are packed as what they point to; ``__pycache__``, ``.git`` and the like are left out.

    Args:
        folder: the module's files.
        target: the archive, whose name ends in one of :data:`SUFFIXES`, or an existing folder to put ``NAME-VERSION.tar.gz`` into; the
            working directory where None. An existing archive is replaced once the new one is complete.
        progress: called as it proceeds.
        assets: files outside the module's folder to pack with it.
    Returns:
        The archive, absolute.
    Raises:
        LoadFailed: the folder is not a module.
        InstallError: a name, a link or the target is refused, or reading or writing failed; the message says why. Nothing was written.
    """
    folder = module_folder(folder.expanduser().absolute())
    info = find_kind(folder).describe(folder)
    check_name(info.name)
    check_version(info.version)
    archive = _archive_path(folder, target, info)
    entries = list_folder(folder, install_settings(home()))
    if assets and assets.files:
        entries += _entries_of(assets, {each.relative.parts[0] for each in entries}, folder)
    try:
        with replacing(archive) as partial, partial.open("wb") as file, _compressed(file, archive) as stream:
            _write(stream, folder_name(info.name), entries, assets.to_json_text() if assets and assets.files else "", progress)
    except (OSError, lzma.LZMAError) as error:
        raise InstallError(f"cannot pack '{folder}' into '{archive}': {error}. Fix the problem and pack it again.") from error
    return archive


def _entries_of(assets: Assets, names: set[str], folder: Path) -> list[Entry]:
    if ASSETS_FOLDER in names:
        raise InstallError(f"'{folder}' has a folder {ASSETS_FOLDER} already, so its assets cannot be packed into one. Rename it.")
    return [Entry(path, Path(ASSETS_FOLDER, packed), path.stat()) for path, packed in assets.files]


def _archive_path(folder: Path, target: Path | None, info: ModuleInfo) -> Path:
    target = Path.cwd() if target is None else target.expanduser().absolute()
    archive = target / f"{info.name}-{info.version}{SUFFIXES[0]}" if target.is_dir() else target
    if not archive.name.endswith(SUFFIXES):
        raise InstallError(f"'{archive}' cannot be the name of an archive that hub makes: it must end in {' or '.join(SUFFIXES)}.")
    if archive.is_dir() or not archive.parent.is_dir():
        why = "is a folder" if archive.is_dir() else "is in a folder that does not exist"
        raise InstallError(f"cannot write '{archive}': it {why}. Name another file, or make the folder first.")
    if folder.resolve() in archive.resolve().parents:
        raise InstallError(
            f"'{archive}' would be in the module's own folder, and be packed with it the next time. Name a file outside '{folder}'."
        )
    return archive


@contextmanager
def _compressed(file: IO[bytes], archive: Path) -> Iterator[IO[bytes]]:
    # Keep the archive's name and the time out of the bytes.
    if archive.name.endswith(".xz"):
        with lzma.LZMAFile(file, "wb", preset=6) as stream:
            yield cast(IO[bytes], stream)
    else:
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0) as stream:
            yield cast(IO[bytes], stream)


def _write(stream: IO[bytes], top: str, entries: list[Entry], assets_index: str, progress: Progress) -> None:
    total_bytes, done_bytes = size_of(entries), 0
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(_folder_header(top))
        if assets_index:
            index = tarfile.TarInfo(f"{top}/{ASSETS_FOLDER}/{ASSETS_INDEX}")
            index.size, index.mode = len(assets_index.encode()), 0o644
            tar.addfile(index, io.BytesIO(assets_index.encode()))
        for each in sorted(entries, key=lambda each: each.relative.parts):
            name = f"{top}/{each.relative.as_posix()}"
            if each.is_folder:
                tar.addfile(_folder_header(name))
                continue
            with each.path.open("rb") as file:
                tar.addfile(_file_header(name, os.fstat(file.fileno())), file)
            done_bytes += each.status.st_size
            progress("packing", done_bytes, total_bytes)


def _folder_header(name: str) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.type, header.mode = tarfile.DIRTYPE, 0o755
    return header


def _file_header(name: str, status: os.stat_result) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mode = status.st_size, 0o755 if status.st_mode & 0o100 else 0o644
    return header

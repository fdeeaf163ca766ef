"""Download an archive from an index, verified, without installing it."""

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError, InvalidInput
from hubserve.registry.digests import digest_of
from hubserve.registry.indexes.select import parse_requirement
from hubserve.registry.sources.base import Request
from hubserve.registry.sources.index import archive_of


class DownloadedArchive(NamedTuple):
    """A downloaded archive.

    Attributes:
        path: the file, absolute.
        name, version: of the module in it.
        size_bytes: its size.
        provenance: as in the manifest of an installed module.
    """

    path: Path
    name: str
    version: str
    size_bytes: int
    provenance: dict[str, str]


def download_archive(request: Request, folder: Path) -> DownloadedArchive:
    """Download the archive of a module into a folder.

    Args:
        request: names ``NAME``, ``NAME==VERSION`` or a range.
        folder: the target; created if it is missing.
    Raises:
        InvalidInput: the text is not such a name.
        InstallError: another file of that name exists.
        HubError: the archive cannot be fetched, or differs from its index.
    """
    requirement = parse_requirement(request.text)
    if requirement is None:
        raise InvalidInput(f"{request.text[:80]!a} is not a module's name: write NAME, NAME==VERSION or 'NAME>=1,<2'.")
    folder = folder.expanduser().absolute()
    with archive_of(requirement, request) as (chosen, archive, provenance):
        target = folder / Path(chosen.release.archive).name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if not (target.is_file() and digest_of(target, request.progress) == archive.sha256):
                _copy_new(archive.path, target)
        except OSError as error:
            raise InstallError(f"cannot write '{target}': {error}. Fix the problem, or name another folder: --output FOLDER") from error
        return DownloadedArchive(target, chosen.name, chosen.release.version, chosen.release.size_bytes, provenance)


def _copy_new(source: Path, target: Path) -> None:
    if os.path.lexists(target):
        raise InstallError(
            f"'{target}' exists already, with other content, and is not overwritten. Remove it, or name another folder: --output FOLDER"
        )
    partial = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        shutil.copyfile(source, partial)
        os.replace(partial, target)
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()

"""Bring the files of a module into a staging folder, and read what they say about themselves."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import HubError, InstallError, ModuleNotFound
from hubserve.kinds import ModuleInfo, find_kind
from hubserve.kinds.project_imports import surroundings
from hubserve.registry.archives.copying import copy_folder
from hubserve.registry.archives.outside_files import packed_source
from hubserve.registry.archives.unpacking import FORMATS, unpack
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.names import check_name, check_version, folder_name
from hubserve.registry.progress import Progress
from hubserve.registry.provenance import Origin


class Staged(NamedTuple):
    """A module whose files are in a staging folder.

    Attributes:
        folder: its files.
        info: its metadata.
        lookup_base: the folder from which relative model paths are looked up; None for none. It is the source if that is a folder of the
            user's, or the place inside ``folder`` that stands for it among packed assets.
        source_folder: ``lookup_base`` if it is a folder of this machine outside ``folder``; else None.
    """

    folder: Path
    info: ModuleInfo
    lookup_base: Path | None
    source_folder: Path | None

    @property
    def beside(self) -> tuple[Path, ...]:
        """Folders beside the source from which the module can import."""
        return surroundings(self.source_folder).folders if self.source_folder else ()


@contextmanager
def staged(home: Path, source: Path, origin: Origin, settings: InstallSettings, progress: Progress) -> Iterator[Staged]:
    """Copy or unpack a source into a folder below ``tmp`` of the home, which is deleted afterwards.

    Raises:
        HubError: the source is refused; the message names the file that the user gave.
        OSError: reading or writing failed.
    """
    tmp = home / "tmp"
    tmp.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix="install-", dir=tmp))
    try:
        folder, info = _bring_in(staging, source, settings, progress, follow_links=origin.is_local)
        base = _lookup_base(folder, source, origin)
        yield Staged(folder, info, base, base if base and folder not in base.parents else None)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_source(source: Path, home: Path) -> Path:
    """Return the absolute path of a source.

    Raises:
        ModuleNotFound: it does not exist.
        InstallError: it is neither a folder nor a file, or it holds the home.
    """
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
def errors_name_source(folder: Path, source: Path) -> Iterator[None]:
    """Replace the staging folder by the source in errors, so that they name the files that the user can change."""
    try:
        yield
    except HubError as error:
        error.args = (error.message.replace(str(folder), str(source)), *error.args[1:])
        error.detail = error.detail.replace(str(folder), str(source))
        raise


def _bring_in(staging: Path, source: Path, settings: InstallSettings, progress: Progress, *, follow_links: bool) -> tuple[Path, ModuleInfo]:
    raw = staging / ".raw" / source.name  # some modules take their name from their folder
    raw.mkdir(mode=0o755, parents=True)
    if source.is_dir():
        copy_folder(source, raw, settings, progress, follow_links=follow_links)
        found = raw
    else:
        found = unpack(source, raw, settings, progress)
    with errors_name_source(found, source):
        info = find_kind(found).describe(found)
    check_name(info.name)
    check_version(info.version)
    folder = staging / folder_name(info.name)  # modules may import themselves by this name
    found.rename(folder)
    return folder, info


def _lookup_base(folder: Path, source: Path, origin: Origin) -> Path | None:
    packed = packed_source(folder)
    if packed is None:
        return source if source.is_dir() and origin.is_local else None
    (folder / packed).mkdir(parents=True, exist_ok=True)  # a relative path that climbs out of it passes through it
    return folder / packed

"""A folder or an archive on this machine."""

from contextlib import contextmanager
from pathlib import Path

from hubserve.errors import InstallError, ModuleNotFound
from hubserve.kinds import module_folder
from hubserve.registry.archives.unpacking import FORMATS
from hubserve.registry.digests import check_digest, digest_of
from hubserve.registry.provenance import Origin
from hubserve.registry.sources.base import Fetched, Fetching, Request, Source, is_path, unsigned


class FolderSource(Source):
    """A module's folder."""

    name = "folder"

    def recognises(self, request: Request) -> bool:
        """Return True for an existing folder, or a module's main file in it."""
        return module_folder(local_path(request)).is_dir()

    @contextmanager
    def fetched(self, request: Request) -> Fetching:
        """Provide the folder itself."""
        if request.sha256:
            raise InstallError("a digest is of an archive, and a folder was given. Leave the digest out, or give the archive.")
        path = module_folder(local_path(request))
        yield Fetched(path, Origin(str(path), {"kind": self.name}))


class ArchiveSource(Source):
    """An archive; also everything that no other source recognises."""

    name = "archive"

    def recognises(self, request: Request) -> bool:  # noqa: ARG002 - it recognises everything
        """Return True: as the last source it reports what is wrong."""
        return True

    @contextmanager
    def fetched(self, request: Request) -> Fetching:
        """Provide the archive itself, with its digest."""
        path = local_path(request)
        if not path.exists():
            raise ModuleNotFound(_missing_text(request, path))
        if not path.is_file():
            raise InstallError(f"'{path}' is neither a folder nor a file. Give the module's folder, or an archive of it ({FORMATS}).")
        if path.suffix == ".py":
            raise InstallError(f"'{path}' is a single file of Python, and a module is a folder with a module.py. Give the folder.")
        if request.settings.require_signature:
            raise unsigned(f"'{path}'")
        sha256 = digest_of(path, request.progress)
        check_digest(str(path), sha256, request.sha256)
        yield Fetched(path, Origin(str(path), {"kind": self.name, "sha256": sha256}))


def local_path(request: Request) -> Path:
    """Return the path that a request names, absolute."""
    return Path(request.text).expanduser().absolute()


def _missing_text(request: Request, path: Path) -> str:
    if is_path(request.text):
        return f"there is no '{path}'. Give the module's folder, or an archive of it ({FORMATS})."
    return (
        f"there is no file or folder '{request.text}' here, and no index is configured to look such a name up in. Give the module's "
        f"folder, an archive of it ({FORMATS}), or add an index: hub index add URL_OR_FOLDER"
    )

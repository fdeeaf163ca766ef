"""Fetch the files of a remote folder over HTTP."""

import hashlib
from abc import abstractmethod
from pathlib import Path

from hubserve.errors import InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.digests import CHUNK_BYTES, check_digest
from hubserve.registry.downloads.http import Interrupted
from hubserve.registry.downloads.partial_file import PartialFile, Wanted
from hubserve.registry.progress import Progress
from hubserve.registry.remotes.base import Remote, RemoteFile


class HttpFiles(Remote):
    """A remote folder whose files each have an ``https://`` address."""

    _settings: InstallSettings

    @abstractmethod
    def wanted(self, file: RemoteFile) -> Wanted:
        """Return a file's address, and what is known of it."""

    def fetch(self, file: RemoteFile, folder: Path, progress: Progress) -> str:
        """See the base class."""
        wanted = self.wanted(file)._replace(promised_by="the listing")
        partial = PartialFile(folder, wanted, self._settings, progress)
        resumed = partial.size_bytes > 0
        sha256 = partial.complete()
        if not _is_right(partial.path, file, sha256) and resumed:  # the part from before may belong to another state
            partial.delete()
            sha256 = partial.complete()
        if _is_right(partial.path, file, sha256):
            return sha256
        size_bytes = partial.size_bytes
        partial.delete()
        shown = f"'{file.path}' of '{self.shown}'"
        check_digest(shown, sha256, file.sha256)
        if file.size_bytes not in (None, size_bytes):
            raise Interrupted(f"{shown} has {size_bytes} bytes, and {file.size_bytes} were listed: it has changed meanwhile. Try again.")
        raise InstallError(f"{shown} is refused: it has another content than git has recorded for it. Try again, or report it.")


def _is_right(path: Path, file: RemoteFile, sha256: str) -> bool:
    is_right = file.size_bytes in (None, path.stat().st_size) and file.sha256 in ("", sha256)
    return is_right and (not file.git_blob or git_blob(path) == file.git_blob)


def git_blob(path: Path) -> str:
    """Return git's digest of a file, 40 hexadecimal digits."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()

"""A folder in a bucket, or on an SSH server, by way of fsspec."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hubserve.errors import HubError, InstallError, MissingDependency
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.digests import digest_of, sync
from hubserve.registry.downloads.http import Interrupted
from hubserve.registry.progress import Progress
from hubserve.registry.remotes import extra_of
from hubserve.registry.remotes.base import Listing, Remote, RemoteFile, checked
from hubserve.registry.remotes.limits import within
from hubserve.registry.remotes.object_address import parse_location
from hubserve.registry.remotes.secrets import masked, quiet_loggers

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

T = TypeVar("T")
#: bytes of one request; each has to come within ``fetch_timeout_s``
_CHUNK_BYTES = 8 << 20
#: pauses between tries in a row that bring nothing
_PAUSES_S = (0.2, 1.0, 3.0)
#: a listing may take this many times ``fetch_timeout_s``
_LISTING_PATIENCE = 10
_DENIED = ("AccessDenied", "Forbidden", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoCredentialsError", "Permission", "Authentication")


class ObjectStore(Remote):
    """``s3://``, ``gs://``, ``oss://``, ``as://``, ``az://``, ``abfs://``, ``ssh://`` and ``sftp://``."""

    def __init__(self, text: str, settings: InstallSettings) -> None:
        self.shown, self._settings = text.rstrip("/"), settings
        self._location = parse_location(text, allow_http=settings.allow_http, timeout_s=settings.fetch_timeout_s)
        self._root = self._location.path
        self.name = self._root.rpartition("/")[2]

    def listing(self) -> Listing:
        """See the base class."""
        files = self._system()
        return self._guarded(_LISTING_PATIENCE * self._settings.fetch_timeout_s, lambda: self._list(files))

    def _list(self, files: "AbstractFileSystem") -> Listing:
        files.invalidate_cache()
        found = files.find(self._root, detail=True)
        if len(found) > self._settings.max_files:
            raise InstallError(f"'{self.shown}' is refused: it has more than {self._settings.max_files} files.")
        entries = [(self._relative(path), info) for path, info in found.items()]
        if not any(relative is not None for relative, _ in entries):
            if not any(path.strip("/") == self._root.strip("/") for path in found):
                self._check_place(files)
                return Listing([])
            # a listing may hold nothing but its name
            return Listing(checked([_file(self.name, files.info(self._root))], self.shown, self._settings), is_file=True)
        return Listing(checked(self._files(entries), self.shown, self._settings))

    def _check_place(self, files: "AbstractFileSystem") -> None:
        """Raise an error unless an empty listing means that the folder is empty: a library may also list nothing where it was refused."""
        if self._location.hides_refusals:
            raise InstallError(
                f"'{self.shown}' does not exist, holds no files, or is not given out. Check the address and the credentials."
            )
        has_folders = self._location.protocol == "ssh"  # buckets have none: there, the bucket itself has to answer
        files.ls(self._root if has_folders else self._root.partition("/")[0], detail=False)

    @staticmethod
    def _files(entries: list[tuple[str | None, dict[str, Any]]]) -> Iterator[RemoteFile]:
        for relative, info in entries:
            # buckets have empty objects in place of folders; links on an SSH server could lead anywhere
            if relative and not relative.endswith("/") and info.get("type") == "file":
                yield _file(relative, info)

    def _relative(self, path: str) -> str | None:
        root = self._root.strip("/") + "/"
        inner = path.lstrip("/")
        return inner[len(root) :] if inner.startswith(root) and inner != root else None

    def fetch(self, file: RemoteFile, folder: Path, progress: Progress) -> str:
        """See the base class."""
        files, target = self._system(), folder / "data"
        source = self._root if file.path == self.name and self._is_file(files) else f"{self._root}/{file.path}"
        total_bytes, fruitless = file.size_bytes or 0, 0
        target.touch()
        if target.stat().st_size > total_bytes:
            target.unlink()
            target.touch()
        while (done_bytes := target.stat().st_size) < total_bytes:
            try:
                self._fetch_chunk(files, source, target, done_bytes, total_bytes)
                fruitless = 0
                progress("fetching", target.stat().st_size, total_bytes)
            except Interrupted as error:
                fruitless += 1
                if fruitless > len(_PAUSES_S):
                    raise Interrupted(f"{error.message} {done_bytes} bytes are kept; the next try goes on from there.") from None
                time.sleep(_PAUSES_S[fruitless - 1])
        now = self._guarded(self._settings.fetch_timeout_s, lambda: _file(file.path, files.info(source, refresh=True)))
        if (now.size_bytes, now.marker) != (file.size_bytes, file.marker):
            target.unlink()
            raise Interrupted(f"'{file.path}' of '{self.shown}' has changed while it was fetched. Try again.")
        sync(target)
        return digest_of(target, progress)

    def _is_file(self, files: "AbstractFileSystem") -> bool:
        return self._guarded(self._settings.fetch_timeout_s, lambda: bool(files.isfile(self._root)))

    def _fetch_chunk(self, files: "AbstractFileSystem", source: str, target: Path, start: int, total_bytes: int) -> None:
        end = min(start + _CHUNK_BYTES, total_bytes)
        last = end - 1 if self._location.counts_last_byte else end
        chunk = self._guarded(self._settings.fetch_timeout_s, lambda: files.cat_file(source, start=start, end=last))
        if not chunk or len(chunk) > end - start:
            raise Interrupted(f"'{self.shown}' sent {len(chunk)} bytes where {end - start} were asked for. Try again.")
        with target.open("ab") as file:
            file.write(chunk)

    def _system(self) -> "AbstractFileSystem":
        location = self._location
        try:
            import fsspec

            quiet_loggers()
            # sshfs has neither the cache nor the option; ossfs reads each listing from its cache, which is emptied before
            caching = {} if location.protocol in ("ssh", "oss") else {"use_listings_cache": False}
            return fsspec.filesystem(location.protocol, **caching, **location.options, **location.credentials())
        except ImportError:
            raise MissingDependency(
                f"'{self.shown}' needs a package that is not installed: pip install 'hubserve[{extra_of(self.shown)}]'"
            ) from None
        except Exception as error:
            raise self._refused(error) from None

    def _guarded(self, seconds: float, call: Callable[[], T]) -> T:
        try:
            return within(seconds, self.shown, call)
        except HubError:
            raise
        except Exception as error:
            raise self._refused(error) from None

    def _refused(self, error: Exception) -> InstallError:
        reason = f"{type(error).__name__}: {masked(str(error))[:200]}"
        if isinstance(error, FileNotFoundError):
            return InstallError(f"'{self.shown}' does not exist ({reason}). Check the address.")
        if isinstance(error, PermissionError) or any(each in reason for each in _DENIED):
            return InstallError(f"'{self.shown}' is not given out ({reason}). Check the credentials in the environment.")
        return Interrupted(f"'{self.shown}' cannot be read ({reason}). Check the address and the network, then try again.")


def _file(path: str, info: dict[str, Any]) -> RemoteFile:
    marks = (info.get(each) for each in ("ETag", "etag", "generation", "md5Hash", "LastModified", "last_modified", "mtime", "updated"))
    marker = next((str(each) for each in marks if each), "")
    size = info.get("size", info.get("Size"))
    return RemoteFile(path, int(size or 0), marker)

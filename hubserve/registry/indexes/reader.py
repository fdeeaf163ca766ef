"""Read one index, local or remote."""

import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

from hubserve.errors import InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.downloads.addresses import check_address, without_secrets
from hubserve.registry.downloads.download import Downloaded, copied, downloaded
from hubserve.registry.downloads.http import get_small
from hubserve.registry.downloads.partial_file import Wanted
from hubserve.registry.indexes.format import (
    INDEX_NAME,
    MAX_INDEX_BYTES,
    MAX_MODULE_BYTES,
    ModuleDocument,
    Release,
    Summary,
    module_path,
    read_index_document,
    read_module_document,
)
from hubserve.registry.names import folder_name
from hubserve.registry.progress import Progress


class Index(ABC):
    """An index.

    Attributes:
        location: its address or folder, as it was given.
        shown: the same for messages, without credentials.
    """

    def __init__(self, location: str, shown: str) -> None:
        self.location, self.shown = location, shown
        self._names: dict[str, Summary] | None = None

    def names(self) -> dict[str, Summary]:
        """Return the entry of every module by its name; they are read once.

        Raises:
            HubError: the index cannot be read.
        """
        if self._names is None:
            body = self._read(INDEX_NAME, MAX_INDEX_BYTES)
            if body is None:
                raise InstallError(
                    f"'{self.shown}' is not an index: it has no {INDEX_NAME}. Check the address; 'hub index build DIR' turns a folder of "
                    "archives into one."
                )
            self._names = read_index_document(body, f"{self.shown}/{INDEX_NAME}").modules
        return self._names

    def find(self, name: str) -> ModuleDocument | None:
        """Return one module's document; None if the index does not have the module.

        Raises:
            HubError: the index cannot be read.
        """
        if folder_name(name) not in map(folder_name, self.names()):
            return None
        body = self._read(module_path(name), MAX_MODULE_BYTES)
        if body is None:
            raise InstallError(
                f"'{self.shown}' lists '{name}', and has no {module_path(name)}. Ask the index's owner to run: hub index build DIR"
            )
        return read_module_document(body, name, f"{self.shown}/{module_path(name)}")

    @abstractmethod
    def archive(
        self, release: Release, downloads: Path, settings: InstallSettings, progress: Progress
    ) -> AbstractContextManager[Downloaded]:
        """Provide a version's archive on this machine, with the size and digest given in the index."""

    @abstractmethod
    def _read(self, path: str, max_bytes: int) -> bytes | None:
        """Return a small document; None if it does not exist."""


class RemoteIndex(Index):
    """An index on a web server."""

    def __init__(self, location: str, settings: InstallSettings) -> None:
        check_address(location, allow_http=settings.allow_http)
        super().__init__(location, without_secrets(location).rstrip("/"))
        self._settings = settings

    def archive(
        self, release: Release, downloads: Path, settings: InstallSettings, progress: Progress
    ) -> AbstractContextManager[Downloaded]:
        """Download the archive, or the rest of it."""
        return downloaded(Wanted(self._url(release.archive), release.sha256, release.size_bytes), downloads, settings, progress)

    def _read(self, path: str, max_bytes: int) -> bytes | None:
        return get_small(self._url(path), self._settings, max_bytes)

    def _url(self, path: str) -> str:
        # The query is a bucket's token, and is sent with every request.
        parts = urlsplit(self.location)
        return parts._replace(path=parts.path.rstrip("/") + "/" + quote(path), fragment="").geturl()


class LocalIndex(Index):
    """An index in a local folder."""

    def __init__(self, location: str) -> None:
        self.folder = Path(location).expanduser().absolute()
        super().__init__(str(self.folder), str(self.folder))

    @contextmanager
    def archive(self, release: Release, downloads: Path, settings: InstallSettings, progress: Progress) -> Iterator[Downloaded]:
        """Copy the archive, because files in a shared folder may change while they are read."""
        path = self._path(release.archive)
        if not path.is_file():
            raise InstallError(f"'{self.shown}' lists {release.archive}, which does not exist. Run: hub index build {self.shown}")
        wanted = Wanted(str(path), release.sha256, release.size_bytes)
        with copied(path, wanted, downloads, settings, progress) as archive:
            yield archive

    def _read(self, path: str, max_bytes: int) -> bytes | None:
        file = self._path(path)
        try:
            status = file.stat()
            if not stat.S_ISREG(status.st_mode) or status.st_size > max_bytes:
                raise InstallError(
                    f"'{file}' is not a file, or over {max_bytes} bytes, so it cannot be part of an index. Check the folder."
                )
            return file.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise InstallError(f"cannot read '{file}': {error}. Fix the problem and try again.") from error

    def _path(self, relative: str) -> Path:
        path = self.folder / relative
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise InstallError(f"'{path}' leads outside the index, so it is not read. Put the file itself there.")
        return path


def open_index(location: str, settings: InstallSettings) -> Index:
    """Return the index at an address or in a folder; nothing is read yet.

    Raises:
        InstallError: the address is not allowed.
    """
    return RemoteIndex(location, settings) if "://" in location else LocalIndex(location)

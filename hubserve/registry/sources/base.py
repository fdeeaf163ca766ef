"""Base class of the kinds of sources, with their requests and results."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.progress import Progress, silent
from hubserve.registry.provenance import Origin


class Request(NamedTuple):
    """A source that a user wants to install.

    Attributes:
        text: as the user gave it.
        home: the home, which holds settings and partial downloads.
        settings: what is accepted.
        progress: called as it proceeds.
        sha256: 64 hexadecimal digits that the archive must have, or "".
        indexes: addresses and folders to look names up in; the configured ones where None.
        installed: returns the current version of a module; "" if unknown, or it is not installed.
        allow_downgrade: accept an older version than the installed one, or than a signed index had before.
        model_name, model_version: name and version for a model's own files; empty for the file's name and 1.0.0.
    """

    text: str
    home: Path
    settings: InstallSettings
    progress: Progress = silent
    sha256: str = ""
    indexes: Sequence[str] | None = None
    installed: Callable[[str], str] = lambda _: ""
    allow_downgrade: bool = False
    model_name: str = ""
    model_version: str = ""

    @property
    def downloads(self) -> Path:
        """Folder of downloads that are not installed yet."""
        return self.home / "cache" / "downloads"


class Fetched(NamedTuple):
    """A folder or archive that was fetched to this machine.

    Attributes:
        path: the folder or file.
        origin: where it came from.
    """

    path: Path
    origin: Origin


class Source(ABC):
    """A kind of source."""

    name: str

    @abstractmethod
    def recognises(self, request: Request) -> bool:
        """Return True if a request means a source of this kind."""

    @abstractmethod
    def fetched(self, request: Request) -> AbstractContextManager[Fetched]:
        """Fetch the source to this machine, for the duration of the context.

        Raises:
            HubError: it cannot be fetched, or is refused; the message says why.
        """


def is_path(text: str) -> bool:
    """Return True if a text can only mean a file or folder."""
    return os.sep in text or "/" in text or text in ("", ".", "..") or text.startswith("~")


def unsigned(what: str) -> InstallError:
    """Return the error for a source without a signature, where the settings require one."""
    return InstallError(
        f"{what} is refused: the setting install.require_signature is on, and only modules in an index can be signed. Publish it there "
        "('hub publish --key FILE'), install the unpacked folder, or run: hub config install.require_signature==false"
    )


#: return type of :meth:`Source.fetched` before it is decorated
Fetching = Iterator[Fetched]

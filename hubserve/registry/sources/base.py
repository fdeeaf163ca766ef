"""What every kind of source provides."""

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
    """What a user wants to have installed.

    Attributes:
        text: as it was typed.
        home: the home, which holds settings and half-done downloads.
        settings: what is accepted.
        progress: told how far it is.
        sha256: 64 hexadecimal digits that the archive must have, or "".
        indexes: addresses and folders to look names up in; those that are configured where None.
        installed: gives the version that a module's name means now; "" if that is not asked, or it is not installed.
        allow_downgrade: take an older version than the installed one, or than a signed index had before.
        model_name, model_version: what a model's own files are to be called; empty for the file's name and 1.0.0.
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
        """Where downloads are kept until they are installed."""
        return self.home / "cache" / "downloads"


class Fetched(NamedTuple):
    """A folder or archive on this machine.

    Attributes:
        path: it.
        origin: where it came from.
    """

    path: Path
    origin: Origin


class Source(ABC):
    """One kind of source."""

    name: str

    @abstractmethod
    def recognises(self, request: Request) -> bool:
        """Whether a request means a source of this kind."""

    @abstractmethod
    def fetched(self, request: Request) -> AbstractContextManager[Fetched]:
        """Have it on this machine, as long as the context lasts.

        Raises:
            HubError: it cannot be had, or is not what it should be; the message says why.
        """


def is_path(text: str) -> bool:
    """Whether a text can only mean a file or folder."""
    return os.sep in text or "/" in text or text in ("", ".", "..") or text.startswith("~")


def unsigned(what: str) -> InstallError:
    """The error for something that carries no signature, where the settings ask for one."""
    return InstallError(
        f"{what} is refused: the setting install.require_signature is on, and only what is in an index can be signed. Publish it there "
        "('hub publish --key FILE'), install the unpacked folder, or run: hub config install.require_signature==false"
    )


#: What a source's ``fetched`` yields, once.
Fetching = Iterator[Fetched]

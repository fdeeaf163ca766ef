"""Base class of the folders at other places."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.archives.extraction import safe_parts
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.progress import Progress


class RemoteFile(NamedTuple):
    """One file of a remote folder.

    Attributes:
        path: relative, with ``/``, and safe to be used on this machine.
        size_bytes: its size; None if unknown.
        marker: changes with the content: an ETag or a time; "" if the remote has none.
        sha256: 64 hexadecimal digits that it must have, or "".
        git_blob: 40 hexadecimal digits of git's digest that it must have, or "".
    """

    path: str
    size_bytes: int | None
    marker: str
    sha256: str = ""
    git_blob: str = ""


class Listing(NamedTuple):
    """The files of a remote folder at one moment.

    Attributes:
        files: ordered by path.
        revision: the commit that they belong to; "" where there is none.
        is_file: True if the address means one file, the only one listed.
    """

    files: Sequence[RemoteFile]
    revision: str = ""
    is_file: bool = False


class Remote(ABC):
    """A folder, or a file, at an address.

    Args:
        text: the address.
        settings: limit sizes, numbers and silence.

    Attributes:
        shown: the address without credentials, for people.
        name: a name for what is there: the last part of the address.
        inside: a file or folder in it that is meant; "" for all of it.
    """

    shown: str
    name: str
    inside: str = ""

    @abstractmethod
    def __init__(self, text: str, settings: InstallSettings) -> None: ...

    @abstractmethod
    def listing(self) -> Listing:
        """List all files below the address.

        Raises:
            HubError: it cannot be reached, is refused, or lists what cannot be accepted; the message is without credentials.
        """

    @abstractmethod
    def fetch(self, file: RemoteFile, folder: Path, progress: Progress) -> str:
        """Fetch a file, or the rest of it, to ``data`` in a folder of its own; after a failure the part stays there.

        Args:
            file: as :meth:`listing` returned it.
            folder: an existing folder, the same for every try.
            progress: called with the bytes of this file.
        Returns:
            Its SHA-256, 64 hexadecimal digits.
        Raises:
            HubError: it cannot be fetched, has changed meanwhile, or differs from the listing.
        """

    def provenance(self, listing: Listing) -> dict[str, str]:
        """Return what a manifest keeps of the origin."""
        found = {"kind": "remote", "url": self.shown, "commit": listing.revision}
        return {key: value for key, value in found.items() if value}


def checked(files: Iterable[RemoteFile], shown: str, settings: InstallSettings) -> list[RemoteFile]:
    """Return the files of a listing, ordered, with normalised paths.

    Raises:
        InstallError: a name is unsafe, two are equal, or there are too many files or bytes.
    """
    found: dict[str, RemoteFile] = {}
    folders: set[str] = set()
    size_bytes = 0
    for each in files:
        try:
            parts = safe_parts(each.path)
        except InstallError as error:
            raise InstallError(f"'{shown}' is refused: {error.message.partition(' is refused: ')[2] or error.message}") from None
        path = "/".join(parts)
        if not parts or path in found:
            raise InstallError(
                f"'{shown}' is refused: it lists {each.path[:120]!a}, which cannot be the name of a file, or is listed twice."
            )
        found[path] = each._replace(path=path)
        folders.update("/".join(parts[:count]) for count in range(1, len(parts)))
        size_bytes += each.size_bytes or 0
        if len(found) > settings.max_files:
            raise InstallError(f"'{shown}' is refused: it has more than {settings.max_files} files (hub config install.max_files==NUMBER).")
        if size_bytes > settings.max_bytes:
            raise InstallError(f"'{shown}' is refused: it has more than {settings.max_bytes} bytes (hub config install.max_bytes==NUMBER).")
    both = next((path for path in folders if path in found), "")
    if both:
        raise InstallError(f"'{shown}' is refused: {both[:120]!a} is a file and a folder there.")
    return [found[path] for path in sorted(found)]

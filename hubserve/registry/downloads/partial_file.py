"""A partly downloaded file: resume it by range requests until it is complete."""

import json
import re
import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hubserve.errors import HubError, InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.digests import digest_of, sync
from hubserve.registry.downloads.addresses import without_secrets
from hubserve.registry.downloads.http import MIN_PROGRESS_BYTES, Interrupted, NoAnswer, check_status, chunks, content_length, get
from hubserve.registry.progress import Progress

if TYPE_CHECKING:
    from requests import Response

#: pauses between tries in a row that bring nothing; after them it gives up
_PAUSES_S = (0.2, 1.0, 3.0)
#: most tries in all, however much each brings
_MAX_TRIES = 50
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
#: a date validates like a strong tag if the file cannot have changed again within the same second
_SETTLED_S = 60


class Wanted(NamedTuple):
    """A file to download.

    Attributes:
        url: its address.
        sha256: 64 hexadecimal digits that it must have, or "".
        size_bytes: its size, if known; a larger file is refused.
        bearer: a token for the address's own host, or "".
        promised_by: the source of ``size_bytes``, for errors.
    """

    url: str
    sha256: str = ""
    size_bytes: int | None = None
    bearer: str = ""
    promised_by: str = "its index"


def check_size(size_bytes: int, wanted: Wanted, settings: InstallSettings) -> None:
    """Refuse a file that is larger than announced, or than a module may be.

    Raises:
        InstallError: it is too large.
    """
    shown = without_secrets(wanted.url)
    if wanted.size_bytes is not None and size_bytes > wanted.size_bytes:
        raise InstallError(
            f"'{shown}' is refused: it is larger than the {wanted.size_bytes} bytes in {wanted.promised_by}. Report it to the owner."
        )
    if size_bytes > settings.max_bytes:
        raise InstallError(
            f"'{shown}' is refused: it is over the {settings.max_bytes} bytes that a module may have. If it is the right one, raise the "
            "limit: hub config install.max_bytes==NUMBER"
        )


class PartialFile:
    """The part of a file that was received so far, with the validator that its server sent.

    Args:
        folder: holds the part and its state, between processes, too.
        wanted: the file.
        settings: limit the size, and how long a server may be silent.
        progress: called as it proceeds.
    """

    def __init__(self, folder: Path, wanted: Wanted, settings: InstallSettings, progress: Progress) -> None:
        self.path = folder / "data"
        self._state = folder / "state.json"
        self._wanted, self._settings, self._progress = wanted, settings, progress
        self._shown = without_secrets(wanted.url)

    @property
    def size_bytes(self) -> int:
        """Bytes received so far."""
        with suppress(OSError):
            return self.path.stat().st_size
        return 0

    def delete(self) -> None:
        """Delete the part and its state."""
        for each in (self.path, self._state):
            with suppress(FileNotFoundError):
                each.unlink()

    def complete(self) -> str:
        """Fetch the rest, across any number of interruptions as long as each try brings something; return the SHA-256.

        Raises:
            InstallError: the file is refused, or cannot be written.
            Interrupted: several tries in a row brought nothing.
        """
        tries, fruitless, first = 0, 0, self.size_bytes
        while True:
            before = self.size_bytes
            try:
                self._guarded(self._fetch_rest)
                return digest_of(self.path, self._progress)
            except Interrupted as error:
                tries += 1
                fruitless = 0 if self.size_bytes >= before + MIN_PROGRESS_BYTES else fruitless + 1
                never_reached = isinstance(error, NoAnswer) and self.size_bytes == first
                if fruitless > len(_PAUSES_S) or tries >= _MAX_TRIES or never_reached:
                    raise Interrupted(error.message + self._kept_text()) from error
                self._progress("the connection was cut; going on")
                time.sleep(_PAUSES_S[max(0, fruitless - 1)])

    def _kept_text(self) -> str:
        return f" {self.size_bytes} bytes are kept; the next try goes on from there." if self.size_bytes else ""

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except HubError as error:
            if not isinstance(error, Interrupted):  # a refused file is not kept
                self.delete()
            raise
        except OSError as error:
            raise InstallError(f"cannot write '{self.path}': {error}. Fix the problem and try again.{self._kept_text()}") from error

    def _fetch_rest(self) -> None:
        validator = self._read_validator()
        if self.size_bytes and not validator:
            self.delete()
        headers = {"Range": f"bytes={self.size_bytes}-", "If-Range": validator} if self.size_bytes else {}
        with get(self._wanted.url, self._settings, headers, bearer=self._wanted.bearer) as response:
            if response.status_code == 416:
                total = _content_range(response)[1]
                if total != self.size_bytes:
                    self.delete()
                    raise self._changed()
                return
            check_status(response, self._wanted.url)
            if response.status_code == 206 and _validator_of(response) not in ("", validator):
                self.delete()  # some servers ignore If-Range
                raise self._changed()
            self._receive(response)

    def _changed(self) -> Interrupted:
        return Interrupted(f"'{self._shown}' has changed meanwhile. Try again.")

    def _receive(self, response: "Response") -> None:
        start, total = _content_range(response) if response.status_code == 206 else (0, content_length(response))
        if start != (self.size_bytes if response.status_code == 206 else 0):
            self.delete()
            raise Interrupted(f"'{self._shown}' sent another part than was asked for. Try again.")
        if total is not None:
            check_size(total, self._wanted, self._settings)
        self._state.write_text(json.dumps({"validator": _validator_of(response)}), "utf-8")
        done_bytes = start
        with self.path.open("r+b" if start else "wb") as file:
            file.seek(start)
            for chunk in chunks(response, self._settings, self._wanted.url):
                done_bytes += len(chunk)
                check_size(done_bytes, self._wanted, self._settings)
                file.write(chunk)
                file.flush()  # keeps the chunk if the process is killed
                self._progress("fetching", done_bytes, total or 0)
        sync(self.path)
        if total is not None and done_bytes < total:
            raise Interrupted(f"the connection to '{self._shown}' was cut after {done_bytes} of {total} bytes. Try again.")

    def _read_validator(self) -> str:
        with suppress(OSError, ValueError, AttributeError):
            return str(json.loads(self._state.read_text("utf-8")).get("validator") or "")
        return ""


def _content_range(response: "Response") -> tuple[int, int | None]:
    """Return where a part starts (-1 if unknown), and the size of the complete file."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if not match:
        return -1, None
    start, total = match.groups()
    return int(start or -1), None if total == "*" else int(total)


def _validator_of(response: "Response") -> str:
    """Return a validator for If-Range: a strong tag, or a date old enough to be strong; "" if there is none."""
    tag = response.headers.get("ETag", "")
    if tag.startswith('"'):
        return tag
    modified, date = response.headers.get("Last-Modified", ""), response.headers.get("Date", "")
    with suppress(TypeError, ValueError):
        if (parsedate_to_datetime(date) - parsedate_to_datetime(modified)).total_seconds() >= _SETTLED_S:
            return modified
    return ""

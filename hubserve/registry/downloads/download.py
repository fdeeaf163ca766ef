"""Downloads that go on where they stopped: in this process, in the next one, today or tomorrow."""

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hubserve.errors import HubError, InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.digests import check_digest, digest_of, sync
from hubserve.registry.downloads.addresses import without_secrets
from hubserve.registry.downloads.http import LEAST_BYTES, Interrupted, NoAnswer, check_status, chunks, content_length, get
from hubserve.registry.progress import Progress
from hubserve.registry.version_dirs import DirectoryLock

if TYPE_CHECKING:
    from requests import Response

#: tries in a row that bring nothing before it is given up, and the pauses between them
_PAUSES_S = (0.2, 1.0, 3.0)
#: however much each brings
_MAX_TRIES = 50
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")
#: A date is as good as a tag if nothing can have changed within its second.
_SETTLED_S = 60


class Wanted(NamedTuple):
    """What is to be downloaded.

    Attributes:
        url: where it is.
        sha256: 64 hexadecimal digits that it must have, or "".
        size_bytes: its size, where that is known; nothing else is accepted then.
    """

    url: str
    sha256: str = ""
    size_bytes: int | None = None


class Downloaded(NamedTuple):
    """A file that was downloaded.

    Attributes:
        path: where it is.
        sha256: its 64 hexadecimal digits.
    """

    path: Path
    sha256: str


@contextmanager
def downloaded(wanted: Wanted, folder: Path, settings: InstallSettings, progress: Progress) -> Iterator[Downloaded]:
    """Download a file, or what of it is missing, and keep it as long as the context lasts; it stays for the next time if that fails.

    Args:
        wanted: what.
        folder: where downloads are kept, each in a folder of its own. Another process that wants the same waits.
        settings: how large it may be, and how long a server may be silent.
        progress: told how far it is.
    Raises:
        InstallError: the server refuses, or what came is too large or has another digest.
        Interrupted: the connection failed several times in a row; what came is kept.
    """
    with _kept(folder, wanted.url + "\n" + wanted.sha256, settings, progress, resumable=True) as own:
        partial = _Partial(own, wanted, settings, progress)
        resumed = partial.size_bytes > 0
        sha256 = partial.complete()
        if resumed and wanted.sha256 not in ("", sha256):  # what was there before may have been another file's beginning
            partial.forget()
            sha256 = partial.complete()
        if wanted.sha256 not in ("", sha256):
            partial.forget()
        check_digest(f"'{without_secrets(wanted.url)}'", sha256, wanted.sha256)
        yield Downloaded(partial.path, sha256)


@contextmanager
def copied(source: Path, wanted: Wanted, folder: Path, settings: InstallSettings, progress: Progress) -> Iterator[Downloaded]:
    """The same for a file on this machine that others may change: what is verified is a copy.

    Raises:
        InstallError: it cannot be read, is too large, or has another digest.
    """
    with _kept(folder, wanted.url + "\n" + wanted.sha256, settings, progress, resumable=False) as own:
        path, digest, done_bytes = own / "data", hashlib.sha256(), 0
        limit = _Limit(wanted, settings)
        try:
            with source.open("rb") as reader, path.open("wb") as writer:
                total_bytes = os.fstat(reader.fileno()).st_size
                while chunk := reader.read(1 << 20):
                    done_bytes += len(chunk)
                    limit.check(done_bytes)
                    digest.update(chunk)
                    writer.write(chunk)
                    progress("fetching", done_bytes, total_bytes)
        except OSError as error:
            raise InstallError(f"cannot fetch '{source}': {error}. Mend the cause and try again.") from error
        check_digest(f"'{source}'", digest.hexdigest(), wanted.sha256)
        yield Downloaded(path, digest.hexdigest())


@contextmanager
def _kept(folder: Path, key: str, settings: InstallSettings, progress: Progress, *, resumable: bool) -> Iterator[Path]:
    """A folder for one download, this process's alone; gone after success, and after a failure too where it cannot go on from there."""
    from filelock import FileLock, Timeout

    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress("waiting for another process that fetches the same")
            lock.acquire(timeout=settings.lock_timeout_s, poll_interval=0.05)
        own = folder / name
        own.mkdir(exist_ok=True)
        hold = DirectoryLock(own)
    except Timeout:
        raise InstallError(
            f"another hub process has been fetching the same for more than {settings.lock_timeout_s} s. Wait for it, or end it, and "
            "try again."
        ) from None
    except OSError as error:
        raise InstallError(f"cannot write '{folder}': {error}. Mend the cause and try again.") from error
    try:
        yield own
        shutil.rmtree(own, ignore_errors=True)
    except BaseException:
        if not resumable:
            shutil.rmtree(own, ignore_errors=True)
        raise
    finally:
        hold.release()
        lock.release()


class _Limit:
    def __init__(self, wanted: Wanted, settings: InstallSettings) -> None:
        self._wanted, self._max_bytes = wanted, settings.max_bytes

    def check(self, size_bytes: int) -> None:
        shown = without_secrets(self._wanted.url)
        if self._wanted.size_bytes is not None and size_bytes > self._wanted.size_bytes:
            raise InstallError(
                f"'{shown}' is refused: it is larger than the {self._wanted.size_bytes} bytes that its index says it has. "
                "Tell the index's owner."
            )
        if size_bytes > self._max_bytes:
            raise InstallError(
                f"'{shown}' is refused: it is over the {self._max_bytes} bytes that a module may have. If it is the right one, raise the "
                "limit: hub config install.max_bytes==NUMBER"
            )


class _Partial:
    """The beginning of a file, and what its server said to know it again by."""

    def __init__(self, folder: Path, wanted: Wanted, settings: InstallSettings, progress: Progress) -> None:
        self.path = folder / "data"
        self._state = folder / "state.json"
        self._wanted, self._settings, self._progress = wanted, settings, progress
        self._limit = _Limit(wanted, settings)

    @property
    def size_bytes(self) -> int:
        with suppress(OSError):
            return self.path.stat().st_size
        return 0

    def forget(self) -> None:
        for each in (self.path, self._state):
            with suppress(FileNotFoundError):
                each.unlink()

    def complete(self) -> str:
        """Fetch what is missing, however often the connection is cut, as long as each try brings something; returns the SHA-256."""
        tries, fruitless, first = 0, 0, self.size_bytes
        while True:
            before = self.size_bytes
            try:
                self._guarded(self._go_on)
                return digest_of(self.path, self._progress)
            except Interrupted as error:
                tries += 1
                fruitless = 0 if self.size_bytes >= before + LEAST_BYTES else fruitless + 1
                never_reached = isinstance(error, NoAnswer) and self.size_bytes == first
                if fruitless > len(_PAUSES_S) or tries >= _MAX_TRIES or never_reached:
                    raise Interrupted(error.message + self._how_far()) from error
                self._progress("the connection was cut; going on")
                time.sleep(_PAUSES_S[max(0, fruitless - 1)])

    def _how_far(self) -> str:
        return f" {self.size_bytes} bytes are kept; the next try goes on from there." if self.size_bytes else ""

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except HubError as error:
            if not isinstance(error, Interrupted):  # what was refused is not kept
                self.forget()
            raise
        except OSError as error:
            raise InstallError(f"cannot write '{self.path}': {error}. Mend the cause and try again.{self._how_far()}") from error

    def _go_on(self) -> None:
        validator = self._validator()
        if self.size_bytes and not validator:
            self.forget()
        headers = {"Range": f"bytes={self.size_bytes}-", "If-Range": validator} if self.size_bytes else {}
        with get(self._wanted.url, self._settings, headers) as response:
            if response.status_code == 416:
                total = _content_range(response)[1]
                if total != self.size_bytes:
                    self.forget()
                    raise self._changed()
                return
            check_status(response, self._wanted.url)
            if response.status_code == 206 and _validator_of(response) not in ("", validator):
                self.forget()  # some servers do not look at If-Range
                raise self._changed()
            self._receive(response)

    def _changed(self) -> Interrupted:
        return Interrupted(f"'{without_secrets(self._wanted.url)}' has changed meanwhile. Try again.")

    def _receive(self, response: "Response") -> None:
        start, total = _content_range(response) if response.status_code == 206 else (0, content_length(response))
        if start != (self.size_bytes if response.status_code == 206 else 0):
            self.forget()
            raise Interrupted(f"'{without_secrets(self._wanted.url)}' sent another part than was asked for. Try again.")
        if total is not None:
            self._limit.check(total)
        self._state.write_text(json.dumps({"validator": _validator_of(response)}), "utf-8")
        done_bytes = start
        with self.path.open("r+b" if start else "wb") as file:
            file.seek(start)
            for chunk in chunks(response, self._settings, self._wanted.url):
                done_bytes += len(chunk)
                self._limit.check(done_bytes)
                file.write(chunk)
                file.flush()  # a process that is killed keeps what it has
                self._progress("fetching", done_bytes, total or 0)
        sync(self.path)
        if total is not None and done_bytes < total:
            raise Interrupted(
                f"the connection to '{without_secrets(self._wanted.url)}' was cut after {done_bytes} of {total} bytes. Try again."
            )

    def _validator(self) -> str:
        with suppress(OSError, ValueError, AttributeError):
            return str(json.loads(self._state.read_text("utf-8")).get("validator") or "")
        return ""


def _content_range(response: "Response") -> tuple[int, int | None]:
    """Where a part starts (-1 if nobody knows), and how large the whole is."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if not match:
        return -1, None
    start, total = match.groups()
    return int(start or -1), None if total == "*" else int(total)


def _validator_of(response: "Response") -> str:
    """What If-Range may carry: a strong tag, or a date that is strong because it lay back some time already."""
    tag = response.headers.get("ETag", "")
    if tag.startswith('"'):
        return tag
    modified, date = response.headers.get("Last-Modified", ""), response.headers.get("Date", "")
    with suppress(TypeError, ValueError):
        if (parsedate_to_datetime(date) - parsedate_to_datetime(modified)).total_seconds() >= _SETTLED_S:
            return modified
    return ""

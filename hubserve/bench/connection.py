"""HTTP/1.1 connection that sends the same bytes repeatedly and reads responses with as little work as is correct."""

import asyncio
import json
import re
import time
from typing import NamedTuple, Protocol

_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
_MAX_HEAD_BYTES = 64 << 10
#: how the server begins the answer to a request that succeeded
_GOOD_START = b'{"status":"000"'
_SHOWN_CHARACTERS = 300


class Failure(NamedTuple):
    """Reason why a request failed.

    Attributes:
        status: what kind of failure, short: ``"HTTP 429, status 101"``, ``"connection"``, ``"timeout"``.
        text: the server's or the system's own words.
    """

    status: str
    text: str


class Owner(Protocol):
    """Receiver of a connection's events."""

    def connected(self, connection: "Connection") -> None:
        """Handle an opened connection."""

    def answered(self, connection: "Connection", ended: float, failure: Failure | None) -> None:
        """Handle a response that was complete at ``ended``, on the clock of ``time.monotonic``."""

    def lost(self, connection: "Connection", failure: Failure) -> None:
        """Handle a closed connection; ``connection.busy`` says whether a request was unanswered."""


class Connection(asyncio.Protocol):
    """Connection of a load generator; see the module's docstring.

    Attributes:
        busy: whether a request is unanswered.
        intended: the scheduled time of that request, on the clock of ``time.monotonic``.
        sent: when it was sent.
    """

    def __init__(self, owner: Owner, request: bytes) -> None:
        self.busy = False
        self.intended = self.sent = 0.0
        self._owner = owner
        self._request = request
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._body_start = self._end = 0  # of the answer that is being read; an end of 0: its head is not complete
        self._why = Failure("connection", "the server closed the connection before it answered")

    def send(self, intended: float) -> None:
        """Send the request; the connection must not be busy."""
        self.intended, self.sent, self.busy = intended, time.monotonic(), True
        if self._transport:
            self._transport.write(self._request)

    def close(self, why: Failure | None = None) -> None:
        """Close at once; an unanswered request fails with the given reason."""
        self._why = why or self._why
        if self._transport:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's is one in all but its bases
        self._owner.connected(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._received += data
        if not self._end and not self._read_head():
            return
        if len(self._received) >= self._end:
            self._finish(time.monotonic())

    def _read_head(self) -> bool:
        """Find the end of the response; return False while it is unknown."""
        head_end = self._received.find(_HEAD_END)
        if head_end < 0:
            if len(self._received) > _MAX_HEAD_BYTES:
                self.close(Failure("protocol", "the response's head is too long: not a hub server"))
            return False
        length = _CONTENT_LENGTH.search(self._received, 0, head_end + 2)
        if not length or not self._received.startswith(b"HTTP/1.") or not self.busy:
            self.close(Failure("protocol", f"no answer with a length: {_shown(self._received)}"))
            return False
        self._body_start = head_end + len(_HEAD_END)
        self._end = self._body_start + int(length[1])
        return True

    def _finish(self, ended: float) -> None:
        good = self._received[9:12] == b"200" and self._received.startswith(_GOOD_START, self._body_start)
        failure = None if good else _failure(int(self._received[9:12]), bytes(self._received[self._body_start : self._end]))
        self._received.clear()
        self._end = 0
        self.busy = False
        self._owner.answered(self, ended, failure)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._transport = None
        self._owner.lost(self, Failure("connection", str(exc)) if exc else self._why)


def _failure(http_status: int, body: bytes) -> Failure:
    try:
        answer = json.loads(body)
        return Failure(f"HTTP {http_status}, status {answer['status']}", str(answer["msg"])[:_SHOWN_CHARACTERS])
    except (ValueError, KeyError, TypeError):
        return Failure(f"HTTP {http_status}", _shown(body))


def _shown(data: bytes | bytearray) -> str:
    return bytes(data[:_SHOWN_CHARACTERS]).decode("utf-8", "replace").strip() or "nothing"

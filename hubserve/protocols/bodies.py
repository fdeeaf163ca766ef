"""Reads a request's body: once, bounded in size and time."""

import asyncio
import time
from types import TracebackType

from starlette.types import Scope

from hubserve.errors import HubError, TooLarge
from hubserve.protocols.admission import Ticket
from hubserve.protocols.base import ClientGone, header
from hubserve.serving.sweeper import Sweeper
from hubserve.settings import ServerSettings

#: a body over the limit is read and thrown away up to this many times the limit, so that its sender sees the answer and no reset
_DISCARD_FACTOR = 4
_SMALL_BODY_BYTES = 64 << 10
#: a client that sends less than this holds a connection and memory for nothing
_SLOWEST_BYTES_PER_S = 4096


class TooSlow(HubError):
    """The client did not send its request in time."""

    code = "too_slow"


async def read_body(scope: Scope, settings: ServerSettings, ticket: Ticket) -> memoryview:
    """The whole request body.

    Raises:
        TooLarge: it is longer than ``max_body_bytes``.
        Unavailable: the server has no memory for it now.
        TooSlow: it came too slowly.
        ClientGone: the client left before it was complete.
    """
    limit = settings.max_body_bytes
    exchange = scope["extensions"]["hubserve"]
    content = exchange.take_body()
    if content is not None:
        if len(content) > limit:
            raise _too_large(limit)
        ticket.reserve(len(content))
        return memoryview(content)
    announced = header(scope, b"content-length")
    length = int(announced) if announced.isdigit() else None
    if length is not None and length > limit and header(scope, b"expect").lower() == "100-continue":
        raise _too_large(limit)  # the client waits for leave to send
    if length is not None:
        ticket.reserve(min(length, limit))
    body = _Body(length, limit, ticket)
    with _Patience(settings.client_timeout_s, body, ticket.sweeper, exchange.task):
        if not await exchange.read_into(body):
            raise ClientGone("the client closed the connection before its request was complete")
    if body.size_bytes > limit:
        raise _too_large(limit)
    return body.content()


class _Body:
    """A body that grows: in one place if its length was announced, so that nothing is copied twice."""

    def __init__(self, announced_bytes: int | None, max_body_bytes: int, ticket: Ticket) -> None:
        self.size_bytes = 0
        self._max_body_bytes = max_body_bytes
        self._ticket = ticket
        self._chunks: list[bytes] = []
        fits = announced_bytes is not None and _SMALL_BODY_BYTES < announced_bytes <= max_body_bytes
        self._whole = memoryview(bytearray(announced_bytes or 0)) if fits else None

    def add(self, chunk: bytes) -> None:
        """Append what came; more than the limit is only counted, and far more is not read.

        Raises:
            TooLarge: there is no end to it.
            Unavailable: the server has no memory for it now.
        """
        start = self.size_bytes
        self.size_bytes += len(chunk)
        if self.size_bytes > self._max_body_bytes * _DISCARD_FACTOR:
            raise _too_large(self._max_body_bytes)
        self._ticket.reserve(min(self.size_bytes, self._max_body_bytes))
        if self._whole is not None:
            self._whole[start : self.size_bytes] = chunk
        elif self.size_bytes <= self._max_body_bytes:
            self._chunks.append(chunk)
        else:
            self._chunks.clear()

    def room(self) -> memoryview | None:
        """Where the rest may be put without a detour; None where it is to be added in parts."""
        return None if self._whole is None else self._whole[self.size_bytes :]

    def filled(self, count: int) -> None:
        """So many bytes have been put where :meth:`room` said; they were reserved when their number was announced."""
        self.size_bytes += count

    def content(self) -> memoryview:
        """All of it, a view of bytes or a bytearray."""
        if self._whole is not None:
            return self._whole
        return memoryview(self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks))


class _Patience:
    """Ends the wait for a body whose sender is too slow.

    Attributes:
        due: when it is; see :class:`hubserve.serving.sweeper.Sweeper`.
    """

    def __init__(self, timeout_s: float, body: _Body, sweeper: Sweeper, task: "asyncio.Task[None] | None") -> None:
        self.start = time.monotonic()
        self.due = self.start + timeout_s
        self._timeout_s = timeout_s
        self._body = body
        self._sweeper = sweeper
        self._task = task
        self._over = False

    def on_due(self) -> None:
        """The time is up, unless it came fast enough."""
        self.due = self.start + self._timeout_s + self._body.size_bytes / _SLOWEST_BYTES_PER_S
        if self.due <= time.monotonic() and self._task:
            self._over = True
            self._task.cancel()

    def __enter__(self) -> None:
        self._sweeper.add(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._sweeper.discard(self)
        if self._over and isinstance(error, asyncio.CancelledError):
            raise TooSlow(
                f"only {self._body.size_bytes} bytes of the request's body came in {time.monotonic() - self.start:.0f} s; "
                "send it faster or raise 'client_timeout_s'"
            ) from None


def _too_large(max_body_bytes: int) -> TooLarge:
    return TooLarge(
        f"the request body is over this server's limit of {max_body_bytes} bytes; send fewer items at once or raise 'max_body_bytes'"
    )

"""Reads a request's body: once, bounded in size and time."""

import asyncio
import ctypes
import time
from types import TracebackType

from starlette.types import Scope

from hubserve.errors import HubError, TooLarge, Unavailable
from hubserve.net.admission import SMALL_BYTES, Admission, Pace
from hubserve.net.asgi import ClientGone
from hubserve.net.deadline_monitor import DeadlineMonitor
from hubserve.net.headers import header
from hubserve.settings import ServerSettings

#: a body over the limit is read and thrown away up to this many times the limit, so that its sender sees the answer and no reset
_DISCARD_FACTOR = 4

#: makes a bytearray without initialising it: memory that is never written costs nothing
_unset_bytearray = ctypes.pythonapi.PyByteArray_FromStringAndSize
_unset_bytearray.argtypes, _unset_bytearray.restype = (ctypes.c_char_p, ctypes.c_ssize_t), ctypes.py_object


class TooSlow(HubError):
    """The client did not send its request in time."""

    code = "too_slow"


async def read_body(scope: Scope, settings: ServerSettings, ticket: Admission) -> memoryview:
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
    announced = exchange.announced_bytes
    if announced > limit:
        if header(scope, b"expect").lower() == "100-continue":
            raise _too_large(limit)  # the client waits for "100 Continue" before it sends
    else:
        ticket.check_room(announced)
    body = _Body(announced, limit, ticket)
    try:
        with _Patience(settings.client_timeout_s, body, ticket.deadlines, exchange.task):
            if not await exchange.read_into(body):
                raise ClientGone("the client closed the connection before its request was complete")
        if body.size_bytes > limit:
            raise _too_large(limit)
        return body.content()
    finally:  # the frames of an error may be kept for longer than its answer takes
        body.drop()


class _Body:
    """A body that grows: in one place if its length was announced, so that nothing is copied twice.

    The buffer has the announced length from the beginning, but only the bytes received take memory, and only they are accounted for.

    Args:
        announced_bytes: its length; 0 if it is not known.
        max_body_bytes: the most that is kept.
        ticket: accounts for the bytes received.
    Raises:
        Unavailable: the server does not have enough memory for it at all.
    """

    def __init__(self, announced_bytes: int, max_body_bytes: int, ticket: Admission) -> None:
        self.size_bytes = 0
        self._max_body_bytes = max_body_bytes
        self._ticket = ticket
        self._grown = bytearray()
        self._whole: memoryview | None = None
        if SMALL_BYTES < announced_bytes <= max_body_bytes:
            try:
                self._whole = memoryview(_unset_bytearray(None, announced_bytes))
            except MemoryError:
                raise Unavailable(f"the server has no memory for a body of {announced_bytes} bytes now; try again later") from None

    def add(self, chunk: bytes) -> None:
        """Append what came; more than the limit is only counted, and far more is not read.

        Raises:
            TooLarge: there is no end to it.
            Unavailable: the server has no memory for it now.
        """
        start = self.size_bytes
        self.size_bytes += len(chunk)
        if self.size_bytes > self._max_body_bytes:
            self._grown = bytearray()
            if self.size_bytes > self._max_body_bytes * _DISCARD_FACTOR:
                raise _too_large(self._max_body_bytes)
            return
        self._ticket.reserve(self.size_bytes)
        if self._whole is not None:
            self._whole[start : self.size_bytes] = chunk
        else:
            self._grown += chunk

    def room(self) -> memoryview | None:
        """Where the rest may be put without a detour; None where it is to be added in parts."""
        return None if self._whole is None else self._whole[self.size_bytes :]

    def filled(self, count: int) -> None:
        """Account for ``count`` bytes written to the buffer that :meth:`room` returned.

        Raises:
            Unavailable: the server does not have enough memory for them now.
        """
        self.size_bytes += count
        self._ticket.reserve(self.size_bytes)

    def content(self) -> memoryview:
        """Return the whole body, a view of a bytearray."""
        return memoryview(self._grown) if self._whole is None else self._whole

    def drop(self) -> None:
        """Keep nothing of it."""
        self._whole, self._grown = None, bytearray()


class _Patience:
    """Ends the wait for a body whose sender is too slow.

    Attributes:
        due: when it is; see :class:`hubserve.net.deadline_monitor.DeadlineMonitor`.
    """

    def __init__(self, timeout_s: float, body: _Body, deadlines: DeadlineMonitor, task: "asyncio.Task[None] | None") -> None:
        self._pace = Pace(timeout_s)
        self.due = self._pace.due
        self._body = body
        self._deadlines = deadlines
        self._task = task
        self._over = False

    def on_timeout(self) -> None:
        """The time is up, unless it came fast enough."""
        if self._pace.is_kept(self._body.size_bytes):
            self.due = self._pace.due
        elif self._task:
            self._over = True
            self._task.cancel()

    def __enter__(self) -> None:
        self._deadlines.add(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._deadlines.discard(self)
        if self._over and isinstance(error, asyncio.CancelledError):
            raise TooSlow(
                f"only {self._body.size_bytes} bytes of the request's body came in {time.monotonic() - self._pace.start:.0f} s; "
                "send it faster or raise 'client_timeout_s'"
            ) from None


def _too_large(max_body_bytes: int) -> TooLarge:
    return TooLarge(
        f"the request body is over this server's limit of {max_body_bytes} bytes; send fewer items at once or raise 'max_body_bytes'"
    )

"""Read a request's body, limited in size and time."""

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

#: a body over the limit is read and discarded up to this many times the limit, so that its sender gets the response instead of a reset
_DISCARD_FACTOR = 4

#: make a bytearray without initialising it: memory that is never written costs nothing
_unset_bytearray = ctypes.pythonapi.PyByteArray_FromStringAndSize
_unset_bytearray.argtypes, _unset_bytearray.restype = (ctypes.c_char_p, ctypes.c_ssize_t), ctypes.py_object


class TooSlow(HubError):
    """The client sent its request too slowly."""

    code = "too_slow"


async def read_body(scope: Scope, settings: ServerSettings, admission: Admission) -> memoryview:
    """Read the whole request body.

    Args:
        scope: ASGI's, from a connection of :mod:`hubserve.net.http1`.
        settings: the server's.
        admission: the request's; accounts for the body.

    Raises:
        TooLarge: it is longer than ``max_body_bytes``.
        Unavailable: the server has no memory for it now.
        TooSlow: it arrived too slowly.
        ClientGone: the client disconnected before it was complete.
    """
    limit = settings.max_body_bytes
    cycle = scope["extensions"]["hubserve"]
    content = cycle.buffered_body()
    if content is not None:
        if len(content) > limit:
            raise _too_large(limit)
        admission.reserve(len(content))
        return memoryview(content)
    announced = cycle.announced_bytes
    if announced > limit:
        if header(scope, b"expect").lower() == "100-continue":
            raise _too_large(limit)  # the client waits for "100 Continue" before it sends
    else:
        admission.check_room(announced)
    body = _Body(announced, limit, admission)
    try:
        with _PaceLimit(settings.client_timeout_s, body, admission.deadlines, cycle.task):
            if not await cycle.read_into(body):
                raise ClientGone("the client closed the connection before its request was complete")
        if body.size_bytes > limit:
            raise _too_large(limit)
        return body.content()
    finally:  # the frames of an error may be kept for longer than its answer takes
        body.drop()


class _Body:
    """Receiver of a body: in one buffer if its length was announced, so that nothing is copied twice.

    The buffer has the announced length from the beginning, but only the bytes received take memory, and only they are accounted for.

    Args:
        announced_bytes: its length; 0 if it is not known.
        max_body_bytes: the most bytes that are kept.
        admission: accounts for the bytes received.
    Raises:
        Unavailable: the server has no memory for it now.
    """

    def __init__(self, announced_bytes: int, max_body_bytes: int, admission: Admission) -> None:
        self.size_bytes = 0
        self._max_body_bytes = max_body_bytes
        self._admission = admission
        self._parts = bytearray()
        self._buffer: memoryview | None = None
        if SMALL_BYTES < announced_bytes <= max_body_bytes:
            try:
                self._buffer = memoryview(_unset_bytearray(None, announced_bytes))
            except MemoryError:
                raise Unavailable(f"the server has no memory for a body of {announced_bytes} bytes now; try again later") from None

    def feed(self, data: bytes) -> None:
        """Receive a part; beyond the limit it is only counted, and far beyond it refused.

        Raises:
            TooLarge: the body is far beyond the limit.
            Unavailable: the server has no memory for it now.
        """
        start = self.size_bytes
        self.size_bytes += len(data)
        if self.size_bytes > self._max_body_bytes:
            self._parts = bytearray()
            if self.size_bytes > self._max_body_bytes * _DISCARD_FACTOR:
                raise _too_large(self._max_body_bytes)
            return
        self._admission.reserve(self.size_bytes)
        if self._buffer is not None:
            self._buffer[start : self.size_bytes] = data
        else:
            self._parts += data

    def receive_buffer(self) -> memoryview | None:
        """Return the buffer for the rest of the body; None if parts are passed to :meth:`feed`."""
        return None if self._buffer is None else self._buffer[self.size_bytes :]

    def buffer_filled(self, count: int) -> None:
        """Receive ``count`` bytes that were read into :meth:`receive_buffer`.

        Raises:
            Unavailable: the server has no memory for them now.
        """
        self.size_bytes += count
        self._admission.reserve(self.size_bytes)

    def content(self) -> memoryview:
        """Return the whole body, a view of a bytearray."""
        return memoryview(self._parts) if self._buffer is None else self._buffer

    def drop(self) -> None:
        """Free the memory."""
        self._buffer, self._parts = None, bytearray()


class _PaceLimit:
    """Deadline of a body, which cancels the wait for a sender that is too slow.

    Attributes:
        due: when to check the pace; see :class:`hubserve.net.deadline_monitor.DeadlineMonitor`.
    """

    def __init__(self, timeout_s: float, body: _Body, deadlines: DeadlineMonitor, task: "asyncio.Task[None] | None") -> None:
        self._pace = Pace(timeout_s)
        self.due = self._pace.due
        self._body = body
        self._deadlines = deadlines
        self._task = task
        self._timed_out = False

    def on_timeout(self) -> None:
        """Cancel the wait unless the body arrives fast enough."""
        if self._pace.is_kept(self._body.size_bytes):
            self.due = self._pace.due
        elif self._task:
            self._timed_out = True
            self._task.cancel()

    def __enter__(self) -> None:
        self._deadlines.add(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._deadlines.discard(self)
        if self._timed_out and isinstance(error, asyncio.CancelledError):
            raise TooSlow(
                f"only {self._body.size_bytes} bytes of the request's body came in {time.monotonic() - self._pace.start:.0f} s; "
                "send it faster or raise 'client_timeout_s'"
            ) from None


def _too_large(max_body_bytes: int) -> TooLarge:
    return TooLarge(
        f"the request body is over this server's limit of {max_body_bytes} bytes; send fewer items at once or raise 'max_body_bytes'"
    )

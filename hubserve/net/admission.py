"""Limit what all requests together may take of the gateway: their number, and the memory for their bodies and responses.

HTTP/1.1 and gRPC share one :class:`AdmissionControl`. Bytes are counted when they arrive, not when they are announced:

- **A body.** Call :meth:`AdmissionControl.hold` for each part received, with what is held of that body already. Up to
  :data:`SMALL_BYTES` of a body are counted but never refused, so that others' large bodies cannot keep a client out. If a large length
  is announced, call :meth:`AdmissionControl.check_room` first: what cannot fit now is refused before it is sent. Call
  :meth:`AdmissionControl.release` once the bytes are accounted for elsewhere (an :class:`Admission`) or dropped.
- **A request in progress** has an :class:`Admission` from :meth:`AdmissionControl.admit`, which counts its body until its ``with`` block
  ends.
- **A response.** Before its first byte is sent, call :meth:`Admission.check_answer` (or :meth:`AdmissionControl.check_answer`): a large
  response is refused if others hold all memory; otherwise requests of a few bytes could fill the memory with responses that are never
  read. Then the transport calls :meth:`AdmissionControl.hold_answer` with the length of a large response, and
  :meth:`AdmissionControl.release` once it is written to the socket, or the stream or connection has ended. Responses of up to
  :data:`SMALL_BYTES` need not be counted: the write buffer of a connection limits what it may have of those.
- **A slow client**, in either direction, is detected by a :class:`Pace`.
"""

import time
from types import TracebackType
from typing import Protocol

from hubserve.errors import Unavailable
from hubserve.net.deadline_monitor import DeadlineMonitor

#: bodies and responses up to this size are never refused because of others' bytes
SMALL_BYTES = 64 << 10
#: a client that sends a body or reads a response more slowly than this holds memory for nothing
SLOWEST_BYTES_PER_S = 4096
_WATCH_EVERY_S = 0.25


class MemoryBudget(Protocol):
    """Memory for bodies and responses, as connections use it; methods raise if there is not enough: :class:`AdmissionControl`."""

    def hold(self, count: int, held: int = 0) -> None:
        """Account for bytes that were received of a body which holds others already."""

    def check_room(self, count: int) -> None:
        """Check whether ``count`` bytes more would fit now."""

    def check_answer(self, count: int, held: int = 0) -> None:
        """Check whether a response of this length may be kept until its client has read it."""

    def hold_answer(self, count: int) -> None:
        """Account for a response that is not sent yet."""

    def release(self, count: int) -> None:
        """Release bytes that were held."""


class AdmissionControl:
    """Counter of requests in progress, and of the bytes of their bodies and responses.

    Args:
        max_requests: how many there may be at once.
        max_bytes: how many bytes they may have together.

    Attributes:
        requests: in progress.
        bytes: held now. Small bodies and responses are counted, too, so that it can be a little over ``max_bytes``.
        deadlines: watches the deadlines of requests.
    """

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self.max_requests = max_requests
        self.max_bytes = max_bytes
        self.requests = 0
        self.bytes = 0
        self.deadlines = DeadlineMonitor(_WATCH_EVERY_S)

    def admit(self) -> "Admission":
        """Admit one request, until the ``with`` block of its admission ends.

        Raises:
            Unavailable: there are too many.
        """
        if self.requests >= self.max_requests:
            raise Unavailable(f"the server has {self.requests} requests in progress, which is its limit (max_concurrency); try again later")
        return Admission(self)

    def hold(self, count: int, held: int = 0) -> None:
        """Account for received bytes.

        Args:
            count: bytes received.
            held: bytes of the same body that are accounted for already.
        Raises:
            Unavailable: the body is large and the server has no memory for more of it; nothing is counted then.
        """
        if held + count > SMALL_BYTES:
            self.check_room(count)
        self.bytes += count

    def check_room(self, count: int) -> None:
        """Check whether ``count`` bytes more would fit now; count nothing.

        Raises:
            Unavailable: they would not.
        """
        if self.bytes + count > self.max_bytes:
            raise Unavailable(
                f"the server holds {self.bytes} bytes of requests and answers and has no room for {count} more (max_pending_bytes); "
                "try again later"
            )

    def release(self, count: int) -> None:
        """Release bytes that were held."""
        self.bytes -= count

    def check_answer(self, count: int, held: int = 0) -> None:
        """Check whether a response may be kept until its client has read it; count nothing.

        While others leave some memory, a response is accepted whatever its length, as its length is the model's choice.

        Args:
            count: its length.
            held: bytes that its own request holds.
        Raises:
            Unavailable: it is large, and others hold all memory.
        """
        if count > SMALL_BYTES and self.bytes - held >= self.max_bytes:
            raise Unavailable(
                f"the server holds {self.bytes - held} bytes of other requests and answers and has no room for "
                f"this answer of {count} bytes (max_pending_bytes); try again later"
            )

    def hold_answer(self, count: int) -> None:
        """Account for a response that is not written yet. It is never refused, but keeps other large bodies and responses out."""
        self.bytes += count


class Admission:
    """Admission of one request.

    Attributes:
        deadlines: watches the deadlines of requests.
    """

    def __init__(self, control: AdmissionControl) -> None:
        self.deadlines = control.deadlines
        self._control = control
        self._bytes = 0

    def __enter__(self) -> "Admission":
        self._control.requests += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._control.requests -= 1
        self._control.bytes -= self._bytes

    def reserve(self, count: int) -> None:
        """Account for ``count`` bytes in all, if they are more than before.

        Raises:
            Unavailable: they are more than :data:`SMALL_BYTES`, and the server has no memory for them now.
        """
        more = count - self._bytes
        if more <= 0:
            return
        self._control.hold(more, self._bytes)
        self._bytes = count

    def reserve_more(self, count: int) -> None:
        """Account for ``count`` bytes besides those before.

        Raises:
            Unavailable: they are more than :data:`SMALL_BYTES` together, and the server has no memory for them now.
        """
        self.reserve(self._bytes + count)

    def check_room(self, count: int) -> None:
        """Check whether a body of an announced length would fit now; count nothing.

        Raises:
            Unavailable: it is large, and would not.
        """
        if count > SMALL_BYTES:
            self._control.check_room(count - self._bytes)

    def check_answer(self, count: int) -> None:
        """Check whether the response may be kept until its client has read it: :meth:`AdmissionControl.check_answer`.

        Raises:
            Unavailable: it is large, and others hold all memory.
        """
        self._control.check_answer(count, self._bytes)


class Pace:
    """Check whether a client moves enough bytes, sending a body or reading a response: :data:`SLOWEST_BYTES_PER_S` in each period.

    A caller keeps one while it waits for the client, checks it when :attr:`due` has passed, and ends the wait if the pace is not kept.
    Bytes moved quickly before a period do not make up for those not moved within it.

    Args:
        period_s: length of a period: ``client_timeout_s``.

    Attributes:
        start: when the wait began, on the clock of ``time.monotonic``.
        due: when the period ends.
    """

    __slots__ = ("_moved_bytes", "_period_s", "due", "start")

    def __init__(self, period_s: float) -> None:
        self.start = time.monotonic()
        self.due = self.start + period_s
        self._period_s = period_s
        self._moved_bytes = 0

    def is_kept(self, moved_bytes: int) -> bool:
        """Check the pace at the end of a period; the next period begins if it was kept.

        Args:
            moved_bytes: bytes moved since the wait began.
        """
        now = time.monotonic()
        if now < self.due:
            return True
        if moved_bytes - self._moved_bytes < SLOWEST_BYTES_PER_S * self._period_s:
            return False
        self.due, self._moved_bytes = now + self._period_s, moved_bytes
        return True

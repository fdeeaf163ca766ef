"""Bound what all requests together may take of the gateway: their number, and the bytes of their bodies and answers in memory.

HTTP/1.1 and gRPC share one :class:`Admission`. Bytes are counted when they are there, not when they are announced:

- **A body that arrives.** Call :meth:`Admission.hold` for each part that came, with what is held of that body already. Up to
  :data:`SMALL_BYTES` of a body are counted but never refused, so that others' large bodies cannot keep a client out. If the length of a
  large body is announced, ask :meth:`Admission.check_room` for it first: what cannot fit now is refused before it is sent. Give the
  bytes back with :meth:`Admission.release` once they are accounted for elsewhere (a :class:`Ticket`) or dropped.
- **A request in progress** has a :class:`Ticket` from :meth:`Admission.admit`, which counts its body until its ``with`` block ends.
- **An answer.** Before its first byte is sent, ask :meth:`Ticket.check_answer` (or :meth:`Admission.check_answer`): a large answer is
  refused if others hold all there is; otherwise requests of a few bytes could fill the memory with answers that are never read. Then the
  transport calls :meth:`Admission.hold_answer` with the whole length of a large answer, and :meth:`Admission.release` once it has been
  written to the socket, or the stream or connection has ended. Answers of up to :data:`SMALL_BYTES` need not be counted: what a
  connection may have of those unwritten is bounded by its write buffer.
- **A slow client**, in either direction, is watched by a :class:`Pace`.
"""

import time
from types import TracebackType

from hubserve.errors import Unavailable
from hubserve.net.deadline_monitor import DeadlineMonitor

#: bodies and answers up to this are never refused because of others' bytes
SMALL_BYTES = 64 << 10
#: a client that sends a body or takes an answer more slowly than this holds memory for nothing
SLOWEST_BYTES_PER_S = 4096
_SWEEP_EVERY_S = 0.25


class Admission:
    """Counts requests in progress and the bytes of their bodies and answers.

    Args:
        max_requests: how many there may be at once.
        max_bytes: how many bytes they may have together.

    Attributes:
        requests: in progress.
        bytes: held now. Small bodies and answers are counted, too, so that it can be a little over ``max_bytes``.
        deadlines: looks after what may become due.
    """

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self.max_requests = max_requests
        self.max_bytes = max_bytes
        self.requests = 0
        self.bytes = 0
        self.deadlines = DeadlineMonitor(_SWEEP_EVERY_S)

    def admit(self) -> "Ticket":
        """Take in one request, until the ticket's ``with`` block ends.

        Raises:
            Unavailable: there are too many.
        """
        if self.requests >= self.max_requests:
            raise Unavailable(f"the server has {self.requests} requests in progress, which is its limit (max_concurrency); try again later")
        return Ticket(self)

    def hold(self, count: int, held: int = 0) -> None:
        """Account for bytes that came.

        Args:
            count: how many came.
            held: how many bytes of the same body are accounted for already.
        Raises:
            Unavailable: the body is large and the server has no room for more of it; nothing is counted then.
        """
        if held + count > SMALL_BYTES:
            self.check_room(count)
        self.bytes += count

    def check_room(self, count: int) -> None:
        """Check whether that many bytes more would fit now; nothing is counted.

        Raises:
            Unavailable: they would not.
        """
        if self.bytes + count > self.max_bytes:
            raise Unavailable(
                f"the server holds {self.bytes} bytes of requests and answers and has no room for {count} more (max_pending_bytes); "
                "try again later"
            )

    def release(self, count: int) -> None:
        """Give back bytes that were held."""
        self.bytes -= count

    def check_answer(self, count: int, held: int = 0) -> None:
        """Check whether an answer may be kept until its client has taken it; nothing is counted.

        While others leave some room, an answer is accepted whatever its length, as its length is the model's choice.

        Args:
            count: its length.
            held: bytes that its own request holds.
        Raises:
            Unavailable: it is large, and others hold all bytes that there are.
        """
        if count > SMALL_BYTES and self.bytes - held >= self.max_bytes:
            raise Unavailable(
                f"the server holds {self.bytes - held} bytes of other requests and answers and has no room for "
                f"this answer of {count} bytes (max_pending_bytes); try again later"
            )

    def hold_answer(self, count: int) -> None:
        """Account for an answer that is not written yet. It is never refused, but keeps other large bodies and answers out."""
        self.bytes += count


class Ticket:
    """One admitted request.

    Attributes:
        deadlines: ends what takes its sender too long.
    """

    def __init__(self, admission: Admission) -> None:
        self.deadlines = admission.deadlines
        self._admission = admission
        self._bytes = 0

    def __enter__(self) -> "Ticket":
        self._admission.requests += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._admission.requests -= 1
        self._admission.bytes -= self._bytes

    def reserve(self, count: int) -> None:
        """Account for so many bytes in all, if they are more than before.

        Raises:
            Unavailable: they are more than :data:`SMALL_BYTES`, and the server does not have enough memory for them now.
        """
        more = count - self._bytes
        if more <= 0:
            return
        self._admission.hold(more, self._bytes)
        self._bytes = count

    def reserve_more(self, count: int) -> None:
        """Account for so many bytes besides those before.

        Raises:
            Unavailable: they are more than :data:`SMALL_BYTES` together, and the server does not have enough memory for them now.
        """
        self.reserve(self._bytes + count)

    def check_room(self, count: int) -> None:
        """Check whether a body of an announced length would fit now; nothing is counted.

        Raises:
            Unavailable: it is large, and would not.
        """
        if count > SMALL_BYTES:
            self._admission.check_room(count - self._bytes)

    def check_answer(self, count: int) -> None:
        """Check whether the answer may be kept until its client has taken it: :meth:`Admission.check_answer`.

        Raises:
            Unavailable: it is large, and others hold all bytes that there are.
        """
        self._admission.check_answer(count, self._bytes)


class Pace:
    """Check whether a client moves enough bytes, sending a body or taking an answer: :data:`SLOWEST_BYTES_PER_S` in each period.

    A caller keeps one for as long as it waits for the client, looks when :attr:`due` has passed, and ends the wait if the pace is
    not kept. What was moved quickly before a period does not make up for what is not moved within it.

    Args:
        period_s: how long a period is: ``client_timeout_s``.

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
        """Look at the end of a period; the next one begins if enough was moved.

        Args:
            moved_bytes: how much has been moved since the wait began.
        """
        now = time.monotonic()
        if now < self.due:
            return True
        if moved_bytes - self._moved_bytes < SLOWEST_BYTES_PER_S * self._period_s:
            return False
        self.due, self._moved_bytes = now + self._period_s, moved_bytes
        return True

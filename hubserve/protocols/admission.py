"""Bounds what all requests together may take of the gateway."""

from types import TracebackType

from hubserve.errors import Unavailable
from hubserve.serving.sweeper import Sweeper

_SWEEP_EVERY_S = 0.25


class Admission:
    """Counts requests in progress and the bytes of their bodies.

    Args:
        max_requests: how many there may be at once.
        max_bytes: how many bytes their bodies may have together.
    """

    def __init__(self, max_requests: int, max_bytes: int) -> None:
        self.max_requests = max_requests
        self.max_bytes = max_bytes
        self.requests = 0
        self.bytes = 0
        self.sweeper = Sweeper(_SWEEP_EVERY_S)

    def admit(self) -> "Ticket":
        """Take in one request, until the ticket's ``with`` block ends.

        Raises:
            Unavailable: there are too many.
        """
        if self.requests >= self.max_requests:
            raise Unavailable(f"the server has {self.requests} requests in progress, which is its limit (max_concurrency); try again later")
        return Ticket(self)

    def hold(self, count: int) -> None:
        """Account for so many bytes of a request that is not complete.

        Raises:
            Unavailable: the server has no room for them now.
        """
        if self.bytes + count > self.max_bytes:
            raise Unavailable(
                f"the server holds {self.bytes} bytes of requests and has no room for {count} more (max_pending_bytes); try again later"
            )
        self.bytes += count

    def release(self, count: int) -> None:
        """They need no room any more."""
        self.bytes -= count


class Ticket:
    """One admitted request.

    Attributes:
        sweeper: ends what takes its sender too long.
    """

    def __init__(self, admission: Admission) -> None:
        self.sweeper = admission.sweeper
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
            Unavailable: the server has no room for them now.
        """
        more = count - self._bytes
        if more <= 0:
            return
        self._admission.hold(more)
        self._bytes = count

    def reserve_more(self, count: int) -> None:
        """Account for so many bytes besides those before.

        Raises:
            Unavailable: the server has no room for them now.
        """
        self.reserve(self._bytes + count)

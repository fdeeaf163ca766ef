"""Track responses that one client has not read: count their bytes, and cut off a client that reads too slowly."""

import fcntl
import struct
import termios
from typing import Any

from hubserve.net.admission import MemoryBudget, Pace
from hubserve.net.deadline_monitor import DeadlineMonitor


class UnsentResponses:
    """Bytes that a connection still has to write, and the pace of its client.

    Args:
        budget: counts the bytes.
        deadlines: watches :attr:`due`.
        timeout_s: the length of a period of the client's pace.

    Attributes:
        due: when to check the client's pace; 0 while it keeps up. See :class:`hubserve.net.deadline_monitor.DeadlineMonitor`.
    """

    __slots__ = ("_budget", "_deadlines", "_held_bytes", "_left_bytes", "_pace", "_timeout_s", "_transport", "due")

    def __init__(self, budget: MemoryBudget, deadlines: DeadlineMonitor, timeout_s: float) -> None:
        self.due = 0.0
        self._budget = budget
        self._deadlines = deadlines
        self._timeout_s = timeout_s
        self._transport: Any = None
        self._pace: Pace | None = None
        self._left_bytes = 0  # when the wait began
        self._held_bytes = 0  # of what waits to be written

    @property
    def is_waiting(self) -> bool:
        """Return True if the connection waits for the client."""
        return self._pace is not None

    def hold(self, count: int) -> None:
        """Account for a part of a response that will be written."""
        self._budget.hold_answer(count)

    def settle(self, count: int) -> None:
        """Release what was held, now given to the transport or dropped: at once, or once the transport has written it."""
        if self._pace:
            self._held_bytes += count
        else:
            self._budget.release(count)

    def wait(self, transport: Any) -> None:
        """Start to wait for the client: the transport has more to write than the kernel accepts."""
        self._transport, self._left_bytes = transport, _unread_bytes(transport)
        self._pace = Pace(self._timeout_s)
        self.due = self._pace.due
        self._deadlines.add(self)

    def end(self) -> None:
        """Stop waiting: the kernel has accepted everything, or the client has disconnected."""
        if self._pace:
            self._pace, self.due = None, 0.0
            self._deadlines.discard(self)
            held, self._held_bytes = self._held_bytes, 0
            self._budget.release(held)

    def on_timeout(self) -> None:
        """Cut the client off unless it read enough."""
        if self._pace and not self._pace.is_kept(self._left_bytes - _unread_bytes(self._transport)):
            self._transport.abort()
        elif self._pace:
            self.due = self._pace.due


def _unread_bytes(transport: Any) -> int:
    """Return how many bytes the client has not read: in the transport's buffer and in the kernel's, which asks for more in large steps."""
    in_kernel = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    return int(transport.get_write_buffer_size() + struct.unpack("i", in_kernel)[0])

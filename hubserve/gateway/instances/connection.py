"""Exchange frames with one instance."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from hubserve.errors import InstanceDied
from hubserve.gateway.instances.frame_checks import check_answer
from hubserve.gateway.instances.frame_reader import FrameProtocol, dumps
from hubserve.net.deadline_monitor import DeadlineMonitor
from hubserve.wire import frames
from hubserve.wire.arena import MIN_BUFFER_BYTES, REQUESTS_BYTES, Arena, RingAllocator

log = logging.getLogger("hubserve")

Answered = Callable[["frames.Frame | InstanceDied"], None]

_WATCH_EVERY_S = 0.25


class NotComputed(InstanceDied):
    """The instance ended while this frame waited behind another one."""


class Connection(FrameProtocol):
    """The connection to an instance, which answers frames in their order.

    Args:
        arena: the memory that is shared with the instance; None if it is on another machine.
        on_hung: called with the timeout, in seconds, of the oldest frame when it has passed.
        on_broken: see :class:`FrameProtocol`.
        on_lost: called when the socket has closed.

    Attributes:
        due: the deadline of the oldest frame; see :class:`hubserve.net.deadline_monitor.DeadlineMonitor`.
        closed: whether it is closed for sending.
    """

    def __init__(
        self,
        arena: Arena | None,
        on_hung: Callable[[float], None],
        on_broken: Callable[[str], None],
        on_lost: Callable[[Exception | None], None],
    ) -> None:
        super().__init__(arena, on_broken)
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._ring = RingAllocator(REQUESTS_BYTES)
        self._on_hung = on_hung
        self._on_lost = on_lost
        self._answers: deque[Answered] = deque()
        self._headers: deque[dict[str, Any]] = deque()  # the header of each unanswered frame
        self._timeouts_s: deque[float] = deque()  # as above
        self._arena_buffers: deque[int] = deque()  # as above, the number of buffers in the arena
        self.due = 0.0
        self._deadlines = DeadlineMonitor(_WATCH_EVERY_S)

    @property
    def unanswered(self) -> int:
        """Number of unanswered frames."""
        return len(self._answers)

    def exchange(self, header: dict[str, Any], buffers: Sequence[Any], timeout_s: float, answered: Answered) -> None:
        """Send a frame.

        Args:
            header: as :func:`hubserve.wire.frames.encode` takes it.
            buffers: as above.
            timeout_s: for the answer, from when the frames before it are answered.
            answered: called with the frame that answers it, or with the error that :meth:`fail` is given; it may raise
                :class:`hubserve.wire.frames.WireError` if that frame does not match its header.
        """
        if self.closed or self._transport is None:
            self._loop.call_soon(answered, NotComputed("the instance has ended"))
            return
        self._answers.append(answered)
        self._headers.append(header)
        self._timeouts_s.append(timeout_s)
        self._arena_buffers.append(0)
        if len(self._answers) == 1:
            self._watch()
        self.write(frames.encode(header, buffers, self._place if self._arena else None, dumps))

    def _place(self, parts: list[memoryview], size: int) -> int | None:
        """Copy a large buffer into the arena, and return its offset; None if it is small, or the arena is full."""
        if size < MIN_BUFFER_BYTES or self._arena is None:
            return None
        offset = self._ring.allocate(size)
        if offset is not None:
            self._arena.write(parts, offset)
            self._arena_buffers[-1] += 1
        return offset

    def _watch(self) -> None:
        """Start the timeout of the oldest frame; time spent behind a hung one must not count for those after it."""
        self.due = time.monotonic() + self._timeouts_s[0] if self._answers else 0.0

    def on_timeout(self) -> None:
        """Report that the oldest frame has not been answered in time."""
        self.due = 0.0
        self._on_hung(self._timeouts_s[0])

    def close(self) -> None:
        """Close the socket, at which an instance ends by itself."""
        self.closed = True
        super().close()

    def fail(self, error: InstanceDied) -> None:
        """Answer every open frame with an error. Only the first was being computed, so only it can have ended the process."""
        answers, self._answers = self._answers, deque()
        self._headers.clear()
        for answered in answers:
            try:
                answered(error)
            except Exception:  # one failing callback must not keep the others from being notified
                log.exception("an unexpected error while a request of an ended instance was failed", extra=self.log_fields)
            error = NotComputed(error.message)

    # --- asyncio's protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the timeouts."""
        super().connection_made(transport)
        self._deadlines.add(self)

    def check(self, header: dict[str, Any]) -> None:
        """Check a frame's header; see the base class."""
        if not self._headers:
            raise frames.WireError("a frame answers none that was sent")
        check_answer(self._headers[0], header)

    def on_frame(self, frame: frames.Frame) -> None:
        """Pass the answer to the oldest frame on."""
        # the instance overwrites its part of the arena later
        for index, place in enumerate(frame.header["buffers"]):
            if isinstance(place, list):
                frame.buffers[index] = memoryview(bytes(frame.buffers[index]))
        answered = self._answers.popleft()
        self._headers.popleft()
        self._timeouts_s.popleft()
        self._ring.free(self._arena_buffers.popleft())
        self._watch()
        answered(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the arena after the instance ended or :meth:`close` was called."""
        self.closed = True
        self._deadlines.discard(self)
        if self._arena:
            self._arena.close()
        self._on_lost(exc)

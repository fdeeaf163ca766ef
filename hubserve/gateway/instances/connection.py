"""The gateway's end of the wire to one instance."""

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
    """Sends frames, which are answered one after the other in their order.

    Args:
        arena: the memory that is shared with the instance; None if it is on another machine.
        on_hung: called with the time, in seconds, in which the oldest frame should have been answered.
        on_broken: see :class:`FrameProtocol`.
        on_lost: called when the socket has closed.

    Attributes:
        due: when the oldest frame is to be answered; see :class:`hubserve.net.deadline_monitor.DeadlineMonitor`.
        closed: whether nothing can be sent any more.
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
        self._asked: deque[dict[str, Any]] = deque()  # the header of each unanswered frame
        self._timeouts_s: deque[float] = deque()  # of each unanswered frame
        self._places: deque[int] = deque()  # as above
        self.due = 0.0
        self._deadlines = DeadlineMonitor(_WATCH_EVERY_S)

    @property
    def unanswered(self) -> int:
        """How many frames have not been answered."""
        return len(self._answers)

    def exchange(self, header: dict[str, Any], buffers: Sequence[Any], timeout_s: float, answered: Answered) -> None:
        """Send a frame.

        Args:
            header: as :func:`hubserve.wire.frames.encode` takes it.
            buffers: as above.
            timeout_s: how long it may take once the frames before it are answered.
            answered: is called with the frame that answers it, or with what :meth:`fail` is given; it may raise
                :class:`hubserve.wire.frames.WireError` if that frame is not as its header says.
        """
        if self.closed or self._transport is None:
            self._loop.call_soon(answered, NotComputed("the instance has ended"))
            return
        self._answers.append(answered)
        self._asked.append(header)
        self._timeouts_s.append(timeout_s)
        self._places.append(0)
        if len(self._answers) == 1:
            self._watch()
        self.write(frames.encode(header, buffers, self._place if self._arena else None, dumps))

    def _place(self, parts: list[memoryview], size: int) -> int | None:
        """Copy a large buffer into the arena; None if it is small, or there is no room."""
        if size < MIN_BUFFER_BYTES or self._arena is None:
            return None
        offset = self._ring.allocate(size)
        if offset is not None:
            self._arena.write(parts, offset)
            self._places[-1] += 1
        return offset

    def _watch(self) -> None:
        """Count the time of the frame that is computed now; a module that hangs must not take its requests' successors with it."""
        self.due = time.monotonic() + self._timeouts_s[0] if self._answers else 0.0

    def on_timeout(self) -> None:
        """The oldest frame has not been answered in its time."""
        self.due = 0.0
        self._on_hung(self._timeouts_s[0])

    def close(self) -> None:
        """Close the socket, at which an instance ends by itself."""
        self.closed = True
        super().close()

    def fail(self, error: InstanceDied) -> None:
        """Answer every open frame with an error. Only the first was being computed, so only it can have ended the process."""
        answers, self._answers = self._answers, deque()
        self._asked.clear()
        for answered in answers:
            try:
                answered(error)
            except Exception:  # one failing callback must not keep the others from being notified
                log.exception("an unexpected error while a request was told that its instance has ended")
            error = NotComputed(error.message)

    # --- asyncio's protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ready."""
        super().connection_made(transport)
        self._deadlines.add(self)

    def check(self, header: dict[str, Any]) -> None:
        """See the base class."""
        if not self._asked:
            raise frames.WireError("a frame came that answers none")
        check_answer(self._asked[0], header)

    def on_frame(self, frame: frames.Frame) -> None:
        """A frame was answered."""
        # the instance will write over its part of the arena: what is to stay is taken out now
        for index, place in enumerate(frame.header["buffers"]):
            if isinstance(place, list):
                frame.buffers[index] = memoryview(bytes(frame.buffers[index]))
        answered = self._answers.popleft()
        self._asked.popleft()
        self._timeouts_s.popleft()
        self._ring.free(self._places.popleft())
        self._watch()
        answered(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side ended, or :meth:`close` was called."""
        self.closed = True
        self._deadlines.discard(self)
        if self._arena:
            self._arena.close()
        self._on_lost(exc)

"""The gateway's end of the wire to one instance."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from hubserve.errors import InstanceDied
from hubserve.instance import wire
from hubserve.instance.arena import MIN_BUFFER_BYTES, REQUESTS_BYTES, Arena, Ring


class NotComputed(InstanceDied):
    """The instance ended while this frame waited behind another one."""


class Connection(asyncio.BufferedProtocol):
    """Sends frames, which are answered one after the other in their order.

    Args:
        arena: the memory that is shared with the instance; None if it is on another machine.
        on_hung: called when the oldest frame has not been answered in its time.
        on_lost: called when the socket has closed.

    Attributes:
        heard_at: when something came last, on the clock of ``time.monotonic``.
        closed: whether nothing can be sent any more.
    """

    def __init__(self, arena: Arena | None, on_hung: Callable[[], None], on_lost: Callable[[Exception | None], None]) -> None:
        self.heard_at = time.monotonic()
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._arena = arena
        self._ring = Ring(REQUESTS_BYTES)
        self._on_hung = on_hung
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._answers: deque[asyncio.Future[wire.Frame]] = deque()
        self._timeouts_s: deque[float] = deque()  # of each unanswered frame
        self._places: deque[int] = deque()  # as above
        self._watchdog: asyncio.TimerHandle | None = None
        self._expect_head()

    @property
    def unanswered(self) -> int:
        """How many frames have not been answered."""
        return len(self._answers)

    def exchange(self, header: dict[str, Any], buffers: Sequence[Any], timeout_s: float) -> "asyncio.Future[wire.Frame]":
        """Send a frame.

        Args:
            header: as :func:`hubserve.instance.wire.encode` takes it.
            buffers: as above.
            timeout_s: how long it may take once the frames before it are answered.
        Returns:
            The frame that answers it, or what :meth:`fail` is given.
        """
        answer: asyncio.Future[wire.Frame] = self._loop.create_future()
        if self.closed or self._transport is None:
            answer.set_exception(NotComputed("the instance has ended"))
            return answer
        self._answers.append(answer)
        self._timeouts_s.append(timeout_s)
        self._places.append(0)
        if len(self._answers) == 1:
            self._watch()
        self._transport.writelines(wire.encode(header, buffers, self._place if self._arena else None))
        return answer

    def _place(self, buffer: memoryview) -> int | None:
        """Copy a large buffer into the arena; None if it is small, or there is no room."""
        if len(buffer) < MIN_BUFFER_BYTES or self._arena is None:
            return None
        offset = self._ring.take(len(buffer))
        if offset is not None:
            self._arena.view[offset : offset + len(buffer)] = buffer
            self._places[-1] += 1
        return offset

    def _watch(self) -> None:
        """Count the time of the frame that is computed now; a module that hangs must not take its requests' successors with it."""
        if self._watchdog:
            self._watchdog.cancel()
        self._watchdog = self._loop.call_later(self._timeouts_s[0], self._on_hung) if self._answers else None

    def close(self) -> None:
        """Close the socket, at which an instance ends by itself."""
        if self._transport:
            self._transport.abort()

    def fail(self, error: InstanceDied) -> None:
        """Answer every open frame with an error. Only the first was being computed, so only it can have ended the process."""
        for answer in self._answers:
            if not answer.done():
                answer.set_exception(error)
            error = NotComputed(error.message)

    # --- asyncio's protocol: two reads a frame, head then body, straight into their buffers ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ready."""
        self._transport = transport  # type: ignore[assignment]  # stream sockets have stream transports

    def _expect_head(self) -> None:
        self._header_bytes = -1
        self._view = memoryview(bytearray(wire.HEAD.size))
        self._filled = 0

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the protocol's signature
        """Where the next bytes go."""
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Some bytes came."""
        self._filled += nbytes
        if self._filled < len(self._view):
            return
        if self._header_bytes < 0:
            self._header_bytes, payload_bytes = wire.decode_head(self._view)
            self._view = memoryview(bytearray(self._header_bytes + payload_bytes))
            self._filled = 0
            return
        frame = wire.decode_body(self._view, self._header_bytes, self._arena)
        self._expect_head()
        self.heard_at = time.monotonic()
        # the instance will write over its part of the arena: what is to stay is taken out now
        for index, place in enumerate(frame.header["buffers"]):
            if isinstance(place, list):
                frame.buffers[index] = memoryview(bytes(frame.buffers[index]))
        answer = self._answers.popleft()
        self._timeouts_s.popleft()
        self._ring.give_back(self._places.popleft())
        self._watch()
        if not answer.done():
            answer.set_result(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side ended, or :meth:`close` was called."""
        self.closed = True
        if self._watchdog:
            self._watchdog.cancel()
        if self._arena:
            self._arena.close()
        self._on_lost(exc)

"""The gateway's end of the wire to one instance."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from hubserve.errors import InstanceDied
from hubserve.instance import wire
from hubserve.instance.arena import MIN_BUFFER_BYTES, REQUESTS_BYTES, Arena, Ring
from hubserve.serving.sweeper import Sweeper

Answered = Callable[["wire.Frame | InstanceDied"], None]

_SCRATCH_BYTES = 64 << 10
_WATCH_EVERY_S = 0.25


class NotComputed(InstanceDied):
    """The instance ended while this frame waited behind another one."""


class Connection(asyncio.BufferedProtocol):
    """Sends frames, which are answered one after the other in their order.

    Args:
        arena: the memory that is shared with the instance; None if it is on another machine.
        on_hung: called with the time, in seconds, in which the oldest frame should have been answered.
        on_lost: called when the socket has closed.

    Attributes:
        heard_at: when something came last, on the clock of ``time.monotonic``.
        due: when the oldest frame is to be answered; see :class:`hubserve.serving.sweeper.Sweeper`.
        closed: whether nothing can be sent any more.
    """

    def __init__(self, arena: Arena | None, on_hung: Callable[[float], None], on_lost: Callable[[Exception | None], None]) -> None:
        self.heard_at = time.monotonic()
        self.closed = False
        self._loop = asyncio.get_running_loop()
        self._arena = arena
        self._ring = Ring(REQUESTS_BYTES)
        self._on_hung = on_hung
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._answers: deque[Answered] = deque()
        self._timeouts_s: deque[float] = deque()  # of each unanswered frame
        self._places: deque[int] = deque()  # as above
        self.due = 0.0
        self._sweeper = Sweeper(_WATCH_EVERY_S)
        self._scratch = bytearray(_SCRATCH_BYTES)
        self._view = memoryview(self._scratch)  # where bytes go: the scratch, or a frame that is larger
        self._filled = 0

    @property
    def unanswered(self) -> int:
        """How many frames have not been answered."""
        return len(self._answers)

    def exchange(self, header: dict[str, Any], buffers: Sequence[Any], timeout_s: float, answered: Answered) -> None:
        """Send a frame.

        Args:
            header: as :func:`hubserve.instance.wire.encode` takes it.
            buffers: as above.
            timeout_s: how long it may take once the frames before it are answered.
            answered: is called with the frame that answers it, or with what :meth:`fail` is given.
        """
        if self.closed or self._transport is None:
            self._loop.call_soon(answered, NotComputed("the instance has ended"))
            return
        self._answers.append(answered)
        self._timeouts_s.append(timeout_s)
        self._places.append(0)
        if len(self._answers) == 1:
            self._watch()
        pieces = wire.encode(header, buffers, self._place if self._arena else None, _dumps)
        if len(pieces) == 1:
            self._transport.write(pieces[0])
        else:
            self._transport.writelines(pieces)

    def _place(self, parts: list[memoryview], size: int) -> int | None:
        """Copy a large buffer into the arena; None if it is small, or there is no room."""
        if size < MIN_BUFFER_BYTES or self._arena is None:
            return None
        offset = self._ring.take(size)
        if offset is not None:
            self._arena.put(parts, offset)
            self._places[-1] += 1
        return offset

    def _watch(self) -> None:
        """Count the time of the frame that is computed now; a module that hangs must not take its requests' successors with it."""
        self.due = time.monotonic() + self._timeouts_s[0] if self._answers else 0.0

    def on_due(self) -> None:
        """The oldest frame has not been answered in its time."""
        self.due = 0.0
        self._on_hung(self._timeouts_s[0])

    def close(self) -> None:
        """Close the socket, at which an instance ends by itself."""
        if self._transport:
            self._transport.abort()

    def fail(self, error: InstanceDied) -> None:
        """Answer every open frame with an error. Only the first was being computed, so only it can have ended the process."""
        answers, self._answers = self._answers, deque()
        for answered in answers:
            answered(error)
            error = NotComputed(error.message)

    # --- asyncio's protocol: small frames are read whole, one or more at once; a large one straight into its own buffer ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ready."""
        self._transport = transport  # type: ignore[assignment]  # stream sockets have stream transports
        self._sweeper.add(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - the protocol's signature
        """Where the next bytes go."""
        return self._view[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """Some bytes came."""
        self._filled += nbytes
        while self._filled >= wire.HEAD.size:
            header_bytes, payload_bytes = wire.decode_head(self._view[: wire.HEAD.size])
            size = wire.HEAD.size + header_bytes + payload_bytes
            if self._filled < size:
                if size > len(self._view):
                    self._move(bytearray(size), 0)
                return
            whole = self._view[wire.HEAD.size : size]
            # the scratch is written over by what comes next
            body = memoryview(bytes(whole)) if self._view.obj is self._scratch else whole
            self._move(self._scratch, size)
            self._answer(wire.decode_body(body, header_bytes, self._arena, _loads))

    def _move(self, to: bytearray, start: int) -> None:
        """Go on in another buffer, with what came from ``start`` on."""
        rest = bytes(self._view[start : self._filled])
        self._view, self._filled = memoryview(to), len(rest)
        self._view[: len(rest)] = rest

    def _answer(self, frame: wire.Frame) -> None:
        self.heard_at = time.monotonic()
        # the instance will write over its part of the arena: what is to stay is taken out now
        for index, place in enumerate(frame.header["buffers"]):
            if isinstance(place, list):
                frame.buffers[index] = memoryview(bytes(frame.buffers[index]))
        answered = self._answers.popleft()
        self._timeouts_s.popleft()
        self._ring.give_back(self._places.popleft())
        self._watch()
        answered(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side ended, or :meth:`close` was called."""
        self.closed = True
        self._sweeper.discard(self)
        if self._arena:
            self._arena.close()
        self._on_lost(exc)


def _dumps(header: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(header)
    except TypeError:  # half a character in a text, which JSON in general allows
        return wire.dump_header(header)


def _loads(text: memoryview) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # as above
        return wire.load_header(text)

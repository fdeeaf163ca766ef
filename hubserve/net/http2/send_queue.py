"""What goes to one client: as far as its windows allow, in turns, and all that is made in one turn of the loop in one write."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any

from hubserve.net.grpc.framing import Budget
from hubserve.net.http2 import frames
from hubserve.net.http2.frame_checks import check_setting
from hubserve.net.http2.frames import ConnectionFault, ErrorCode, frame_head
from hubserve.net.http2.streams import Stream

#: what is larger than this is written in parts instead of being joined
_JOINED_BYTES = 64 << 10
#: so much is written of one stream before others get their turn
_TURN_BYTES = 256 << 10
#: more is not written at once, even to a client that takes longer frames
_LONGEST_FRAME = 1 << 20
_WRITE_BUFFER_BYTES = 256 << 10


class Outbox:
    """It.

    Args:
        transport: the connection's.
        on_sent: is told of each stream whose answer is complete.
        budget: accounts for what is written but not yet taken by the client.

    Attributes:
        data_bytes: how many bytes were sent in DATA frames.
        data_ends: how many pieces of answers were sent to their end in DATA frames.
        initial_window: how many bytes of an answer the client takes without being asked again.
        max_frame: the longest frame that it takes.
        is_paused: whether it takes what is written too slowly.
    """

    def __init__(self, transport: Any, on_sent: Callable[[Stream], None], budget: Budget) -> None:
        self.data_bytes = 0
        self.data_ends = 0
        self.initial_window = frames.DEFAULT_WINDOW
        self.max_frame = frames.DEFAULT_FRAME_BYTES
        self.is_paused = False
        self._transport = transport
        self._on_sent = on_sent
        self._budget = budget
        self._unwritten = 0  # bytes that the client did not take when it was found to be slow
        self._loop = asyncio.get_running_loop()
        self._window = frames.DEFAULT_WINDOW  # of all streams together
        self._parts: list[bytes | memoryview] = []
        self._closed = False
        self._waiting: deque[Stream] = deque()  # for their turn to send of a body
        self._waiting_heads: deque[Stream] = deque()  # to send fields, which need no window
        transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)

    def write(self, *parts: bytes | memoryview) -> None:
        """Write whole frames, at the end of this turn of the loop."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts += parts

    def flush(self) -> None:
        """Write now what there is."""
        parts, self._parts = self._parts, []
        if not parts or self._transport.is_closing():
            return
        if sum(map(len, parts)) <= _JOINED_BYTES:
            self._transport.write(b"".join(parts))
        else:
            self._transport.writelines(parts)

    def send(self, stream: Stream, head: bytes, data: bytes | memoryview, end: bytes) -> None:
        """Send parts of an answer, as :meth:`Stream.send` has them; what the client does not take yet waits."""
        if self._closed:
            return
        size = len(data)
        if stream.pending or self.is_paused or size > self.max_frame or size > self._window or size > stream.send_window:
            is_first = not stream.pending
            stream.queue(head, data, end)
            if is_first:
                self._line_up(stream)
            self.send_waiting()
            return
        parts: list[bytes | memoryview] = []
        if head:
            parts += (frame_head(frames.HEADERS, frames.END_HEADERS, stream.id, len(head)), head)
        if size:
            self._window -= size
            stream.send_window -= size
            self.data_bytes += size
            self.data_ends += 1
            parts += (frame_head(frames.DATA, 0, stream.id, size), data)
        if end:
            parts += (frame_head(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream.id, len(end)), end)
        self.write(*parts)
        if end:
            self._on_sent(stream)

    def send_waiting(self) -> None:
        """Send what the client takes of answers that wait, in turns."""
        while not self.is_paused and not self._closed:
            if self._waiting_heads:
                stream = self._waiting_heads.popleft()
                self._send_some(stream, 1)
            elif self._waiting and self._window > 0:
                stream = self._waiting.popleft()
                self._send_some(stream, _TURN_BYTES)
            else:
                return
            if stream.pending:
                self._line_up(stream)
            else:
                stream.wake()

    def _line_up(self, stream: Stream) -> None:
        """Have a stream wait for its turn: whose own window is used up has none, so that nothing is looked at that cannot be sent."""
        if stream.pending[0][0] != frames.DATA:
            self._waiting_heads.append(stream)
        elif stream.send_window > 0:
            self._waiting.append(stream)
        else:
            stream.is_blocked = True

    def _send_some(self, stream: Stream, most: int) -> None:
        """Send about so many bytes of what waits, if the client takes them."""
        sent = 0
        while stream.pending and sent < most:
            kind, flags, payload = stream.pending[0]
            size = len(payload)
            if kind == frames.DATA:
                size = min(size, self.max_frame, self._window, stream.send_window)
                if size <= 0:
                    break
                self._window -= size
                stream.send_window -= size
                self.data_bytes += size
                self.data_ends += size == len(payload)
            self.write(frame_head(kind, flags, stream.id, size), payload[:size])
            sent += size
            stream.sent_bytes += size
            if size < len(payload):
                stream.pending[0] = (kind, flags, payload[size:])
                continue
            stream.pending.popleft()
            if flags & frames.END_STREAM:
                self._on_sent(stream)
        self.flush()  # the transport may ask for a pause

    def drop(self, stream: Stream) -> None:
        """Send nothing more of what waits of a stream."""
        if stream.pending:
            stream.pending.clear()
            stream.is_blocked = False
            for line in (self._waiting, self._waiting_heads):
                with contextlib.suppress(ValueError):  # it is in one of them at most
                    line.remove(stream)

    def pause(self) -> None:
        """Write no more for now: the client takes it too slowly."""
        self.is_paused = True
        self._unwritten = self._transport.get_write_buffer_size()
        if self._unwritten:
            self._budget.hold_answer(self._unwritten)

    def resume(self) -> None:
        """Resume: nothing that was written is left unsent."""
        self.is_paused = False
        if self._unwritten:
            self._budget.release(self._unwritten)
            self._unwritten = 0

    def close(self) -> None:
        """Send no more of any answer."""
        self._closed = True
        self._waiting.clear()
        self._waiting_heads.clear()

    # --- what the client says ---

    def widen(self, more: int) -> None:
        """The client takes so many bytes more of all streams together.

        Raises:
            ConnectionFault: that is none, or too many.
        """
        self._window += more
        if more == 0 or self._window > frames.LARGEST_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR if more else ErrorCode.PROTOCOL_ERROR, "the window is no proper one")

    def widen_stream(self, stream: Stream, more: int) -> None:
        """The client takes so many bytes more of a stream, or less."""
        stream.send_window += more
        if stream.is_blocked and stream.send_window > 0:
            stream.is_blocked = False
            self._waiting.append(stream)

    def apply(self, settings: Iterable[tuple[int, int]], streams: Collection[Stream]) -> None:
        """Follow the client's settings.

        Args:
            settings: names and values.
            streams: those that have begun.
        Raises:
            ConnectionFault: a value is not allowed for its setting, or makes a stream's window too large.
        """
        window = self.initial_window
        for name, value in settings:
            check_setting(name, value)
            if name == frames.INITIAL_WINDOW_SIZE:
                window = value
            elif name == frames.MAX_FRAME_SIZE:
                self.max_frame = min(value, _LONGEST_FRAME)
        self._set_initial_window(window, streams)

    def _set_initial_window(self, size: int, streams: Collection[Stream]) -> None:
        """Apply a changed initial window to new streams and to all open ones."""
        more, self.initial_window = size - self.initial_window, size
        if not more:
            return
        for stream in streams:
            self.widen_stream(stream, more)
            if stream.send_window > frames.LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the initial window makes another too large")

"""Send frames to one client: within its windows, streams in turn, and all frames of one turn of the event loop in one write."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any

from hubserve.net.admission import MemoryBudget
from hubserve.net.http2 import frames
from hubserve.net.http2.frame_checks import check_setting
from hubserve.net.http2.frames import ConnectionFault, ErrorCode, frame_header
from hubserve.net.http2.streams import Stream

#: larger writes are passed on in parts instead of being joined
_JOINED_BYTES = 64 << 10
#: bytes written of one stream before the next one's turn
_TURN_BYTES = 256 << 10
#: the longest frame written, even if the client accepts longer ones
_LONGEST_FRAME = 1 << 20
_WRITE_BUFFER_BYTES = 256 << 10


class SendQueue:
    """Send side of a connection.

    Args:
        transport: the connection's.
        on_sent: called with each stream whose response is sent completely.
        budget: accounts for what is written and not yet read by the client.

    Attributes:
        data_bytes: bytes sent in DATA frames.
        data_ends: parts of responses, as passed to :meth:`send`, that were sent completely.
        initial_window: bytes of a new stream that the client accepts.
        max_frame: the longest frame that the client accepts.
        is_paused: whether the client reads too slowly.
    """

    def __init__(self, transport: Any, on_sent: Callable[[Stream], None], budget: MemoryBudget) -> None:
        self.data_bytes = 0
        self.data_ends = 0
        self.initial_window = frames.DEFAULT_WINDOW
        self.max_frame = frames.DEFAULT_FRAME_BYTES
        self.is_paused = False
        self._transport = transport
        self._on_sent = on_sent
        self._budget = budget
        self._unwritten_bytes = 0  # in the transport when the client was found to be slow
        self._reading_paused = False
        self._loop = asyncio.get_running_loop()
        self._window = frames.DEFAULT_WINDOW  # of the connection
        self._parts: list[bytes | memoryview] = []
        self._closed = False
        self._waiting: deque[Stream] = deque()  # to send data
        self._waiting_headers: deque[Stream] = deque()  # to send header blocks, which need no window
        transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)

    def write(self, *parts: bytes | memoryview) -> None:
        """Write complete frames, at the end of this turn of the loop."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts += parts

    def reply(self, frame: bytes) -> None:
        """Write a frame that the client caused, and stop reading while the client does not: otherwise replies would pile up."""
        self.write(frame)
        if self.is_paused and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def flush(self) -> None:
        """Pass on to the transport what was written."""
        parts, self._parts = self._parts, []
        if not parts or self._transport.is_closing():
            return
        if sum(map(len, parts)) <= _JOINED_BYTES:
            self._transport.write(b"".join(parts))
        else:
            self._transport.writelines(parts)

    def send(self, stream: Stream, head: bytes, data: bytes | memoryview, end: bytes) -> None:
        """Send parts of a response, see :meth:`Stream.send`; what the client does not accept yet is queued."""
        if self._closed:
            return
        size = len(data)
        if stream.pending or self.is_paused or size > self.max_frame or size > self._window or size > stream.send_window:
            is_first = not stream.pending
            stream.queue(head, data, end)
            if is_first:
                self._enqueue(stream)
            self.send_waiting()
            return
        parts: list[bytes | memoryview] = []
        if head:
            parts += (frame_header(frames.HEADERS, frames.END_HEADERS, stream.id, len(head)), head)
        if size:
            self._window -= size
            stream.send_window -= size
            self.data_bytes += size
            self.data_ends += 1
            parts += (frame_header(frames.DATA, 0, stream.id, size), data)
        if end:
            parts += (frame_header(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream.id, len(end)), end)
        self.write(*parts)
        if end:
            self._on_sent(stream)

    def send_waiting(self) -> None:
        """Send queued parts of responses as far as the client accepts them, streams in turn."""
        while not self.is_paused and not self._closed:
            if self._waiting_headers:
                stream = self._waiting_headers.popleft()
                self._send_turn(stream, 1)
            elif self._waiting and self._window > 0:
                stream = self._waiting.popleft()
                self._send_turn(stream, _TURN_BYTES)
            else:
                return
            if stream.pending:
                self._enqueue(stream)
            else:
                stream.wake()

    def _enqueue(self, stream: Stream) -> None:
        """Queue a stream for its turn, unless its own window is used up: then it is not looked at before the window opens."""
        if stream.pending[0][0] != frames.DATA:
            self._waiting_headers.append(stream)
        elif stream.send_window > 0:
            self._waiting.append(stream)
        else:
            stream.is_blocked = True

    def _send_turn(self, stream: Stream, most: int) -> None:
        """Send about ``most`` queued bytes of one stream, if the client accepts them."""
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
            self.write(frame_header(kind, flags, stream.id, size), payload[:size])
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
        """Discard what is queued of a stream."""
        if stream.pending:
            stream.pending.clear()
            stream.is_blocked = False
            for waiting in (self._waiting, self._waiting_headers):
                with contextlib.suppress(ValueError):  # it is in one of them at most
                    waiting.remove(stream)

    def pause(self) -> None:
        """Pause: the client reads too slowly."""
        self.is_paused = True
        self._unwritten_bytes = self._transport.get_write_buffer_size()
        if self._unwritten_bytes:
            self._budget.hold_answer(self._unwritten_bytes)

    def resume(self) -> None:
        """Resume: the client reads again, and nothing is left in the transport."""
        self.release()
        if self._closed:
            return
        if self._reading_paused:
            self._reading_paused = False
            self._transport.resume_reading()
        self.send_waiting()

    def release(self) -> None:
        """Release what is accounted for: it is sent, or the connection is lost."""
        self.is_paused = False
        if self._unwritten_bytes:
            self._budget.release(self._unwritten_bytes)
            self._unwritten_bytes = 0

    def close(self) -> None:
        """Send nothing more of any response."""
        self._closed = True
        self._waiting.clear()
        self._waiting_headers.clear()

    # --- the client's windows and settings ---

    def window_opened(self, count: int) -> None:
        """Handle that the client accepts ``count`` bytes more of all streams together.

        Raises:
            ConnectionFault: the count is 0, or the window becomes too large.
        """
        self._window += count
        if count == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE of 0 bytes")
        if self._window > frames.LARGEST_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "WINDOW_UPDATE makes the window exceed 2^31-1")

    def stream_window_opened(self, stream: Stream, count: int) -> None:
        """Handle that the client accepts ``count`` bytes more of a stream, or less."""
        stream.send_window += count
        if stream.is_blocked and stream.send_window > 0:
            stream.is_blocked = False
            self._waiting.append(stream)

    def apply(self, settings: Iterable[tuple[int, int]], streams: Collection[Stream]) -> None:
        """Apply the client's settings.

        Args:
            settings: names and values.
            streams: those in progress.
        Raises:
            ConnectionFault: a value is not allowed, or makes a stream's window too large.
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
        """Apply a changed initial window to new streams and to those in progress."""
        change, self.initial_window = size - self.initial_window, size
        if not change:
            return
        for stream in streams:
            self.stream_window_opened(stream, change)
            if stream.send_window > frames.LARGEST_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "INITIAL_WINDOW_SIZE makes a stream's window exceed 2^31-1")

"""Receive DATA frames, and control how much of requests' bodies a client may send."""

from collections.abc import Callable

from hubserve.net.http2 import frames
from hubserve.net.http2.frames import ConnectionFault, ErrorCode, frame
from hubserve.net.http2.send_queue import SendQueue
from hubserve.net.http2.streams import Stream

#: bytes of all streams together that a client may send before they are consumed
CONNECTION_WINDOW = 16 << 20
#: the longest DATA frame
MAX_DATA_BYTES = 1 << 20
#: a payload of which this much is still missing is read directly into its buffer
_DIRECT_BYTES = 16 << 10


class ReceiveFlow:
    """Receive side of a connection: DATA frames and flow control.

    Args:
        send_queue: sends WINDOW_UPDATE frames.
        on_end: called with each stream whose body is complete.
        on_malformed: called with the id of each stream whose body does not have the announced length; ends it.

    Attributes:
        in_frame: whether a DATA frame is incomplete.
    """

    def __init__(self, send_queue: SendQueue, on_end: Callable[[Stream], None], on_malformed: Callable[[int], None]) -> None:
        self.in_frame = False
        self._send_queue = send_queue
        self._on_end = on_end
        self._on_malformed = on_malformed
        self._stream: Stream | None = None  # of the incomplete frame; None if it has ended
        self._left_bytes = 0
        self._padding_bytes = 0
        self._flags = 0
        self._window = CONNECTION_WINDOW
        self._credit = 0  # consumed bytes that no WINDOW_UPDATE has returned yet

    def start(self, stream: Stream | None, flags: int, length: int, padding: int | None) -> None:
        """Start a DATA frame, and charge the windows for it.

        Args:
            stream: the frame's; None if it has ended.
            flags: the frame's.
            length: of its payload, with padding.
            padding: bytes of padding after the data; None if the frame is not padded.
        Raises:
            ConnectionFault: the frame is not allowed now, or too long.
        """
        if length > MAX_DATA_BYTES:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"DATA frame of {length} bytes; the most is {MAX_DATA_BYTES}")
        extra = 0 if padding is None else padding + 1
        if extra > length:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding exceeds the frame")
        if stream and stream.received_end:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "DATA after END_STREAM")
        self._window -= length
        if stream:
            stream.receive_window -= length
        if self._window < 0 or (stream and stream.receive_window < 0):
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "DATA exceeds the flow-control window")
        if stream and stream.missing_bytes is not None and stream.receiver:
            stream.missing_bytes -= length - extra
            if stream.missing_bytes < 0 or (stream.missing_bytes and flags & frames.END_STREAM):
                self._on_malformed(stream.id)
                stream = None
        self.in_frame, self._stream, self._flags = True, stream, flags
        self._left_bytes, self._padding_bytes = length - extra, padding or 0
        if stream:
            stream.held_bytes += extra
            stream.credit(extra)
        else:
            self.credit(extra)

    def consume(self, data: bytes, at: int) -> int:
        """Consume the frame's payload as far as it has been received.

        Args:
            data: received bytes.
            at: the position in them where the payload continues.
        Returns:
            The position after it.
        """
        stream = self._stream
        if self._left_bytes and at < len(data):
            part = data[at : at + self._left_bytes]
            at += len(part)
            self._left_bytes -= len(part)
            if stream and stream.receiver:
                stream.held_bytes += len(part)
                stream.receiver.feed(part)
            else:
                self.credit(len(part))
        if not self._left_bytes:
            skipped = min(self._padding_bytes, len(data) - at)
            at += skipped
            self._padding_bytes -= skipped
            if not self._padding_bytes:
                self.in_frame, self._stream = False, None
                if stream and self._flags & frames.END_STREAM:
                    self._on_end(stream)
        return at

    def receive_buffer(self) -> memoryview | None:
        """Return the buffer for the rest of a large payload; None if received bytes go to :meth:`consume`."""
        receiver = self._stream.receiver if self._left_bytes >= _DIRECT_BYTES and self._stream else None
        buffer = receiver.receive_buffer() if receiver else None
        return None if buffer is None else buffer[: self._left_bytes]

    def buffer_filled(self, count: int) -> None:
        """Account for ``count`` bytes that were read into :meth:`receive_buffer`."""
        self._left_bytes -= count
        if self._stream and self._stream.receiver:
            self._stream.held_bytes += count
            self._stream.receiver.buffer_filled(count)
        else:
            self.credit(count)

    def credit(self, count: int) -> None:
        """Return ``count`` consumed bytes to the connection's window."""
        self._credit += count
        if self._credit >= CONNECTION_WINDOW // 4:
            self._window += self._credit
            self.open_window(0, self._credit)
            self._credit = 0

    def open_window(self, number: int, count: int) -> None:
        """Send a WINDOW_UPDATE frame: the client may send ``count`` bytes more of a stream, or (0) of all."""
        self._send_queue.write(frame(frames.WINDOW_UPDATE, 0, number, frames.U32.pack(count)))

    def discard(self, stream: Stream) -> None:
        """Return what a stream holds to the connection's window: it will not be consumed."""
        held, stream.held_bytes = stream.held_bytes, 0
        self.credit(held)

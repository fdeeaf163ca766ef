"""What comes of requests' bodies: DATA frames, taken as they come, and the windows that bound them."""

from collections.abc import Callable

from hubserve.net.http2 import frames
from hubserve.net.http2.frames import ConnectionFault, ErrorCode, frame
from hubserve.net.http2.send_queue import Outbox
from hubserve.net.http2.streams import Stream

#: what a client may send of all streams together before it is taken
CONNECTION_WINDOW = 16 << 20
#: the longest DATA frame
MAX_DATA_BYTES = 1 << 20
#: of a frame this much and more is read to where it stays
_DIRECT_BYTES = 16 << 10


class Inbox:
    """It.

    Args:
        outbox: where the client is told of its windows.
        on_end: is told of each stream whose body is complete.
        on_malformed: ends the stream of this number, whose body does not have the length that its request announces.

    Attributes:
        is_within: whether a frame has begun that is not complete.
    """

    def __init__(self, outbox: Outbox, on_end: Callable[[Stream], None], on_malformed: Callable[[int], None]) -> None:
        self.is_within = False
        self._outbox = outbox
        self._on_end = on_end
        self._on_malformed = on_malformed
        self._stream: Stream | None = None  # whose frame it is; None if it has ended
        self._left_bytes = 0
        self._padding_bytes = 0
        self._flags = 0
        self._window = CONNECTION_WINDOW
        self._untold_bytes = 0  # that the client may send again, and has not been told of

    def begin(self, stream: Stream | None, flags: int, length: int, padding: int | None) -> None:
        """The head of a frame came.

        Args:
            stream: whose it is.
            flags: the frame's.
            length: of its payload, with padding.
            padding: how much of that is behind the data; None if it is not padded at all.
        Raises:
            ConnectionFault: it must not come, or must not be so long.
        """
        if length > MAX_DATA_BYTES:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a DATA frame has {length} bytes, the most is {MAX_DATA_BYTES}")
        extra = 0 if padding is None else padding + 1
        if extra > length:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame is padded beyond its end")
        if stream and stream.received_end:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "a DATA frame came behind the end of its request")
        self._window -= length
        if stream:
            stream.receive_window -= length
        if self._window < 0 or (stream and stream.receive_window < 0):
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "more came than the windows allow")
        if stream and stream.missing_bytes is not None and stream.receiver:
            stream.missing_bytes -= length - extra
            if stream.missing_bytes < 0 or (stream.missing_bytes and flags & frames.END_STREAM):
                self._on_malformed(stream.id)
                stream = None
        self.is_within, self._stream, self._flags = True, stream, flags
        self._left_bytes, self._padding_bytes = length - extra, padding or 0
        if stream:
            stream.held_bytes += extra
            stream.taken(extra)
        else:
            self.taken(extra)

    def take(self, data: bytes, at: int) -> int:
        """Take the frame's payload as far as it has come.

        Args:
            data: what came.
            at: where the payload goes on in it.
        Returns:
            Where what follows begins.
        """
        stream = self._stream
        if self._left_bytes and at < len(data):
            part = data[at : at + self._left_bytes]
            at += len(part)
            self._left_bytes -= len(part)
            if stream and stream.receiver:
                stream.held_bytes += len(part)
                stream.receiver.add(part)
            else:
                self.taken(len(part))
        if not self._left_bytes:
            skipped = min(self._padding_bytes, len(data) - at)
            at += skipped
            self._padding_bytes -= skipped
            if not self._padding_bytes:
                self.is_within, self._stream = False, None
                if stream and self._flags & frames.END_STREAM:
                    self._on_end(stream)
        return at

    def room(self) -> memoryview | None:
        """Where the rest of the payload is to be put; None if it is to be given to :meth:`take`."""
        receiver = self._stream.receiver if self._left_bytes >= _DIRECT_BYTES and self._stream else None
        room = receiver.room() if receiver else None
        return None if room is None else room[: self._left_bytes]

    def filled(self, count: int) -> None:
        """So many bytes have been put there."""
        self._left_bytes -= count
        if self._stream and self._stream.receiver:
            self._stream.held_bytes += count
            self._stream.receiver.filled(count)
        else:
            self.taken(count)

    def taken(self, count: int) -> None:
        """So many bytes need no room any more: the client may send as many others."""
        self._untold_bytes += count
        if self._untold_bytes >= CONNECTION_WINDOW // 4:
            self._window += self._untold_bytes
            self.widen(0, self._untold_bytes)
            self._untold_bytes = 0

    def widen(self, number: int, count: int) -> None:
        """Tell the client that it may send so many bytes more, of one stream or (0) of all."""
        self._outbox.write(frame(frames.WINDOW_UPDATE, 0, number, frames.U32.pack(count)))

    def forget(self, stream: Stream) -> None:
        """Nobody wants what has come of a stream any more."""
        held, stream.held_bytes = stream.held_bytes, 0
        self.taken(held)

"""Split the bytes of a connection into frames, without I/O: RFC 9113, sections 3.4 and 4.1."""

from typing import Protocol

from hubserve.net.http2 import frames
from hubserve.net.http2.frames import ConnectionFault, ErrorCode

#: the longest frame other than DATA
_MAX_OTHER_BYTES = 64 << 10


class FrameHandler(Protocol):
    """Handler of the frames of a connection.

    Attributes:
        closed: whether no more frames are handled.
    """

    closed: bool

    def handle_preface(self) -> None:
        """Handle the client's preface."""

    def handle_data(self, number: int, flags: int, length: int, padding: int | None) -> None:
        """Handle the header of a DATA frame; its payload follows."""

    def handle_frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """Handle a complete frame other than DATA."""


class PayloadConsumer(Protocol):
    """Consumer of the payload of DATA frames.

    Attributes:
        in_frame: whether the payload of a frame is incomplete.
    """

    in_frame: bool

    def consume(self, data: bytes, at: int) -> int:
        """Consume the payload at a position of the data; return the position after it."""


class OldHttp(Exception):
    """The client speaks HTTP/1."""


class FrameParser:
    """Parser of the frames that a client sends. Payloads of DATA are passed on as they arrive, other frames once they are complete.

    Args:
        handler: receives the frames.
        payloads: receives the payloads of DATA frames.

    Attributes:
        has_preface: whether the client's preface was received.
    """

    def __init__(self, handler: FrameHandler, payloads: PayloadConsumer) -> None:
        self.has_preface = False
        self._handler = handler
        self._payloads = payloads
        self._has_settings = False  # the client's first frame was received
        self._partial = b""

    @property
    def is_within_frame(self) -> bool:
        """Return True if part of a frame other than DATA was received."""
        return bool(self._partial)

    def parse(self, data: bytes) -> int:
        """Parse received bytes.

        Returns:
            How many of the bytes not parsed yet were parsed; the others begin a frame.
        Raises:
            ConnectionFault: the frames are malformed, or the handler refuses them.
            OldHttp: the client speaks HTTP/1.
        """
        if self._partial:
            data, self._partial = self._partial + data, b""
        handler, payloads = self._handler, self._payloads
        at = 0 if self.has_preface else self._parse_preface(data)
        end = len(data)
        while not handler.closed:
            if payloads.in_frame:
                at = payloads.consume(data, at)
                if payloads.in_frame:
                    return at
            begin = at + frames.FRAME_HEADER.size
            if end < begin:
                break
            word, flags, number = frames.FRAME_HEADER.unpack_from(data, at)
            length, kind, number = word >> 8, word & 0xFF, number & frames.LARGEST_STREAM
            if not self._has_settings:
                if kind != frames.SETTINGS or flags & frames.ACK:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
                self._has_settings = True
            if kind == frames.DATA:
                padded = flags & frames.PADDED
                if padded and begin == end:
                    break
                handler.handle_data(number, flags, length, data[begin] if padded else None)
                at = begin + 1 if padded else begin
                continue
            if length > _MAX_OTHER_BYTES:
                raise ConnectionFault(
                    ErrorCode.FRAME_SIZE_ERROR, f"frame of type {kind} and {length} bytes; the most is {_MAX_OTHER_BYTES}"
                )
            if end - begin < length:
                break
            at = begin + length
            handler.handle_frame(kind, flags, number, data[begin:at])
        if at < end and not handler.closed:
            self._partial = data[at:]
        return at

    def _parse_preface(self, data: bytes) -> int:
        """Parse the client's preface; return its length, or the length of the data if it is incomplete."""
        if data[: len(frames.PREFACE)] == frames.PREFACE:
            self.has_preface = True
            self._handler.handle_preface()
            return len(frames.PREFACE)
        if frames.PREFACE.startswith(data):
            self._partial = data
            return len(data)
        if not frames.PREFACE.startswith(data[:4]) and b"HTTP/1" in data:
            raise OldHttp
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "not an HTTP/2 preface")

"""Constants and encoding of HTTP/2 frames: RFC 9113, sections 4, 6 and 7."""

import struct
from enum import IntEnum

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 0x3, 0x4, 0x5, 0x6
ENABLE_PUSH = 0x2

#: defaults that hold until the peer changes them
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME_BYTES = 16_384
LARGEST_WINDOW = LARGEST_STREAM = 2**31 - 1
LARGEST_FRAME_BYTES = 2**24 - 1

#: a frame's 9-byte header: length and type, flags, stream
FRAME_HEADER = struct.Struct(">IBI")
U32 = struct.Struct(">I")
SETTING = struct.Struct(">HI")


class ErrorCode(IntEnum):
    """Reasons for the end of a stream or a connection."""

    NO_ERROR = 0x0
    PROTOCOL_ERROR = 0x1
    INTERNAL_ERROR = 0x2
    FLOW_CONTROL_ERROR = 0x3
    STREAM_CLOSED = 0x5
    FRAME_SIZE_ERROR = 0x6
    REFUSED_STREAM = 0x7
    CANCEL = 0x8
    COMPRESSION_ERROR = 0x9
    ENHANCE_YOUR_CALM = 0xB


class ConnectionFault(Exception):
    """A connection error (RFC 9113, 5.4.1): the connection ends.

    Attributes:
        code: the error code sent in GOAWAY.
    """

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code


def frame_header(kind: int, flags: int, stream: int, length: int) -> bytes:
    """Return the header of a frame.

    Args:
        kind: its type.
        flags: its flags.
        stream: its stream's id; 0 for the connection.
        length: of its payload, in bytes.
    """
    return FRAME_HEADER.pack(length << 8 | kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a complete frame."""
    return FRAME_HEADER.pack(len(payload) << 8 | kind, flags, stream) + payload


def settings_frame(settings: dict[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*each) for each in settings.items()))


def without_padding(payload: bytes, flags: int) -> bytes:
    """Return a payload without its padding.

    Raises:
        ConnectionFault: the padding is longer than the payload.
    """
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "padding exceeds the frame")
    return payload[1 : len(payload) - payload[0]]

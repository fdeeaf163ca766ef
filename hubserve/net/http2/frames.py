"""HTTP/2's frames: how they are written, and what is wrong with one. RFC 9113, sections 4, 6 and 7."""

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

#: what holds until the other side says otherwise
DEFAULT_WINDOW = 65_535
DEFAULT_FRAME_BYTES = 16_384
LARGEST_WINDOW = LARGEST_STREAM = 2**31 - 1
LARGEST_FRAME_BYTES = 2**24 - 1

#: the 9 bytes that begin a frame: length and type, flags, stream
FRAME_HEAD = struct.Struct(">IBI")
U32 = struct.Struct(">I")
SETTING = struct.Struct(">HI")


class ErrorCode(IntEnum):
    """Why a stream or a connection ends."""

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
    """What came cannot be understood, or must not go on: the connection ends.

    Attributes:
        code: why.
    """

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(text)
        self.code = code


def frame_head(kind: int, flags: int, stream: int, length: int) -> bytes:
    """The first bytes of a frame.

    Args:
        kind: its type.
        flags: its flags.
        stream: its stream's id; 0 for the connection.
        length: of its payload, in bytes.
    """
    return FRAME_HEAD.pack(length << 8 | kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return FRAME_HEAD.pack(len(payload) << 8 | kind, flags, stream) + payload


def settings_frame(settings: dict[int, int]) -> bytes:
    """What this side expects of the other."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*each) for each in settings.items()))


def without_padding(payload: bytes, flags: int) -> bytes:
    """What a frame holds between its padding.

    Raises:
        ConnectionFault: there is more padding than frame.
    """
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame is padded beyond its end")
    return payload[1 : len(payload) - payload[0]]

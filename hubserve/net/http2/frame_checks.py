"""Check frames and settings against their definitions: RFC 9113, sections 6.3 to 6.9."""

from hubserve.net.http2 import frames
from hubserve.net.http2.frames import ConnectionFault, ErrorCode

#: frame type -> its name, its length (None for any), whether it belongs to the connection (None for either)
_DEFINITIONS: dict[int, tuple[str, int | None, bool | None]] = {
    frames.PRIORITY: ("PRIORITY", 5, False),
    frames.RST_STREAM: ("RST_STREAM", 4, False),
    frames.SETTINGS: ("SETTINGS", None, True),
    frames.PING: ("PING", 8, True),
    frames.GOAWAY: ("GOAWAY", None, True),
    frames.WINDOW_UPDATE: ("WINDOW_UPDATE", 4, None),
}
_SHORTEST_GOAWAY = 8


def check_frame(kind: int, flags: int, number: int, size: int) -> None:
    """Check a frame's length, and whether it may have a stream; HEADERS, CONTINUATION and unknown frames are not checked here.

    Args:
        kind: its type.
        flags: its flags.
        number: its stream.
        size: of its payload, in bytes.
    Raises:
        ConnectionFault: the frame is malformed.
    """
    definition = _DEFINITIONS.get(kind)
    if definition is None:
        return
    name, length, is_of_connection = definition
    if is_of_connection is not None and (number == 0) != is_of_connection:
        text = f"{name} frame on stream {number}; it belongs to the connection" if is_of_connection else f"{name} frame without a stream"
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, text)
    if length is not None and size != length:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"{name} frame of {size} bytes; it has {length}")
    if kind == frames.SETTINGS and (size % frames.SETTING.size or (flags & frames.ACK and size)):
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"SETTINGS frame of {size} bytes")
    if kind == frames.GOAWAY and size < _SHORTEST_GOAWAY:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"GOAWAY frame of {size} bytes; it has {_SHORTEST_GOAWAY} or more")


def depends_on_itself(priority: bytes, number: int) -> bool:
    """Return True if a stream's priority names the stream itself, which RFC 7540 (5.3.1) forbids; RFC 9113 no longer has priorities.

    Args:
        priority: the fields of a priority, 5 bytes.
        number: the stream.
    """
    return bool(frames.U32.unpack_from(priority)[0] & frames.LARGEST_STREAM == number)


def check_setting(name: int, value: int) -> None:
    """Check the value of one setting.

    Raises:
        ConnectionFault: the value is not allowed.
    """
    if name == frames.INITIAL_WINDOW_SIZE and value > frames.LARGEST_WINDOW:
        raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"INITIAL_WINDOW_SIZE {value} exceeds 2^31-1")
    if name == frames.ENABLE_PUSH and value > 1:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"ENABLE_PUSH is 0 or 1, not {value}")
    if name == frames.MAX_FRAME_SIZE and not frames.DEFAULT_FRAME_BYTES <= value <= frames.LARGEST_FRAME_BYTES:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"MAX_FRAME_SIZE {value} is not from 16384 to 16777215")

"""Which form the small frames have: RFC 9113, sections 6.3 to 6.9."""

from hubserve.net.http2 import frames
from hubserve.net.http2.frames import ConnectionFault, ErrorCode

#: type of frame -> its name, its length (None for any), whether it is of the connection (None for either)
_FORMS: dict[int, tuple[str, int | None, bool | None]] = {
    frames.PRIORITY: ("PRIORITY", 5, False),
    frames.RST_STREAM: ("RST_STREAM", 4, False),
    frames.SETTINGS: ("SETTINGS", None, True),
    frames.PING: ("PING", 8, True),
    frames.GOAWAY: ("GOAWAY", None, True),
    frames.WINDOW_UPDATE: ("WINDOW_UPDATE", 4, None),
}
_SHORTEST_GOAWAY = 8


def check_form(kind: int, flags: int, number: int, size: int) -> None:
    """Check a frame's length, and whether it may have a stream; HEADERS, CONTINUATION and unknown frames are not checked here.

    Args:
        kind: its type.
        flags: its flags.
        number: its stream.
        size: of its payload, in bytes.
    Raises:
        ConnectionFault: the frame is malformed.
    """
    form = _FORMS.get(kind)
    if form is None:
        return
    name, length, is_of_connection = form
    if is_of_connection is not None and (number == 0) != is_of_connection:
        text = "of the connection, not of a stream" if is_of_connection else "of a stream, not of the connection"
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"a {name} frame is {text}")
    if length is not None and size != length:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a {name} frame has {length} bytes, this one {size}")
    if kind == frames.SETTINGS and (size % frames.SETTING.size or (flags & frames.ACK and size)):
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a SETTINGS frame has {size} bytes")
    if kind == frames.GOAWAY and size < _SHORTEST_GOAWAY:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a GOAWAY frame has {_SHORTEST_GOAWAY} bytes or more")


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
        ConnectionFault: it cannot have that value.
    """
    if name == frames.INITIAL_WINDOW_SIZE and value > frames.LARGEST_WINDOW:
        raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the initial window is too large")
    if name == frames.ENABLE_PUSH and value > 1:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")
    if name == frames.MAX_FRAME_SIZE and not frames.DEFAULT_FRAME_BYTES <= value <= frames.LARGEST_FRAME_BYTES:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"frames cannot be of {value} bytes")

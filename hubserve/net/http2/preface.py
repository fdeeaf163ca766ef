"""Connection preface: RFC 9113, section 3.4."""

from hubserve.net.http2 import frames
from hubserve.net.http2.frames import ConnectionFault, ErrorCode, frame
from hubserve.net.http2.receive_flow import CONNECTION_WINDOW, MAX_DATA_BYTES
from hubserve.net.http2.streams import STREAM_WINDOW

_OLD_HTTP_TEXT = b"this port speaks gRPC, over HTTP/2; HTTP/1.1 is spoken at the server's other port\n"
#: the answer to a request of HTTP/1.1
OLD_HTTP_ANSWER = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_OLD_HTTP_TEXT), _OLD_HTTP_TEXT)
)


def server_preface(max_streams: int, max_header_bytes: int) -> bytes:
    """Return the server's preface: the limits of what a client may send.

    Args:
        max_streams: requests that may be in progress at once.
        max_header_bytes: the most bytes of a header list.
    """
    settings = {
        frames.MAX_CONCURRENT_STREAMS: max_streams,
        frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
        frames.MAX_FRAME_SIZE: MAX_DATA_BYTES,
        frames.MAX_HEADER_LIST_SIZE: max_header_bytes,
    }
    more = frames.U32.pack(CONNECTION_WINDOW - frames.DEFAULT_WINDOW)
    return frames.settings_frame(settings) + frame(frames.WINDOW_UPDATE, 0, 0, more)


def is_old_http(data: bytes) -> bool:
    """Return True if a client's first bytes are an HTTP/1.1 request."""
    return not frames.PREFACE.startswith(data[:4]) and b"HTTP/1" in data


def check_first(kind: int, flags: int) -> None:
    """Check a client's first frame.

    Raises:
        ConnectionFault: it is not SETTINGS.
    """
    if kind != frames.SETTINGS or flags & frames.ACK:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")

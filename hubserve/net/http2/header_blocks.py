"""Join header blocks from HEADERS and CONTINUATION frames: RFC 9113, sections 4.3, 6.2 and 6.10."""

from hubserve.net.http2 import frames
from hubserve.net.http2.frame_checks import depends_on_itself
from hubserve.net.http2.frames import ConnectionFault, ErrorCode

#: a priority: the stream that is depended on, and a weight
_PRIORITY_BYTES = 5

#: a stream, the flags of its HEADERS frame, its block (None if incomplete), why the stream must not be opened ("" if it may)
Block = tuple[int, int, bytes | None, str]

_PLAIN = frames.END_HEADERS | frames.PADDED | frames.HAS_PRIORITY


class HeaderBlockReader:
    """Reader of the header blocks of one connection.

    Args:
        max_bytes: the most bytes of a block.

    Attributes:
        stream: the stream whose block is incomplete; 0 if there is none.
    """

    def __init__(self, max_bytes: int) -> None:
        self.stream = 0
        self._max_bytes = max_bytes
        self._flags = 0
        self._fault = ""
        self._parts = bytearray()

    def start(self, flags: int, number: int, payload: bytes) -> Block:
        """Read a HEADERS frame.

        Raises:
            ConnectionFault: the stream is not a client's, or the frame is too short.
        """
        if not number & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"HEADERS on stream {number}; clients open streams of odd numbers")
        if flags & _PLAIN == frames.END_HEADERS:
            return number, flags, payload, ""
        data, fault = frames.without_padding(payload, flags), ""
        if flags & frames.HAS_PRIORITY:
            if len(data) < _PRIORITY_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "HEADERS frame too short for its priority")
            fault = "stream depends on itself" if depends_on_itself(data, number) else ""
            data = data[_PRIORITY_BYTES:]
        if flags & frames.END_HEADERS:
            return number, flags, data, fault
        self.stream, self._flags, self._fault, self._parts = number, flags, fault, bytearray(data)
        return number, flags, None, ""

    def extend(self, flags: int, payload: bytes) -> Block:
        """Read a CONTINUATION frame.

        Raises:
            ConnectionFault: no block is incomplete, or it is too large.
        """
        if not self.stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "CONTINUATION without HEADERS")
        self._parts += payload
        if len(self._parts) > self._max_bytes:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"a request's headers exceed the limit of {self._max_bytes} bytes")
        if not flags & frames.END_HEADERS:
            return self.stream, self._flags, None, ""
        block = (self.stream, self._flags, bytes(self._parts), self._fault)
        self.stream, self._parts = 0, bytearray()
        return block

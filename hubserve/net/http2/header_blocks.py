"""Puts header blocks together from HEADERS and CONTINUATION frames: RFC 9113, sections 4.3, 6.2 and 6.10."""

from hubserve.net.http2 import frames
from hubserve.net.http2.frame_checks import depends_on_itself
from hubserve.net.http2.frames import ConnectionFault, ErrorCode

#: a priority: the stream that is depended on, and a weight
_PRIORITY_BYTES = 5


#: a stream, the flags of its HEADERS frame, its block (None if that is not complete), why the stream must not be opened ("" if it may)
Block = tuple[int, int, bytes | None, str]

_PLAIN = frames.END_HEADERS | frames.PADDED | frames.HAS_PRIORITY


class BlockReader:
    """Puts the blocks of one connection together.

    Args:
        max_bytes: the most bytes of a block.

    Attributes:
        stream: the stream whose block is not complete; 0 if there is none.
    """

    def __init__(self, max_bytes: int) -> None:
        self.stream = 0
        self._max_bytes = max_bytes
        self._flags = 0
        self._fault = ""
        self._parts = bytearray()

    def begin(self, flags: int, number: int, payload: bytes) -> Block:
        """Take a HEADERS frame; returns the block as far as it is complete.

        Raises:
            ConnectionFault: the frame is not a client's, or too short.
        """
        if not number & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"stream {number} is not a client's to open")
        if flags & _PLAIN == frames.END_HEADERS:
            return number, flags, payload, ""
        data, fault = frames.without_padding(payload, flags), ""
        if flags & frames.HAS_PRIORITY:
            if len(data) < _PRIORITY_BYTES:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a HEADERS frame is too short for its priority")
            fault = "a stream depends on itself" if depends_on_itself(data, number) else ""
            data = data[_PRIORITY_BYTES:]
        if flags & frames.END_HEADERS:
            return number, flags, data, fault
        self.stream, self._flags, self._fault, self._parts = number, flags, fault, bytearray(data)
        return number, flags, None, ""

    def go_on(self, flags: int, payload: bytes) -> Block:
        """Take a CONTINUATION frame; returns the block as far as it is complete.

        Raises:
            ConnectionFault: no block is incomplete, or it is too large.
        """
        if not self.stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "headers go on that did not begin")
        self._parts += payload
        if len(self._parts) > self._max_bytes:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, f"a request's headers are over the limit of {self._max_bytes} bytes")
        if not flags & frames.END_HEADERS:
            return self.stream, self._flags, None, ""
        block = (self.stream, self._flags, bytes(self._parts), self._fault)
        self.stream, self._parts = 0, bytearray()
        return block

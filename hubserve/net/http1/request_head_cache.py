"""Read request heads from received bytes, and cache them by these bytes.

A client that keeps its connection sends the same head again and again: only the body differs. All that a head means, the framing of its
body included, follows from its bytes, so that one that was parsed before is looked up instead. A head that is refused is never cached.
"""

import re

from hubserve.bounded_cache import Recent
from hubserve.net.http1.head_parser import BadRequest, Head, check_request_line, parse_head

_LINE_END = b"\r\n"
_END = b"\r\n\r\n"
#: how many heads are cached, and of how many bytes at most each
_CACHED = 256
_MAX_CACHED_BYTES = 2048
MAX_HEAD_BYTES = 64 << 10
#: what no head holds: control characters, half a line's end
_NEVER = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r[^\n]")


class Heads:
    """The heads of one server's requests."""

    def __init__(self) -> None:
        self._known: Recent[bytes, Head] = Recent(_CACHED)

    def find(self, data: bytes) -> tuple[Head | None, int]:
        """Look up the head that some bytes begin with.

        Args:
            data: what came where a request may begin.
        Returns:
            The head, None if it is not cached; and its length in bytes.
        """
        length = data.find(_END) + len(_END)
        return self._known.get(data[:length]), length

    def read(self, raw: bytes) -> Head:
        """Parse a head, unless it is cached.

        Args:
            raw: all of it, with the empty line at its end.
        Raises:
            BadRequest: it is refused.
        """
        head = self._known.get(raw)
        if head is None:
            head = parse_head(raw)
            if len(raw) <= _MAX_CACHED_BYTES:
                self._known[raw] = head
        return head


class HeadReader:
    """Puts the heads of one connection together, however they are cut.

    Args:
        heads: of the server.
    """

    __slots__ = ("_has_line", "_heads", "_partial")

    def __init__(self, heads: Heads) -> None:
        self._heads = heads
        self._partial = bytearray()
        self._has_line = False  # the request line is here, and checked

    @property
    def is_within(self) -> bool:
        """Return True if part of a head has been received."""
        return bool(self._partial)

    def take(self, data: bytes) -> tuple[Head | None, bytes]:
        """Read on in the received bytes.

        Args:
            data: at least one byte.
        Returns:
            The head, None if it is not complete; and the bytes after it.
        Raises:
            BadRequest: the bytes do not begin a request, or begin one that is refused.
        """
        if not self._partial:
            head, length = self._heads.find(data)
            if head is None and len(_END) <= length <= MAX_HEAD_BYTES and not data.startswith(_LINE_END):
                head = self._heads.read(data[:length])
            if head is not None:
                return head, data[length:]
        partial, start = self._partial, len(self._partial)
        partial += data
        while partial.startswith(_LINE_END):  # RFC 9112, 2.2: some clients send an empty line behind a body
            del partial[: len(_LINE_END)]
            start = 0
        length = partial.find(_END, max(0, start - len(_END) + 1)) + len(_END)
        if length < len(_END):
            self._check_partial(max(0, start - 1))
            return None, b""
        if length > MAX_HEAD_BYTES:
            raise _too_large()
        raw, rest = bytes(partial[:length]), bytes(partial[length:])
        self._partial, self._has_line = bytearray(), False
        return self._heads.read(raw), rest

    def _check_partial(self, start: int) -> None:
        """Refuse what becomes no head, whatever follows."""
        partial = self._partial
        if _NEVER.search(partial, start):
            raise BadRequest(400, "malformed request: there are control characters, or lines that do not end with CR LF; send HTTP/1.1")
        if len(partial) > MAX_HEAD_BYTES:
            raise _too_large()
        if not self._has_line and partial.find(_LINE_END, start) >= 0:
            check_request_line(bytes(partial))
            self._has_line = True


def _too_large() -> BadRequest:
    return BadRequest(431, f"the request's headers are over {MAX_HEAD_BYTES} bytes; send fewer or shorter ones")

"""Cache parsed request heads by their raw bytes.

A client that keeps its connection sends the same head again and again: only the body differs. Everything about a request, including the
framing of its body, follows from the bytes of its head, so that a head that was parsed before is looked up. A refused head is never cached.
"""

import re

from hubserve.bounded_cache import BoundedCache
from hubserve.net.http1.head_parser import BadRequest, Head, check_request_line, parse_head

_LINE_END = b"\r\n"
_END = b"\r\n\r\n"
#: the number of cached heads, and the most bytes of each
_CACHED = 256
_MAX_CACHED_BYTES = 2048
MAX_HEAD_BYTES = 64 << 10
#: control characters and incomplete line ends, which no head contains
_NEVER = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r[^\n]")


class RequestHeadCache:
    """Size-bounded cache of the heads of one server's requests."""

    def __init__(self) -> None:
        self._cache: BoundedCache[bytes, Head] = BoundedCache(_CACHED)

    def find(self, data: bytes) -> tuple[Head | None, int]:
        """Look up the head that received bytes start with.

        Args:
            data: bytes at the start of a request.
        Returns:
            The cached head, or None; and its length in bytes.
        """
        length = data.find(_END) + len(_END)
        return self._cache.get(data[:length]), length

    def read(self, raw: bytes) -> Head:
        """Parse a head, unless it is cached.

        Args:
            raw: the complete head, with the empty line at its end.
        Raises:
            BadRequest: it is refused.
        """
        head = self._cache.get(raw)
        if head is None:
            head = parse_head(raw)
            if len(raw) <= _MAX_CACHED_BYTES:
                self._cache[raw] = head
        return head


class HeadReader:
    """Reader of the heads of one connection, however they are cut.

    Args:
        cache: the server's.
    """

    __slots__ = ("_cache", "_has_line", "_partial")

    def __init__(self, cache: RequestHeadCache) -> None:
        self._cache = cache
        self._partial = bytearray()
        self._has_line = False  # the request line was received and checked

    @property
    def is_within_head(self) -> bool:
        """Return True if part of a head has been received."""
        return bool(self._partial)

    def read(self, data: bytes) -> tuple[Head | None, bytes]:
        """Read received bytes.

        Args:
            data: at least one byte.
        Returns:
            The head, None if it is not complete; and the bytes after it.
        Raises:
            BadRequest: the bytes do not start a request, or start one that is refused.
        """
        if not self._partial:
            head, length = self._cache.find(data)
            if head is None and len(_END) <= length <= MAX_HEAD_BYTES and not data.startswith(_LINE_END):
                head = self._cache.read(data[:length])
            if head is not None:
                return head, data[length:]
        partial, start = self._partial, len(self._partial)
        partial += data
        while partial.startswith(_LINE_END):  # RFC 9112, 2.2: some clients send an empty line after a body
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
        return self._cache.read(raw), rest

    def _check_partial(self, start: int) -> None:
        """Refuse bytes that cannot become a head, whatever follows."""
        partial = self._partial
        if _NEVER.search(partial, start):
            raise BadRequest(400, "malformed HTTP/1.1 request: it contains control characters, or lines that do not end with CR LF")
        if len(partial) > MAX_HEAD_BYTES:
            raise _too_large()
        if not self._has_line and partial.find(_LINE_END, start) >= 0:
            check_request_line(bytes(partial))
            self._has_line = True


def _too_large() -> BadRequest:
    return BadRequest(431, f"the request's headers exceed {MAX_HEAD_BYTES} bytes; send fewer or shorter ones")

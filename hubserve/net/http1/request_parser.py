"""Parse the requests of one connection, without I/O: heads, and bodies by their framing (RFC 9112, section 6)."""

from typing import Protocol

from hubserve.net.body_receiver import BodyReceiver
from hubserve.net.http1.chunked import ChunkedDecoder
from hubserve.net.http1.head_parser import Head
from hubserve.net.http1.request_head_cache import HeadReader, RequestHeadCache


class Request(BodyReceiver, Protocol):
    """Receiver of a request's body."""

    def feed_end(self) -> None:
        """Handle the end of the body."""


class RequestParser:
    """Parser of one request at a time.

    Args:
        cache: the heads that the server has parsed before.

    Attributes:
        request: the request whose body is incomplete; None if there is none.
        missing_bytes: of its body, if the length was announced.
    """

    __slots__ = ("_chunked", "_heads", "missing_bytes", "request")

    def __init__(self, cache: RequestHeadCache) -> None:
        self.request: Request | None = None
        self.missing_bytes = 0
        self._heads = HeadReader(cache)
        self._chunked: ChunkedDecoder | None = None

    @property
    def is_chunked(self) -> bool:
        """Return True if the body of :attr:`request` is chunked."""
        return self._chunked is not None

    @property
    def is_within_head(self) -> bool:
        """Return True if part of a head was received."""
        return self._heads.is_within_head

    def parse_head(self, data: bytes) -> tuple[Head | None, bytes]:
        """Parse received bytes of a head.

        Returns:
            The head, None if it is incomplete; and the bytes after it.
        Raises:
            BadRequest: the head is refused.
        """
        return self._heads.read(data)

    def start_body(self, head: Head, request: Request) -> None:
        """Start to parse the body of a request.

        Args:
            head: the request's.
            request: receives the body; at once the end of one that is empty.
        """
        if head.is_chunked:
            self.request, self._chunked = request, ChunkedDecoder()
        elif head.announced_bytes:
            self.request, self.missing_bytes = request, head.announced_bytes
        else:
            request.feed_end()

    def parse_body(self, data: bytes) -> bytes:
        """Parse received bytes of a body; return the bytes after it.

        Raises:
            BadRequest: the body is malformed.
        """
        request = self.request
        if request is None:
            return data
        if self._chunked:
            part, rest = self._chunked.decode(data)
            if part:
                request.feed(part)
            if self._chunked.is_complete:
                self._end_body(request)
            return rest
        count = min(len(data), self.missing_bytes)
        self.missing_bytes -= count
        request.feed(data if count == len(data) else data[:count])
        if not self.missing_bytes:
            self._end_body(request)
        return data[count:]

    def buffer_filled(self, count: int) -> None:
        """Parse ``count`` bytes of a body that were read into its own buffer."""
        self.missing_bytes -= count
        if self.request:
            self.request.buffer_filled(count)
            if not self.missing_bytes:
                self._end_body(self.request)

    def discard(self) -> None:
        """Discard the request whose body is incomplete."""
        self.request, self._chunked, self.missing_bytes = None, None, 0

    def _end_body(self, request: Request) -> None:
        self.request = self._chunked = None
        request.feed_end()

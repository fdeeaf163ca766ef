"""One request and its answer, between an HTTP connection and an ASGI application."""

import asyncio
import http
import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from hubserve.errors import drop_frames
from hubserve.net.admission import SMALL_BYTES
from hubserve.net.http1.head_parser import Head

if TYPE_CHECKING:
    from hubserve.net.http1.connection import HttpConnection

log = logging.getLogger("hubserve")

T = TypeVar("T")

STATUS_LINES = {each.value: b"HTTP/1.1 %d %s\r\n" % (each.value, each.phrase.encode()) for each in http.HTTPStatus}
#: how much of a body may wait to be read by the application
_MAX_WAITING_BYTES = 64 << 10
#: parts that wait are joined beyond this number: a client may send them byte by byte
_MAX_WAITING_PARTS = 64
#: more than any answer has: the rest of an answer of unknown length to a client of HTTP/1.0
_OPEN_ENDED = sys.maxsize >> 1
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_DISCONNECT = {"type": "http.disconnect"}
_BODILESS = (204, 304)
#: the answer where an application failed in a way that nobody foresaw
_LOG_HAS_IT = b"an unexpected error in the server; its log has the details"
#: for clients of any protocol: PaddleHub's look into "msg", those of the Open Inference Protocol into "error"
UNEXPECTED = b'{"status":"101","msg":"%s","results":"","error":"%s"}' % (_LOG_HAS_IT, _LOG_HAS_IT)


class Taker(Protocol):
    """Takes a body as it comes."""

    def add(self, chunk: bytes) -> None:
        """The next part came."""

    def room(self) -> memoryview | None:
        """Where the next parts are to be put; None if they are to be given to :meth:`add`."""

    def filled(self, count: int) -> None:
        """So many bytes have been put there."""


class Exchange:
    """One request and its answer: what an ASGI application calls ``receive`` and ``send``.

    Args:
        connection: the client's.
        head: the request's.

    Attributes:
        scope: ASGI's.
        gone: whether the client has left before it was answered.
        cancel_when_gone: end the task that answers when that happens.
        ends_at_eof: take a client that sends no more to have left, as for streams whose next part may never come.
        started: whether the answer's headers have been sent.
        keep_alive: whether another request may follow.
        announced_bytes: the body's length, where it was told; else 0.
    """

    __slots__ = (
        "_chunked",
        "_chunks",
        "_complete",
        "_connection",
        "_head",
        "_held_bytes",
        "_left_bytes",
        "_more_body",
        "_taker",
        "_taker_failed",
        "_told_end",
        "_waiter",
        "_waiting_bytes",
        "announced_bytes",
        "cancel_when_gone",
        "ends_at_eof",
        "expects_continue",
        "gone",
        "keep_alive",
        "scope",
        "started",
        "task",
    )

    def __init__(self, connection: "HttpConnection", head: Head) -> None:
        self.gone = False
        self.cancel_when_gone = False
        self.ends_at_eof = False
        self.started = False
        self.keep_alive = head.keep_alive
        self.expects_continue = head.expects_continue
        self.task: asyncio.Task[None] | None = None
        self._connection = connection
        self.scope = {**head.scope, "extensions": {"hubserve": self}}
        self.announced_bytes = head.announced_bytes
        self._taker: Taker | None = None
        self._taker_failed: Exception | None = None
        self._chunks: list[bytes] = []
        self._waiting_bytes = 0
        self._more_body = True
        self._told_end = False
        self._waiter: asyncio.Future[None] | None = None
        self._head = b""
        self._held_bytes = 0  # of the answer, until they are with the connection
        self._left_bytes = 0
        self._chunked = False
        self._complete = False

    async def run(self, app: Any) -> None:
        """Have the application answer."""
        try:
            await app(self.scope, self.receive, self.send)
        except Exception as error:
            log.exception("an unexpected error while answering %s %s", self.scope["method"], self.scope["path"])
            drop_frames(error)
            if not self.started:
                self._start(500, [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(UNEXPECTED))])
                self._write(UNEXPECTED, more_body=False)
        finally:
            if not self._complete:  # it failed, or the client has gone
                self.keep_alive = False
                self._finish()
            del self.scope["extensions"]  # a cycle, which only the garbage collector would end

    # --- the request ---

    def feed(self, body: bytes) -> None:
        """A part of the body came."""
        if self._complete:
            return
        if self._taker:
            self._hand_over(self._taker.add, body)
            return
        self._chunks.append(body)
        if len(self._chunks) > _MAX_WAITING_PARTS:
            self._chunks = [b"".join(self._chunks)]
        self._waiting_bytes += len(body)
        if self._waiting_bytes > _MAX_WAITING_BYTES:
            self._connection.pause()
        self._wake()

    def feed_end(self) -> None:
        """The body is complete."""
        self._more_body = False
        self._wake()

    def disconnect(self) -> None:
        """The client has left."""
        if self._complete:
            return
        self.gone = True
        self._wake()
        if self.cancel_when_gone and self.task:
            self.task.cancel()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def _hand_over(self, take: Callable[[T], None], part: T) -> None:
        if not self._taker_failed:
            try:
                take(part)
            except Exception as error:  # it is raised where the body is read
                self._taker_failed = error
                self._wake()

    def take_body(self) -> bytes | None:
        """The body, if all of it has come and nobody has had it; else None."""
        if self._more_body or self._told_end:
            return None
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks, self._waiting_bytes, self._told_end = [], 0, True
        self._connection.resume()
        return body

    def room(self) -> memoryview | None:
        """Where the rest of the body is to go, if it may be put there at once; :meth:`filled` tells how much was."""
        if self._complete or self._taker is None or self._taker_failed:
            return None
        return self._taker.room()

    def filled(self, count: int) -> None:
        """So many bytes of the body have been put where :meth:`room` said."""
        if self._taker:
            self._hand_over(self._taker.filled, count)

    async def read_into(self, taker: Taker) -> bool:
        """Have each part of the body handed over as it comes, without a detour through :meth:`receive`.

        Args:
            taker: is given each part; what it raises is raised here.
        Returns:
            Whether the whole body came; otherwise the client has left.
        """
        self._allow_sending()
        self._taker = taker
        try:
            for chunk in self._chunks:
                self._hand_over(taker.add, chunk)
            self._chunks, self._waiting_bytes = [], 0
            self._connection.resume()
            while self._more_body and not self.gone and not self._taker_failed:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
            if self._taker_failed:
                raise self._taker_failed
        finally:  # keep no reference to it, nor to the frames that the error passed through
            self._taker, self._taker_failed, self._told_end = None, None, True
        return not self.gone

    def _allow_sending(self) -> None:
        if self.expects_continue and not self.started and self._more_body and not self._chunks:
            self._connection.write(_CONTINUE, b"")
        self.expects_continue = False

    async def receive(self) -> dict[str, Any]:
        """ASGI's: the body as it comes, then that the client has left."""
        self._allow_sending()
        while True:
            if self.gone or self._complete:
                return _DISCONNECT
            if self._chunks or (not self._more_body and not self._told_end):
                body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
                self._chunks, self._waiting_bytes = [], 0
                self._told_end = not self._more_body
                if self._more_body:
                    self._connection.resume()
                return {"type": "http.request", "body": body, "more_body": self._more_body}
            self._connection.resume()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    # --- the answer ---

    async def send(self, message: Any) -> None:
        """ASGI's: the status and headers, then the body in one or more parts.

        Raises:
            RuntimeError: a header holds a line's end.
        """
        if self.gone or self._complete:
            return
        kind = message["type"]
        if kind == "http.response.start":
            self._start(message["status"], message.get("headers", ()))
        elif kind == "http.response.body":
            body = message.get("body", b"")
            if self._chunked and len(body) > SMALL_BYTES:
                self._hold(len(body))
            # an answer of known length lies in memory as a whole: waiting between its parts would only keep its request there, too
            if (self._chunked or self._left_bytes > _OPEN_ENDED) and self._connection.may_write:
                await self._connection.drain()
            self._write(body, message.get("more_body", False))

    def upgrade(self, headers: list[tuple[bytes, bytes]]) -> "tuple[asyncio.StreamReader, asyncio.StreamWriter]":
        """Answer that the connection changes to another protocol, such as WebSockets; returns its bytes from then on.

        Args:
            headers: the answer's.
        """
        self.started = True
        self.keep_alive = False
        lines = [b"%b: %b\r\n" % each for each in headers]
        return self._connection.hand_over(b"".join([STATUS_LINES[101], self._connection.default_lines(), *lines, b"\r\n"]))

    def _start(self, status: int, headers: Any) -> None:
        has_body = self.scope["method"] != "HEAD" and status not in _BODILESS
        length = None
        lines = [STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, self._connection.default_lines()]
        for given, value in headers:
            name = given.lower()
            if b"\n" in value or b"\r" in value:
                raise RuntimeError("a header of the answer holds a line's end")
            lines.append(b"%s: %s\r\n" % (name, value))
            if name == b"content-length":
                length = int(value)
            elif name == b"connection" and b"close" in value.lower():
                self.keep_alive = False
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
        self._chunked = length is None and has_body and self.scope["http_version"] != "1.0"
        if self._chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        self._left_bytes = (sys.maxsize if length is None else length) if has_body else 0
        if length is not None and SMALL_BYTES < length == self._left_bytes:
            self._hold(length)
        self._head = b"".join(lines)
        if self._chunked:  # parts may come slowly: the client is to see at once that they will
            self.started = True
            self._connection.write(self._head, b"")
            self._head = b""

    def _write(self, body: Any, more_body: bool) -> None:
        if self._chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more_body else b"0\r\n\r\n")
        else:
            if len(body) > self._left_bytes:
                body = body[: self._left_bytes]
            self._left_bytes -= len(body)
        if self._head or body:
            self.started = True
            self._connection.write(self._head, body)
            self._head = b""
            if self._chunked and self._held_bytes:
                self._settle()
        if not more_body:
            if self._left_bytes:  # less than was announced: only the connection's end tells the client
                self.keep_alive = False
            self._finish()

    def _hold(self, count: int) -> None:
        self._held_bytes += count
        self._connection.unread.hold(count)

    def _settle(self) -> None:
        """Hand over to the connection what is held of the answer."""
        held, self._held_bytes = self._held_bytes, 0
        self._connection.unread.settle(held)

    def _finish(self) -> None:
        self._complete = True
        self._chunks.clear()
        self._wake()
        if self._held_bytes:
            self._settle()
        self._connection.answered(self)

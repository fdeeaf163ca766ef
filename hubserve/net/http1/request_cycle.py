"""One request and its response, between an HTTP connection and an ASGI application."""

import asyncio
import http
import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from hubserve.errors import drop_frames, one_line
from hubserve.net.admission import SMALL_BYTES
from hubserve.net.body_receiver import BodyReceiver
from hubserve.net.headers import HEADERS
from hubserve.net.http1.head_parser import Head
from hubserve.net.http1.response_writer import ResponseWriter
from hubserve.telemetry.request_record import CURRENT
from hubserve.telemetry.telemetry import Telemetry

log = logging.getLogger("hubserve")

T = TypeVar("T")

STATUS_LINES = {each.value: b"HTTP/1.1 %d %s\r\n" % (each.value, each.phrase.encode()) for each in http.HTTPStatus}
#: bytes of a body that may wait for the application
_MAX_WAITING_BYTES = 64 << 10
#: waiting parts are joined beyond this number: a client may send single bytes
_MAX_WAITING_PARTS = 64
#: more than any response has: what is left of a response of unknown length to a client of HTTP/1.0
_OPEN_ENDED = sys.maxsize >> 1
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_DISCONNECT = {"type": "http.disconnect"}
_BODILESS = (204, 304)
_SERVER_ERROR = 500
_INTERNAL_ERROR_TEXT = b"an unexpected error in the server; its log has the details"
#: response to an unexpected error, for clients of any protocol: PaddleHub's read "msg", those of the Open Inference Protocol "error"
INTERNAL_ERROR_BODY = b'{"status":"101","msg":"%s","results":"","error":"%s"}' % (_INTERNAL_ERROR_TEXT, _INTERNAL_ERROR_TEXT)


class Connection(Protocol):
    """The client's connection."""

    def pause_reading(self) -> None:
        """Stop reading."""

    def resume_reading(self) -> None:
        """Resume reading."""

    def default_lines(self) -> bytes:
        """Return the headers of every response, encoded."""

    def response_sent(self, cycle: "RequestCycle") -> None:
        """Handle that the response is written completely."""

    def switch_protocol(self, head: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Write a response's head, and return streams of the bytes after it."""


class RequestCycle:
    """One request and its response: the ``receive`` and ``send`` of an ASGI application.

    Args:
        connection: the client's.
        writer: writes to the client.
        head: the request's.
        telemetry: receives the record.

    Attributes:
        scope: ASGI's.
        record: of the request.
        disconnected: whether the client disconnected before the response was complete.
        cancel_on_disconnect: whether to cancel the task that answers when that happens.
        ends_at_eof: whether a client that sends no more counts as disconnected, as for streams whose next part may never arrive.
        started: whether the response's headers have been sent.
        keep_alive: whether another request may follow.
        announced_bytes: the body's length if it was announced; else 0.
        task: the task that answers.
    """

    __slots__ = (
        "_chunked",
        "_chunks",
        "_complete",
        "_connection",
        "_end_received",
        "_expects_continue",
        "_head",
        "_held_bytes",
        "_left_bytes",
        "_more_body",
        "_receiver",
        "_receiver_error",
        "_telemetry",
        "_waiter",
        "_waiting_bytes",
        "_writer",
        "announced_bytes",
        "cancel_on_disconnect",
        "disconnected",
        "ends_at_eof",
        "keep_alive",
        "record",
        "scope",
        "started",
        "task",
    )

    def __init__(self, connection: Connection, writer: ResponseWriter, head: Head, telemetry: Telemetry) -> None:
        self.disconnected = False
        self.cancel_on_disconnect = False
        self.ends_at_eof = False
        self.started = False
        self.keep_alive = head.keep_alive
        self.task: asyncio.Task[None] | None = None
        self.scope = {**head.scope, "extensions": {"hubserve": self}}
        self.announced_bytes = head.announced_bytes
        self.record = record = telemetry.begin()
        record.method, record.path = head.scope["method"], head.scope["path"]
        sent_id = head.scope[HEADERS].get(b"x-request-id")
        if sent_id is not None:
            record.accept_id(sent_id.decode("latin-1"))
        if telemetry.traces is not None:
            telemetry.traces.begin_http(record, head.scope[HEADERS])
        self._telemetry = telemetry
        self._connection = connection
        self._writer = writer
        self._expects_continue = head.expects_continue
        self._receiver: BodyReceiver | None = None
        self._receiver_error: Exception | None = None
        self._chunks: list[bytes] = []
        self._waiting_bytes = 0
        self._more_body = True
        self._end_received = False  # by the application
        self._waiter: asyncio.Future[None] | None = None
        self._head = b""
        self._held_bytes = 0  # of the response, until they are passed to the connection
        self._left_bytes = 0
        self._chunked = False
        self._complete = False

    async def run(self, app: Any) -> None:
        """Run the application."""
        CURRENT.set(self.record)
        try:
            await app(self.scope, self.receive, self.send)
        except Exception as error:
            log.exception("an unexpected error while answering %s %s", self.scope["method"], one_line(self.scope["path"]))
            drop_frames(error)
            if not self.started:
                self._start(500, [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(INTERNAL_ERROR_BODY))])
                self._write(INTERNAL_ERROR_BODY, more_body=False)
        finally:
            if not self._complete:  # the application failed, or the client disconnected
                self.keep_alive = False
                self._finish()
            del self.scope["extensions"]  # a cycle, which only the garbage collector would free

    # --- request ---

    def feed(self, data: bytes) -> None:
        """Receive a part of the body."""
        if self._complete:
            return
        self.record.received_bytes += len(data)
        if self._receiver:
            self._pass_on(self._receiver.feed, data)
            return
        self._chunks.append(data)
        if len(self._chunks) > _MAX_WAITING_PARTS:
            self._chunks = [b"".join(self._chunks)]
        self._waiting_bytes += len(data)
        if self._waiting_bytes > _MAX_WAITING_BYTES:
            self._connection.pause_reading()
        self._wake()

    def feed_end(self) -> None:
        """Receive the end of the body."""
        self._more_body = False
        if self.record.trace is not None:
            self.record.trace.received_at = time.monotonic()
        self._wake()

    def receive_buffer(self) -> memoryview | None:
        """Return the buffer for the rest of the body, if its receiver has one."""
        if self._complete or self._receiver is None or self._receiver_error:
            return None
        return self._receiver.receive_buffer()

    def buffer_filled(self, count: int) -> None:
        """Receive ``count`` bytes of the body that were read into :meth:`receive_buffer`."""
        if self._receiver:
            self.record.received_bytes += count
            self._pass_on(self._receiver.buffer_filled, count)

    def disconnect(self) -> None:
        """Handle that the client disconnected."""
        if self._complete:
            return
        self.disconnected = True
        self._wake()
        if self.cancel_on_disconnect and self.task:
            self.task.cancel()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def _pass_on(self, receive: Callable[[T], None], part: T) -> None:
        if not self._receiver_error:
            try:
                receive(part)
            except Exception as error:  # raised where the body is read
                self._receiver_error = error
                self._wake()

    def buffered_body(self) -> bytes | None:
        """Return the body if all of it has arrived and none of it was read; else None."""
        if self._more_body or self._end_received:
            return None
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks, self._waiting_bytes, self._end_received = [], 0, True
        self._connection.resume_reading()
        return body

    async def read_into(self, receiver: BodyReceiver) -> bool:
        """Pass each part of the body to a receiver as it arrives, without a detour through :meth:`receive`.

        Args:
            receiver: receives each part; what it raises is raised here.
        Returns:
            True if the whole body arrived, False if the client disconnected.
        """
        self._allow_sending()
        self._receiver = receiver
        try:
            for chunk in self._chunks:
                self._pass_on(receiver.feed, chunk)
            self._chunks, self._waiting_bytes = [], 0
            self._connection.resume_reading()
            while self._more_body and not self.disconnected and not self._receiver_error:
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
            if self._receiver_error:
                raise self._receiver_error
        finally:  # keep no reference to the receiver, nor to the frames that the error passed through
            self._receiver, self._receiver_error, self._end_received = None, None, True
        return not self.disconnected

    def _allow_sending(self) -> None:
        if self._expects_continue and not self.started and self._more_body and not self._chunks:
            self._writer.write(_CONTINUE, b"")
        self._expects_continue = False

    async def receive(self) -> dict[str, Any]:
        """ASGI's ``receive``: the body as it arrives, then that the client disconnected."""
        self._allow_sending()
        while True:
            if self.disconnected or self._complete:
                return _DISCONNECT
            if self._chunks or (not self._more_body and not self._end_received):
                body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
                self._chunks, self._waiting_bytes = [], 0
                self._end_received = not self._more_body
                if self._more_body:
                    self._connection.resume_reading()
                return {"type": "http.request", "body": body, "more_body": self._more_body}
            self._connection.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    # --- response ---

    async def send(self, message: Any) -> None:
        """ASGI's ``send``: the status and headers, then the body in one or more parts.

        Raises:
            RuntimeError: a header contains CR or LF.
        """
        if self.disconnected or self._complete:
            return
        kind = message["type"]
        if kind == "http.response.start":
            self._start(message["status"], message.get("headers", ()))
        elif kind == "http.response.body":
            body = message.get("body", b"")
            if self._chunked and len(body) > SMALL_BYTES:
                self._hold(len(body))
            # a response of known length is in memory as a whole: waiting between its parts would only keep its request there, too
            if (self._chunked or self._left_bytes > _OPEN_ENDED) and self._writer.is_paused:
                await self._writer.drain()
            self._write(body, message.get("more_body", False))

    def upgrade(self, headers: list[tuple[bytes, bytes]]) -> "tuple[asyncio.StreamReader, asyncio.StreamWriter]":
        """Answer that the connection switches to another protocol, such as WebSockets; return streams of its bytes.

        Args:
            headers: the response's.
        """
        self.started = True
        self.keep_alive = False
        self.record.status = 101
        if self.record.request_id:
            headers = [*headers, (b"x-request-id", self.record.request_id.encode())]
        if self.record.trace is not None:
            headers = [*headers, (b"traceparent", self.record.trace.responding().encode())]
        lines = [b"%b: %b\r\n" % each for each in headers]
        return self._connection.switch_protocol(b"".join([STATUS_LINES[101], self._connection.default_lines(), *lines, b"\r\n"]))

    def _start(self, status: int, headers: Any) -> None:
        self.record.status = status
        has_body = self.scope["method"] != "HEAD" and status not in _BODILESS
        length = None
        lines = [STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, self._connection.default_lines()]
        for given, value in headers:
            name = given.lower()
            if b"\n" in value or b"\r" in value:
                raise RuntimeError(f"the response header {name!r} contains CR or LF")
            lines.append(b"%s: %s\r\n" % (name, value))
            if name == b"content-length":
                length = int(value)
            elif name == b"connection" and b"close" in value.lower():
                self.keep_alive = False
        if self.record.request_id or status >= _SERVER_ERROR:
            lines.append(b"x-request-id: %b\r\n" % self.record.identify().encode())
        if self.record.trace is not None:
            lines.append(b"traceparent: %b\r\n" % self.record.trace.responding().encode())
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
        if self._chunked:  # parts may take long: show the client at once that they will follow
            self.started = True
            self._writer.write(self._head, b"")
            self._head = b""

    def _write(self, body: Any, more_body: bool) -> None:
        self.record.sent_bytes += len(body)
        if self._chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more_body else b"0\r\n\r\n")
        else:
            if len(body) > self._left_bytes:
                body = body[: self._left_bytes]
            self._left_bytes -= len(body)
        if self._head or body:
            self.started = True
            self._writer.write(self._head, body)
            self._head = b""
            if self._chunked and self._held_bytes:
                self._settle()
        if not more_body:
            if self._left_bytes:  # less than was announced: only the end of the connection shows it to the client
                self.keep_alive = False
            self._finish()

    def _hold(self, count: int) -> None:
        self._held_bytes += count
        self._writer.unsent.hold(count)

    def _settle(self) -> None:
        """Pass to the connection what is held of the response."""
        held, self._held_bytes = self._held_bytes, 0
        self._writer.unsent.settle(held)

    def _finish(self) -> None:
        self._complete = True
        self._chunks.clear()
        self._wake()
        if self._held_bytes:
            self._settle()
        self._telemetry.end(self.record)
        self._connection.response_sent(self)

"""One request of a WSGI server's thread, answered by an ASGI application on an event loop in another thread.

The WSGI thread waits for orders: to read the next part of the body, or to return the response. So a body is read only once the application
asks for it, at most one part ahead, and the body of a refused request is not read at all.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, NamedTuple

from hubserve.errors import drop_frames, one_line
from hubserve.net.body_receiver import BodyReceiver
from hubserve.net.headers import header, headers_of
from hubserve.net.http1.request_cycle import INTERNAL_ERROR_BODY
from hubserve.telemetry.request_record import CURRENT, RequestRecord
from hubserve.telemetry.telemetry import Telemetry

log = logging.getLogger("hubserve")

_PART_BYTES = 256 << 10
#: a body of up to this size is read at once: that costs less than another switch between the threads
_SMALL_BYTES = 64 << 10
#: headers of one connection, which the WSGI server sets
_CONNECTION_HEADERS = (b"connection",)
_SERVER_ERROR = 500
_JSON = [("content-type", "application/json")]
_INCOMPLETE = (
    b'{"status":"101","msg":"the request\'s body ended too early: the client disconnected, or another part of this application '
    b'has read it already","results":""}'
)
_ENDING = b'{"status":"101","msg":"the application is ending; try again later","results":""}'

Read = Callable[[int], bytes]


class Response(NamedTuple):
    """Response of a WSGI server."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class WsgiRequestCycle:
    """One request and its response; protocols use it like :class:`hubserve.net.http1.request_cycle.RequestCycle`.

    Args:
        scope: ASGI's; the request cycle adds itself to it.
        length: of the body; None if it was not announced.
        read: reads up to a number of bytes of the body, ``b""`` at its end; an OSError or ValueError means that it is incomplete.

    Attributes:
        disconnected: whether the client disconnected; never True, as WSGI does not report it.
        cancel_on_disconnect: without effect, for the same reason.
        task: the task that answers.
        announced_bytes: the body's length if it was announced; else 0.
        record: of the request; valid once it is run.
    """

    record: RequestRecord

    def __init__(self, scope: dict[str, Any], length: int | None, read: Read) -> None:
        self.announced_bytes = length or 0
        self.disconnected = False
        self.cancel_on_disconnect = False
        self.task: asyncio.Task[None] | None = None
        self._scope = {**scope, "extensions": {"hubserve": self}}
        self._read = read
        self._left_bytes = length
        self._received_bytes = 0
        self._orders: SimpleQueue[asyncio.Future[bytes | None] | Response] = SimpleQueue()
        self._early: bytes | None = None
        self._status = 0
        self._headers: list[tuple[str, str]] = []
        self._parts: list[bytes] = []

    # --- in the WSGI server's thread ---

    def prepare(self) -> None:
        """Read a small body in advance."""
        if self._left_bytes is not None and self._left_bytes <= _SMALL_BYTES:
            self._early = self._next_part()

    def wait(self) -> Response:
        """Carry out the orders of the application until it has answered."""
        while True:
            order = self._orders.get()
            if isinstance(order, Response):
                return order
            part = self._next_part()
            with contextlib.suppress(RuntimeError):  # the loop has ended; its last order is the answer
                order.get_loop().call_soon_threadsafe(_resolve, order, part)

    def _next_part(self) -> bytes | None:
        """Read up to 256 KiB of the body; return ``b""`` at its end, None if it is incomplete."""
        wanted = _PART_BYTES if self._left_bytes is None else min(_PART_BYTES, self._left_bytes)
        if not wanted:
            return b""
        try:
            part = self._read(wanted)
        except (OSError, ValueError):
            return None
        self._received_bytes += len(part)
        if self._left_bytes is not None:
            self._left_bytes -= len(part)
            if not part:
                return None
        return part

    # --- on the loop ---

    async def run(self, app: Any, telemetry: Telemetry) -> None:
        """Run the application; the thread gets a response whatever happens.

        Args:
            app: of ASGI.
            telemetry: receives the record.
        """
        self.record = record = telemetry.begin()
        record.method, record.path = self._scope["method"], self._scope["path"]
        record.peer = (self._scope.get("client") or ("",))[0]
        if sent_id := header(self._scope, b"x-request-id"):
            record.accept_id(sent_id)
        if telemetry.traces is not None:
            telemetry.traces.begin_http(record, headers_of(self._scope))
        CURRENT.set(record)
        answer = Response(503, [*_JSON, ("retry-after", "1")], _ENDING)  # for a task that is cancelled
        try:
            await app(self._scope, self._receive, self._send)
            # protocols do not answer clients that disconnected
            answer = Response(self._status, self._headers, b"".join(self._parts)) if self._status else Response(400, [*_JSON], _INCOMPLETE)
        except Exception as error:
            log.exception("an unexpected error while answering %s %s", self._scope["method"], one_line(self._scope["path"]))
            drop_frames(error)
            answer = Response(500, [*_JSON], INTERNAL_ERROR_BODY)
        finally:
            if record.request_id or answer.status >= _SERVER_ERROR:
                answer.headers.append(("x-request-id", record.identify()))
            if record.trace is not None:
                answer.headers.append(("traceparent", record.trace.responding()))
            self._orders.put(answer)
            record.status, record.sent_bytes, record.received_bytes = answer.status, len(answer.body), self._received_bytes
            telemetry.end(record)
            del self._scope["extensions"]  # a cycle, which only the garbage collector would free

    def buffered_body(self) -> bytes | None:
        """Return the body if all of it was read in advance; else None."""
        if self._left_bytes != 0 or self._early is None:
            return None
        body, self._early = self._early, None
        self._note_received()
        return body

    async def read_into(self, receiver: BodyReceiver) -> bool:
        """Pass each part of the body to a receiver.

        Args:
            receiver: receives each part; what it raises is raised here.
        Returns:
            True if the whole body arrived.
        """
        part, self._early = self._early, None
        while True:
            if part is None:
                part = await self._order_part()
            if not part:
                self._note_received()
                return part is not None
            receiver.feed(part)
            if self._left_bytes == 0:
                self._note_received()
                return True
            part = None

    def _note_received(self) -> None:
        if self.record.trace is not None:
            self.record.trace.received_at = time.monotonic()

    async def _order_part(self) -> bytes | None:
        ordered: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._orders.put(ordered)
        return await ordered

    async def _receive(self) -> dict[str, Any]:
        part = self._early or (await self._order_part() if self._left_bytes != 0 else b"")
        self._early = None
        return {"type": "http.request", "body": part or b"", "more_body": bool(part) and self._left_bytes != 0}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = [(name, value) for name, value in message.get("headers", ()) if name.lower() not in _CONNECTION_HEADERS]
            self._headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
        elif message["type"] == "http.response.body":
            self._parts.append(bytes(message.get("body", b"")))


def _resolve(order: "asyncio.Future[bytes | None]", part: bytes | None) -> None:
    if not order.done():  # its task may have been cancelled meanwhile
        order.set_result(part)

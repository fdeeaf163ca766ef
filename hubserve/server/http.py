"""HTTP/1.1 for uvicorn: what a request costs here is a large part of what a small request costs in all.

It differs from uvicorn's own protocol in what it leaves out (WebSockets, access log) and in what it adds: status, headers and body leave in
one write; a body's bytes are handed on as they come, without being collected first; a client that is slow, or leaves, is noticed.

A request's scope has the :class:`hubserve.server.exchange.Exchange` itself among its ``extensions`` under ``hubserve``.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httptools

from hubserve.server.exchange import STATUS_LINES, Exchange
from hubserve.server.heads import Head, Heads, make_head
from hubserve.serving.sweeper import Sweeper

if TYPE_CHECKING:  # what it stands on is installed only where gRPC is
    from hubserve.http2.endpoint import Endpoint

#: no method of HTTP/1.1 begins so
HTTP2_BEGINS = b"PRI "
_MAX_HEADER_BYTES = 64 << 10
#: a body larger than this is written behind its headers instead of being copied to them
_JOINED_BYTES = 64 << 10
#: of a body whose length is known, this much and more is not run through the parser
_PLAIN_BYTES = 64 << 10
#: what is read at once, unless it goes where it belongs
_SCRATCH_BYTES = 256 << 10
#: the same where a request may begin: what comes of a large body with its head is copied more than once
_FIRST_BYTES = 16 << 10
_KEEP_ALIVE_S = 15.0
_SWEEP_EVERY_S = 0.25


class _Shared:
    """What the connections of one server share.

    Args:
        client_timeout_s: how long a client may take to send its headers.
        http2: for connections that turn out to be gRPC's; None where this port does not speak it.
    """

    def __init__(self, client_timeout_s: float, http2: "Endpoint[Any] | None") -> None:
        self.client_timeout_s = client_timeout_s
        self.http2 = http2
        self.sweeper = Sweeper(_SWEEP_EVERY_S)
        self.heads = Heads()
        self.default_lines = _DefaultLines()
        self.scratch = memoryview(bytearray(_SCRATCH_BYTES))


def http_protocol(client_timeout_s: float, http2: "Endpoint[Any] | None" = None) -> Callable[..., "HttpConnection"]:
    """A factory of connections, for uvicorn's setting ``http``.

    Args:
        client_timeout_s: how long a client may take to send its headers.
        http2: what answers gRPC on the same port; None if nothing does.
    """
    shared = _Shared(client_timeout_s, http2)

    def make(config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> HttpConnection:  # noqa: ARG001 - uvicorn's call
        return HttpConnection(config.loaded_app, server_state, shared)

    return make


class HttpConnection(asyncio.BufferedProtocol):
    """One client's connection.

    Attributes:
        due: when it is closed unless something happens; see :class:`hubserve.serving.sweeper.Sweeper`.
        closed: whether the client can no longer be written to.
        may_write: set once the client has taken enough of what was written; None while there is nothing to wait for.
    """

    def __init__(self, app: Any, server_state: Any, shared: _Shared) -> None:
        self.due = 0.0
        self.closed = False
        self._app = app
        self._server_state = server_state
        self._shared = shared
        self._sweeper = shared.sweeper
        self._heads = shared.heads
        self._scratch = shared.scratch
        self._client_timeout_s = shared.client_timeout_s
        self._is_new = True  # nothing has come yet
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: Any = None
        self._client: tuple[str, int] | None = None
        self._server: tuple[str, int] | None = None
        self._answering: Exchange | None = None
        self._reading: Exchange | None = None
        self._pipeline: deque[Exchange] = deque()
        self.may_write: asyncio.Event | None = None
        self._is_paused = False
        self._stopping = False
        self._is_idle = False  # between an answer and the next request
        self._is_between = True  # the parser has nothing of a request that is not complete
        self._raw_head = b""  # of the request that is being parsed, where all of it came at once
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._header_bytes = 0
        self._plain_bytes = 0  # of a body, still to come, which the parser is spared
        self._parser_waits = False  # for the end of that body
        self._room: memoryview | None = None  # where what comes next is put

    # --- asyncio's protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = transport
        self._client = _address(transport.get_extra_info("peername"))
        self._server = _address(transport.get_extra_info("sockname"))
        self._server_state.connections.add(self)
        self._sweeper.add(self)
        self.due = time.monotonic() + self._client_timeout_s

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - it makes no difference
        """The connection is closed."""
        self.closed = True
        self._server_state.connections.discard(self)
        self._sweeper.discard(self)
        if self.may_write:
            self.may_write.set()
        for exchange in (self._answering, self._reading, *self._pipeline):
            if exchange:
                exchange.disconnect()

    def eof_received(self) -> None:
        """The client sends no more: asyncio closes the connection, which the application then learns."""

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's call
        """Where the next bytes are to be put: those of a large body where they belong, others where all connections have theirs."""
        self._room = self._reading.room() if self._plain_bytes and self._reading else None
        if self._room is not None:
            return self._room[: self._plain_bytes]
        return self._scratch[:_FIRST_BYTES] if self._is_between else self._scratch

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes came."""
        if self._room is None:
            self._take(bytes(self._scratch[:nbytes]))
            return
        self._room = None
        if self._reading:
            self._reading.filled(nbytes)
        self._plain_bytes -= nbytes
        self._end_plain()

    def _take(self, data: bytes) -> None:
        if self._is_new:
            self._is_new = False
            if self._shared.http2 and data.startswith(HTTP2_BEGINS):
                self._become_http2(self._shared.http2, data)
                return
        if self._plain_bytes:
            data = self._take_plain(data)
        while data and self._is_between:
            head, length = self._heads.find(data)
            self._raw_head = data[:length]
            if head is None:
                break
            data = self._take_known(head, data, length)
        if data:
            self._parse(data)

    def _become_http2(self, endpoint: "Endpoint[Any]", data: bytes) -> None:
        """Leave the connection to what speaks HTTP/2."""
        transport = self._transport
        self.connection_lost(None)
        connection = endpoint.connect()
        transport.set_protocol(connection)
        connection.connection_made(transport)
        connection.received(data)

    def _take_known(self, head: Head, data: bytes, length: int) -> bytes:
        """Take a request whose head needs no parser; returns what comes after it, or after what is here of it."""
        self._is_idle = False
        self._begin(head)
        self._plain_bytes = head.announced_bytes
        if self._plain_bytes:
            self._is_between = False
            rest = self._take_plain(data[length:])
            self._wait_for_room()
            return rest
        self.on_message_complete()
        return data[length:]

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
            self._begin_plain()
        except httptools.HttpParserUpgrade:  # an offer that is not taken; what follows cannot be read any more
            for exchange in (self._answering, *self._pipeline):
                if exchange:
                    exchange.keep_alive = False
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _TooManyHeaders):
                raise
            self._refuse(431, b"the request's headers are too large")
        except httptools.HttpParserError:
            self._refuse(400, b"what came is not HTTP/1.1")

    def _begin_plain(self) -> None:
        """The rest of a large body of known length needs no parser."""
        exchange = self._reading
        if exchange and exchange.announced_bytes - exchange.received_bytes > _PLAIN_BYTES:
            self._plain_bytes = exchange.announced_bytes - exchange.received_bytes
            self._parser_waits = True
            self._wait_for_room()

    def _wait_for_room(self) -> None:
        """Read no more of a large body before there is a place for it; whoever asks for the body resumes."""
        if self._plain_bytes > _PLAIN_BYTES and self._reading and self._reading.room() is None:
            self.pause()

    def _take_plain(self, data: bytes) -> bytes:
        """Take a body's bytes; returns what comes after them."""
        count = min(len(data), self._plain_bytes)
        self._plain_bytes -= count
        if self._reading:
            self._reading.feed(data if count == len(data) else data[:count])
        self._end_plain()
        return data[count:]

    def _end_plain(self) -> None:
        if self._plain_bytes:
            return
        self.on_message_complete()
        if self._parser_waits:
            self._parser_waits, self._parser = False, httptools.HttpRequestParser(self)

    def pause_writing(self) -> None:
        """The client takes its answers too slowly."""
        self.may_write = asyncio.Event()

    def resume_writing(self) -> None:
        """The client takes its answers again."""
        if self.may_write:
            self.may_write.set()
            self.may_write = None

    def shutdown(self) -> None:
        """Finish what is being answered, then close; uvicorn asks for it when it stops."""
        self._stopping = True
        if self._answering is None:
            self._transport.close()

    def on_due(self) -> None:
        """The client is too slow, or has been idle for too long."""
        if self._transport.get_write_buffer_size():
            self._wait_for_next()  # it still takes its last answer
        elif self._is_idle or self._reading:
            self._transport.close()
        else:
            self._refuse(408, b"the request did not come in time")

    # --- httptools' callbacks ---

    def on_message_begin(self) -> None:
        """The first bytes of a request came."""
        self._url, self._headers, self._header_bytes = b"", [], 0
        self._is_idle = self._is_between = False
        self.due = time.monotonic() + self._client_timeout_s

    def on_url(self, url: bytes) -> None:
        """A part of the request's target."""
        self._url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._count(len(name) + len(value))
        self._headers.append((name.lower(), value))

    def _count(self, more: int) -> None:
        self._header_bytes += more
        if self._header_bytes > _MAX_HEADER_BYTES:
            raise _TooManyHeaders

    def on_headers_complete(self) -> None:
        """All headers are here: the application begins, unless an earlier request of this connection is still being answered."""
        parser = self._parser
        method = parser.get_method().decode("ascii")
        head = make_head(method, parser.get_http_version(), self._url, self._headers, parser.should_keep_alive())
        if self._raw_head:
            self._heads.remember(self._raw_head, head)
            self._raw_head = b""
        self._begin(head)

    def _begin(self, head: Head) -> None:
        exchange = Exchange(self, head)
        scope = exchange.scope
        scope["client"], scope["server"] = self._client, self._server
        self._reading = exchange
        self.due = 0.0  # what follows is watched where it is read
        if self._answering is None:
            self._answer(exchange)
        else:
            self._pipeline.append(exchange)
            self.pause()

    def on_body(self, body: bytes) -> None:
        """A part of the request's body."""
        if self._reading:
            self._reading.feed(body)

    def on_message_complete(self) -> None:
        """The request is complete."""
        self._is_between = True
        if self._reading:
            self._reading.feed_end()
            self._reading = None
            if self._answering is None:
                self._wait_for_next()

    # --- for exchanges ---

    def _answer(self, exchange: Exchange) -> None:
        self._answering = exchange
        task = self._loop.create_task(exchange.run(self._app))
        exchange.task = task
        self._server_state.tasks.add(task)

    def answered(self, exchange: Exchange) -> None:
        """An exchange's answer has been written."""
        self._server_state.total_requests += 1
        self._server_state.tasks.discard(exchange.task)
        self._answering = None
        if self.closed:
            return
        if not exchange.keep_alive or self._stopping:
            self._transport.close()
        elif self._pipeline:
            self._answer(self._pipeline.popleft())
        elif self._reading is None:
            self._wait_for_next()
        else:  # the rest of its body is thrown away
            self.due = time.monotonic() + self._client_timeout_s
        if not self._pipeline and not self._stopping:
            self.resume()

    def _wait_for_next(self) -> None:
        self._is_idle = True
        self.due = time.monotonic() + _KEEP_ALIVE_S

    def write(self, head: bytes, body: Any) -> None:
        """Write to the client, in one go if it is not large."""
        if self.closed:
            return
        if not body:
            self._transport.write(head)
        elif len(body) <= _JOINED_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    async def drain(self) -> None:
        """Wait until the client has taken what was written."""
        while self.may_write and not self.closed:
            await self.may_write.wait()

    def default_lines(self) -> bytes:
        """Headers that every answer has: the date."""
        return self._shared.default_lines.of(self._server_state.default_headers)

    def pause(self) -> None:
        """Read no more for now: what came has not been taken."""
        if not self._is_paused and not self.closed:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._is_paused and not self.closed:
            self._is_paused = False
            self._transport.resume_reading()

    def _refuse(self, status: int, text: bytes) -> None:
        """Answer what is no proper request, and close; requests that came before it are answered first."""
        if self._transport.is_closing():
            return
        self.due = 0.0
        if self._answering and self._answering is not self._reading:
            self._stopping = True
            self._pipeline.clear()
            self.pause()
            return
        if self._answering is None or not self._answering.started:
            headers = b"content-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (len(text) + 1)
            self._transport.write(STATUS_LINES[status] + headers + text + b"\n")
        self._transport.close()


class _DefaultLines:
    """Writes what uvicorn makes anew once a second."""

    def __init__(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._lines = b""

    def of(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """The lines of headers."""
        if headers is not self._headers:
            self._headers, self._lines = headers, b"".join(b"%s: %s\r\n" % each for each in headers)
        return self._lines


class _TooManyHeaders(Exception):
    """The headers are larger than allowed."""


def _address(address: Any) -> tuple[str, int] | None:
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else None

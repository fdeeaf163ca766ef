"""HTTP/1.1 for uvicorn: what a request costs here is a large part of what a small request costs in all.

It differs from uvicorn's own protocol in what it leaves out (WebSockets, offers to upgrade, access log) and in what it adds: status,
headers and body leave in one write; a body's bytes are handed on as they come, without being collected first; a client that is slow, or
leaves, is noticed. A connection's requests are parsed one at a time: what comes behind one that is being answered waits unread.

A request's scope has the :class:`hubserve.net.http1.request_cycle.Exchange` itself among its ``extensions`` under ``hubserve``.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from hubserve.net.admission import AdmissionControl
from hubserve.net.connection_limits import Connections
from hubserve.net.deadline_monitor import DeadlineMonitor
from hubserve.net.http1.chunked import ChunkedDecoder
from hubserve.net.http1.head_parser import BadRequest, Head
from hubserve.net.http1.request_cycle import STATUS_LINES, Exchange
from hubserve.net.http1.request_head_cache import HeadReader, Heads
from hubserve.net.http1.unsent_responses import UnreadAnswers
from hubserve.net.http1.upgrade import take_streams

if TYPE_CHECKING:  # what it stands on is installed only where gRPC is
    from hubserve.net.http2.endpoint import Endpoint

#: no method of HTTP/1.1 begins so
HTTP2_BEGINS = b"PRI "
#: a body larger than this is written behind its headers instead of being copied to them
_JOINED_BYTES = 64 << 10
#: a body of which more than this is still missing is read directly into its buffer
_DIRECT_BYTES = 64 << 10
#: what is read at once, unless it goes where it belongs
_SCRATCH_BYTES = 64 << 10
#: the same where a request may begin: what comes of a large body with its head is copied more than once
_FIRST_BYTES = 16 << 10
_KEEP_ALIVE_S = 15.0
_SWEEP_EVERY_S = 0.25
#: for this long, what a client still sends is read and discarded although it was notified that the connection ends
_LINGER_S = 2.0
#: what every answer begins with
_ANSWER_BEGINS = b"HTTP/1.1 "
#: Linux's number for a connection that was reset
_TCP_CLOSE = 7


class _Shared:
    """What the connections of one server share.

    Args:
        client_timeout_s: how long a client may take to send its headers.
        admission: counts answers that are not written.
        connections: bounds how many there are.
        http2: for connections that turn out to be gRPC's; None where this port does not speak it.
    """

    def __init__(
        self, client_timeout_s: float, admission: AdmissionControl, connections: Connections, http2: "Endpoint[Any] | None"
    ) -> None:
        self.client_timeout_s = client_timeout_s
        self.admission = admission
        self.connections = connections
        self.http2 = http2
        self.deadlines = DeadlineMonitor(_SWEEP_EVERY_S)
        self.heads = Heads()
        self.default_lines = _DefaultLines()
        self.scratch = memoryview(bytearray(_SCRATCH_BYTES))


def http_protocol(
    client_timeout_s: float, admission: AdmissionControl, connections: Connections, http2: "Endpoint[Any] | None" = None
) -> Callable[..., "HttpConnection"]:
    """A factory of connections, for uvicorn's setting ``http``.

    Args:
        client_timeout_s: how long a client may take to send its headers, and how long a period of its pace is while it takes an answer.
        admission: counts answers that are not written.
        connections: bounds how many there are.
        http2: what answers gRPC on the same port; None if nothing does.
    """
    shared = _Shared(client_timeout_s, admission, connections, http2)

    def make(config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> HttpConnection:  # noqa: ARG001 - uvicorn's call
        return HttpConnection(config.loaded_app, server_state, shared)

    return make


class HttpConnection(asyncio.BufferedProtocol):
    """One client's connection.

    Attributes:
        due: when it is closed unless something happens; see :class:`hubserve.net.deadline_monitor.DeadlineMonitor`.
        closed: whether the client can no longer be written to.
        may_write: set once the client has taken enough of what was written; None while there is nothing to wait for.
        unread: counts the bytes that the client has not taken.
    """

    def __init__(self, app: Any, server_state: Any, shared: _Shared) -> None:
        self.due = 0.0
        self.closed = False
        self._app = app
        self._server_state = server_state
        self._shared = shared
        self._deadlines = shared.deadlines
        self._scratch = shared.scratch
        self._client_timeout_s = shared.client_timeout_s
        self._is_new = True  # whether it is HTTP/2's is not known yet
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._client: tuple[str, int] | None = None
        self._server: tuple[str, int] | None = None
        self._head_reader = HeadReader(shared.heads)
        self._answering: Exchange | None = None
        self._reading: Exchange | None = None  # its body has not come to its end
        self._body_bytes = 0  # of that, still to come, where the length was announced
        self._chunked: ChunkedDecoder | None = None
        self._unparsed = b""  # bytes received after a request that is being answered
        self.may_write: asyncio.Event | None = None
        self.unread = UnreadAnswers(shared.admission, shared.deadlines, shared.client_timeout_s)
        self._is_paused = False
        self._stopping = False
        self._is_idle = False  # between an answer and the next request
        self._is_half_closed = False  # the client sends no more, but still gets its answer
        self._sent_ahead = 0  # bytes of the answer's head
        self._room: memoryview | None = None  # where what comes next is put

    # --- asyncio's protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = transport
        self._transport.set_write_buffer_limits(0)  # bytes that the kernel does not take at once are waited for
        self._client = _address(transport.get_extra_info("peername"))
        self._server = _address(transport.get_extra_info("sockname"))
        if not self._shared.connections.add(self, transport):
            self._refuse(BadRequest(503, "the server has as many connections as it can (max_connections); try again later"))
            return
        self._server_state.connections.add(self)
        self._deadlines.add(self)
        self.due = time.monotonic() + self._client_timeout_s

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - it makes no difference
        """The connection is closed."""
        self.closed = True
        self._room = None
        self._shared.connections.discard(self)
        self._server_state.connections.discard(self)
        self._deadlines.discard(self)
        self.unread.end()
        if self.may_write:
            self.may_write.set()
        for exchange in (self._answering, self._reading):
            if exchange:
                exchange.disconnect()

    def eof_received(self) -> bool:
        """Handle that the client sends no more. The connection stays open if it sent a whole request and may still wait for the answer."""
        if self.closed or self._answering is None or self._reading is not None or self._answering.ends_at_eof:
            return False
        self._is_half_closed = True
        self._look_for_client()
        return True

    def _look_for_client(self) -> None:
        """Notice that the client has left although nothing is read from it.

        One that has left looks like one that only sends no more until it is sent something, and then resets the connection. As every answer
        begins in the same way, that much is sent ahead.
        """
        if not hasattr(socket, "TCP_INFO"):  # not Linux
            return
        if self._transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE:
            self._transport.abort()
            return
        if self._answering and not self._answering.started and not self._sent_ahead:
            self._transport.write(_ANSWER_BEGINS)
            self._sent_ahead = len(_ANSWER_BEGINS)
        self.due = time.monotonic() + _SWEEP_EVERY_S

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's call
        """Return the receive buffer: the body's own for a large body, otherwise the one that all connections share."""
        if self._reading is None:
            return self._scratch[:_FIRST_BYTES]
        if self._chunked:
            return self._scratch
        self._room = self._reading.room()
        return (self._scratch if self._room is None else self._room)[: self._body_bytes]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes came."""
        if self._room is None:
            self._take(bytes(self._scratch[:nbytes]))
            return
        self._room = None
        if self._reading:
            self._reading.filled(nbytes)
        self._body_bytes -= nbytes
        if not self._body_bytes:
            self._end_request()

    def _take(self, data: bytes) -> None:
        if self._is_new:
            data = self._take_first(data)
        try:
            while data and not self.closed:
                if self._chunked:
                    data = self._take_chunks(self._chunked, data)
                elif self._reading:
                    data = self._take_body(data)
                elif self._answering:
                    self._unparsed += data
                    self.pause()
                    self.due = time.monotonic() + _SWEEP_EVERY_S
                    return
                else:
                    data = self._take_head(data)
        except BadRequest as refusal:
            self._refuse(refusal)

    def _take_first(self, data: bytes) -> bytes:
        """Check a client's first bytes; returns those to parse, which are none while they may still become HTTP/2's preface."""
        http2 = self._shared.http2
        data, self._unparsed = self._unparsed + data, b""
        if http2 and HTTP2_BEGINS.startswith(data[: len(HTTP2_BEGINS)]):
            if len(data) < len(HTTP2_BEGINS):
                self._unparsed = data
            else:
                self._become_http2(http2, data)
            return b""
        self._is_new = False
        return data

    def _become_http2(self, endpoint: "Endpoint[Any]", data: bytes) -> None:
        """Leave the connection to what speaks HTTP/2."""
        transport = self._transport
        self.connection_lost(None)
        connection = endpoint.connect()
        transport.set_protocol(connection)
        connection.connection_made(transport)
        connection.received(data)

    def _take_head(self, data: bytes) -> bytes:
        """Process a request's head; returns the bytes after it."""
        head, rest = self._head_reader.take(data)
        if head:
            self._begin(head)
        elif self._is_idle and self._head_reader.is_within:
            self._is_idle = False
            self.due = time.monotonic() + self._client_timeout_s
        if rest and self._body_bytes:
            rest = self._take_body(rest)
        if self._body_bytes > _DIRECT_BYTES and self._reading and self._reading.room() is None:
            self.pause()  # there is no place for it yet; reading the body resumes the connection
        return rest

    def _begin(self, head: Head) -> None:
        exchange = Exchange(self, head)
        scope = exchange.scope
        scope["client"], scope["server"] = self._client, self._server
        self._is_idle = False
        self.due = 0.0  # what follows is watched where it is read
        self._reading = exchange
        self._body_bytes = head.announced_bytes
        self._answering = exchange
        task = self._loop.create_task(exchange.run(self._app))
        exchange.task = task
        self._server_state.tasks.add(task)
        if head.is_chunked:
            self._chunked = ChunkedDecoder()
        elif not head.announced_bytes:
            self._end_request()

    def _take_body(self, data: bytes) -> bytes:
        """Take a body's bytes; returns what comes after them."""
        count = min(len(data), self._body_bytes)
        self._body_bytes -= count
        if self._reading:
            self._reading.feed(data if count == len(data) else data[:count])
        if not self._body_bytes:
            self._end_request()
        return data[count:]

    def _take_chunks(self, chunked: ChunkedDecoder, data: bytes) -> bytes:
        """Process the received part of a chunked body; returns the bytes after the body."""
        part, rest = chunked.decode(data)
        if part and self._reading:
            self._reading.feed(part)
        if chunked.is_complete:
            self._chunked = None
            self._end_request()
        return rest

    def _end_request(self) -> None:
        """Handle the end of a request's body."""
        if self._reading:
            self._reading.feed_end()
            self._reading = None
        if self._answering is None:
            self._wait_for_next()

    def pause_writing(self) -> None:
        """The client takes its answers too slowly."""
        self.may_write = asyncio.Event()
        self.unread.wait(self._transport)

    def resume_writing(self) -> None:
        """The client takes its answers again."""
        self.unread.end()
        if self.may_write:
            self.may_write.set()
            self.may_write = None

    def shutdown(self) -> None:
        """Finish what is being answered, then close; uvicorn asks for it when it stops."""
        self._stopping = True
        if self._answering is None:
            self._transport.close()

    @property
    def idle_since(self) -> float:
        """When the last answer was written, or the connection began; 0 while there is a request, or an answer is not taken."""
        if self._answering or self._reading or self._transport.get_write_buffer_size():
            return 0.0
        return self.due - (_KEEP_ALIVE_S if self._is_idle else self._client_timeout_s)

    def evict(self) -> None:
        """Make room for another connection."""
        self._transport.close()

    def on_timeout(self) -> None:
        """The client is too slow, or has been idle for too long."""
        if self.closed or self._transport.is_closing():
            self._transport.close()
        elif self._is_half_closed or (self._unparsed and self._answering):
            self._look_for_client()
        elif self.unread.is_waiting:
            self._wait_for_next()  # it still takes its last answer, and its pace is watched
        elif self._is_idle or self._reading:
            self._transport.close()
        else:
            self._refuse(BadRequest(408, "the request did not come in time"))

    # --- for exchanges ---

    def answered(self, exchange: Exchange) -> None:
        """An exchange's answer has been written."""
        self._server_state.total_requests += 1
        self._server_state.tasks.discard(exchange.task)
        self._answering = self._room = None
        if self.closed:
            return
        if not exchange.keep_alive or self._stopping:
            if self._reading or self._unparsed:
                self._hang_up()
            else:
                self._transport.close()
            return
        if self._reading is None:
            self._wait_for_next()
        else:  # the rest of its body is thrown away
            self.due = time.monotonic() + self._client_timeout_s
        data, self._unparsed = self._unparsed, b""
        self.resume()
        if data:
            self._take(data)
        if self._is_half_closed and self._answering is None:
            self._transport.close()

    def _wait_for_next(self) -> None:
        self._is_idle = True
        self.due = time.monotonic() + _KEEP_ALIVE_S

    def write(self, head: bytes, body: Any) -> None:
        """Write to the client, in one go if it is not large."""
        if self.closed:
            return
        if self._sent_ahead:
            head, self._sent_ahead = head[self._sent_ahead :], 0
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
        """Resume reading, unless bytes received after the request still wait."""
        if self._is_paused and not self.closed and not self._unparsed:
            self._is_paused = False
            self._transport.resume_reading()

    def hand_over(self, head: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Write an answer's head, and leave all bytes behind it to others; the connection still counts as this one."""
        self.write(head, b"")
        early, self._unparsed = self._unparsed, b""
        self.resume()
        return take_streams(self._transport, early, self.connection_lost)

    def _refuse(self, refusal: BadRequest) -> None:
        """Answer a malformed request, and close."""
        if self.closed or self._transport.is_closing():
            return
        exchange, text = self._answering, b"%b\n" % str(refusal).encode()
        if self._reading is None or (exchange and not exchange.started):
            headers = b"content-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(text)
            self.write(STATUS_LINES[refusal.status] + headers, text)
        self._hang_up()
        if exchange:  # whatever it is answered with has come too late
            exchange.disconnect()

    def _hang_up(self) -> None:
        """Close, after reading what the client still sends: closing earlier would reset the connection, and lose answers."""
        if self._is_half_closed or self._transport.is_closing():
            self._transport.close()
            return
        self._reading, self._chunked, self._body_bytes, self._unparsed = None, None, 0, b""
        self.resume()
        self.closed = True
        self._transport.write_eof()
        self.due = time.monotonic() + _LINGER_S


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


def _address(address: Any) -> tuple[str, int] | None:
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else None

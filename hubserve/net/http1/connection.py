"""HTTP/1.1 connections for uvicorn: for small requests, the time spent here is a large part of the whole.

It differs from uvicorn's own protocol in what it leaves out (WebSockets, offers to upgrade, access log) and in what it adds: status,
headers and body leave in one write; a body's bytes are passed on as they arrive, without being collected first; a client that is slow or
disconnects is noticed. A connection's requests are parsed one at a time: bytes after a request that is being answered wait unparsed.

A request's scope has the :class:`hubserve.net.http1.request_cycle.RequestCycle` itself among its ``extensions`` under ``hubserve``.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from typing import Any

from hubserve.net.admission import AdmissionControl
from hubserve.net.connection_limits import Connections
from hubserve.net.deadline_monitor import DeadlineMonitor
from hubserve.net.http1.head_parser import BadRequest, Head
from hubserve.net.http1.request_cycle import STATUS_LINES, RequestCycle
from hubserve.net.http1.request_head_cache import RequestHeadCache
from hubserve.net.http1.request_parser import RequestParser
from hubserve.net.http1.response_writer import ResponseWriter
from hubserve.net.http1.unsent_responses import UnsentResponses
from hubserve.net.http1.upgrade import switch_to_http2, switch_to_streams
from hubserve.net.http2.endpoint import Endpoint
from hubserve.net.tls.peer import TLS_START, certificate_subject
from hubserve.telemetry.request_record import new_id
from hubserve.telemetry.telemetry import Telemetry

log = logging.getLogger("hubserve")

#: the start of HTTP/2's preface; no method of HTTP/1.1 starts so
_HTTP2_START = b"PRI "
#: a body of which more than this is still missing is read directly into its buffer
_DIRECT_BYTES = 64 << 10
#: size of the shared receive buffer
_SCRATCH_BYTES = 64 << 10
#: the same where a request may start: bytes of a large body that arrive with its head are copied more than once
_FIRST_BYTES = 16 << 10
_KEEP_ALIVE_S = 15.0
_WATCH_EVERY_S = 0.25
#: how long to read and discard what a client still sends after it was notified that the connection ends
_LINGER_S = 2.0
_SERVER_ERROR = 500
#: Linux's number for a connection that was reset
_TCP_CLOSE = 7


class _Shared:
    """State that the connections of one server share.

    Args:
        client_timeout_s: how long a client may take to send its headers.
        admission: counts responses that are not sent.
        connections: limits the number of connections.
        http2: serves connections that turn out to be HTTP/2; None if this port does not speak it.
        telemetry: receives the record of each request.
    """

    def __init__(
        self,
        client_timeout_s: float,
        admission: AdmissionControl,
        connections: Connections,
        http2: Endpoint[Any] | None,
        telemetry: Telemetry,
    ) -> None:
        self.client_timeout_s = client_timeout_s
        self.admission = admission
        self.connections = connections
        self.http2 = http2
        self.telemetry = telemetry
        self.deadlines = DeadlineMonitor(_WATCH_EVERY_S)
        self.heads = RequestHeadCache()
        self.scratch = memoryview(bytearray(_SCRATCH_BYTES))
        self.first_scratch = self.scratch[:_FIRST_BYTES]
        self._default_headers: list[tuple[bytes, bytes]] = []
        self._default_lines = b""

    def default_lines(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Encode the headers of every response, which uvicorn makes anew once a second."""
        if headers is not self._default_headers:
            self._default_headers, self._default_lines = headers, b"".join(b"%s: %s\r\n" % each for each in headers)
        return self._default_lines


def http_protocol(
    client_timeout_s: float,
    admission: AdmissionControl,
    connections: Connections,
    http2: Endpoint[Any] | None = None,
    telemetry: Telemetry | None = None,
) -> Callable[..., "HttpConnection"]:
    """Return a factory of connections, for uvicorn's setting ``http``.

    Args:
        client_timeout_s: how long a client may take to send its headers; also the period of its pace while it reads a response.
        admission: counts responses that are not sent.
        connections: limits the number of connections.
        http2: serves HTTP/2 on the same port; None if nothing does.
        telemetry: receives the record of each request; None if nothing does.
    """
    shared = _Shared(client_timeout_s, admission, connections, http2, telemetry or Telemetry())

    def make(config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> HttpConnection:  # noqa: ARG001 - uvicorn's call
        return HttpConnection(config.loaded_app, server_state, shared)

    return make


class HttpConnection(asyncio.BufferedProtocol):
    """One client's connection: its transport, its deadlines, and one request after another.

    Attributes:
        due: the connection's next deadline; see :class:`hubserve.net.deadline_monitor.DeadlineMonitor`.
    """

    _writer: ResponseWriter

    def __init__(self, app: Any, server_state: Any, shared: _Shared) -> None:
        self.due = 0.0
        self._app = app
        self._server_state = server_state
        self._shared = shared
        self._client_timeout_s = shared.client_timeout_s
        self._loop = asyncio.get_running_loop()
        self._transport: Any = None
        self._client: tuple[str, int] | None = None
        self._peer = ""
        self._is_encrypted = False
        self._certificate = ""  # the subject of the client's
        self._server: tuple[str, int] | None = None
        self._parser = RequestParser(shared.heads)
        self._cycle: RequestCycle | None = None  # the request that is being answered
        self._unparsed = b""  # bytes received after it
        self._body_buffer: memoryview | None = None  # that the next bytes are read into, if it is a body's own
        self._is_new = True  # whether the client speaks HTTP/2 is not known yet
        self._is_idle = False  # between a response and the next request
        self._is_half_closed = False  # the client sends no more, but still gets its response
        self._reading_paused = False
        self._stopping = False

    # --- asyncio's protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Handle a new client."""
        shared = self._shared
        self._transport = transport
        self._writer = ResponseWriter(transport, UnsentResponses(shared.admission, shared.deadlines, shared.client_timeout_s))
        self._client = _address(transport.get_extra_info("peername"))
        self._peer = self._client[0] if self._client else ""
        self._server = _address(transport.get_extra_info("sockname"))
        self._is_encrypted = transport.get_extra_info("ssl_object") is not None
        if self._is_encrypted:
            self._certificate = certificate_subject(transport)
        if not shared.connections.add(self, transport):
            self._refuse(BadRequest(503, "the server has as many connections as it can (max_connections); try again later"))
            return
        self._server_state.connections.add(self)
        shared.deadlines.add(self)
        self.due = time.monotonic() + self._client_timeout_s

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's call
        """Handle that the connection is closed."""
        self._writer.connection_lost()
        self._body_buffer = None
        self._shared.connections.discard(self)
        self._server_state.connections.discard(self)
        self._shared.deadlines.discard(self)
        if self._cycle:
            self._cycle.disconnect()

    def eof_received(self) -> bool:
        """Handle that the client sends no more; return True if it sent a whole request, and may still wait for the response."""
        if self._writer.closed or self._cycle is None or self._parser.request is not None or self._cycle.ends_at_eof:
            return False
        self._is_half_closed = True
        self._check_client()
        return True

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's call
        """Return the receive buffer: the body's own for a large body, otherwise the one that all connections share."""
        parser = self._parser
        if parser.request is None:
            return self._shared.first_scratch
        if parser.is_chunked:
            return self._shared.scratch
        self._body_buffer = parser.request.receive_buffer()
        return (self._shared.scratch if self._body_buffer is None else self._body_buffer)[: parser.missing_bytes]

    def buffer_updated(self, nbytes: int) -> None:
        """Handle received bytes."""
        if self._body_buffer is None:
            self._receive(bytes(self._shared.scratch[:nbytes]))
            return
        self._body_buffer = None
        self._parser.buffer_filled(nbytes)
        self._check_idle()

    def pause_writing(self) -> None:
        """Handle that the client reads too slowly."""
        self._writer.pause()

    def resume_writing(self) -> None:
        """Handle that the client has read what was written."""
        self._writer.resume()

    # --- requests ---

    def _receive(self, data: bytes) -> None:
        if self._is_new:
            data = self._recognize(data)
        parser = self._parser
        try:
            while data and not self._writer.closed:
                if parser.request is not None:
                    data = parser.parse_body(data)
                    self._check_idle()
                elif self._cycle is not None:
                    self._unparsed += data
                    self.pause_reading()
                    self.due = time.monotonic() + _WATCH_EVERY_S
                    return
                else:
                    data = self._receive_head(data)
        except BadRequest as refusal:
            self._refuse(refusal)

    def _recognize(self, data: bytes) -> bytes:
        """Check a client's first bytes; return those to parse, none while they may still become HTTP/2's preface."""
        http2 = self._shared.http2
        data, self._unparsed = self._unparsed + data, b""
        if http2 and _HTTP2_START.startswith(data[: len(_HTTP2_START)]):
            if len(data) < len(_HTTP2_START):
                self._unparsed = data
            else:
                self.connection_lost(None)
                switch_to_http2(self._transport, http2, data)
            return b""
        self._is_new = False
        if data.startswith(TLS_START):
            log.debug("%s speaks TLS at a port that is not encrypted", self._peer)
            self._transport.close()
            return b""
        return data

    def _receive_head(self, data: bytes) -> bytes:
        """Receive bytes of a head, and start its request once it is complete; return the bytes after the request."""
        parser = self._parser
        head, rest = parser.parse_head(data)
        if head:
            self._start(head)
        elif self._is_idle and parser.is_within_head:
            self._is_idle = False
            self.due = time.monotonic() + self._client_timeout_s
        if rest and parser.missing_bytes:
            rest = parser.parse_body(rest)
        if parser.missing_bytes > _DIRECT_BYTES and parser.request and parser.request.receive_buffer() is None:
            self.pause_reading()  # the body has no buffer yet; reading it resumes the connection
        return rest

    def _start(self, head: Head) -> None:
        cycle = RequestCycle(self, self._writer, head, self._shared.telemetry)
        scope = cycle.scope
        cycle.record.peer = self._peer
        scope["client"], scope["server"] = self._client, self._server
        if self._is_encrypted:
            scope["scheme"] = "https"
            if self._certificate:
                cycle.record.client_certificate = self._certificate
                scope["extensions"]["tls"] = {"client_cert_name": self._certificate}
        self._is_idle = False
        self.due = 0.0  # the body's pace is watched where it is read
        self._cycle = cycle
        task = self._loop.create_task(cycle.run(self._app))
        cycle.task = task
        self._server_state.tasks.add(task)
        self._parser.start_body(head, cycle)

    def _check_idle(self) -> None:
        """Wait for the next request once a request that was answered early is complete."""
        if self._cycle is None and self._parser.request is None:
            self._wait_for_next()

    def _wait_for_next(self) -> None:
        self._is_idle = True
        self.due = time.monotonic() + _KEEP_ALIVE_S

    def _refuse(self, refusal: BadRequest) -> None:
        """Answer a malformed request, and close."""
        if self._writer.closed or self._transport.is_closing():
            return
        self._shared.telemetry.refused[f"http_{refusal.status}"] += 1
        cycle, text = self._cycle, b"%b\n" % str(refusal).encode()
        if self._parser.request is None or (cycle and not cycle.started):
            headers = b"content-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n" % len(text)
            if refusal.status >= _SERVER_ERROR:
                request_id = new_id()
                log.info("a request was refused with HTTP status %d: %s", refusal.status, refusal, extra={"request_id": request_id})
                headers += b"x-request-id: %b\r\n" % request_id.encode()
            self._writer.write(STATUS_LINES[refusal.status] + headers + b"\r\n", text)
        self._hang_up()
        if cycle:  # its response would be too late
            cycle.disconnect()

    # --- deadlines and the end ---

    def on_timeout(self) -> None:
        """Handle that the client is too slow, or has been idle for too long."""
        if self._writer.closed or self._transport.is_closing():
            self._transport.close()
        elif self._is_half_closed or (self._unparsed and self._cycle):
            self._check_client()
        elif self._writer.unsent.is_waiting:
            self._wait_for_next()  # the client still reads its last response, and its pace is watched
        elif self._is_idle or self._parser.request:
            self._transport.close()
        else:
            self._refuse(BadRequest(408, "the request did not arrive in time"))

    def _check_client(self) -> None:
        """Notice that the client has disconnected although nothing is read from it.

        One that has disconnected looks like one that only sends no more until it is sent something, and then resets the connection. All
        responses start in the same way, so that much is sent ahead.
        """
        if not hasattr(socket, "TCP_INFO"):  # not Linux
            return
        own = self._transport.get_extra_info("socket")
        if own.family != socket.AF_UNIX and own.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE:
            self._transport.abort()
            return
        if self._cycle and not self._cycle.started:
            self._writer.write_ahead()
        self.due = time.monotonic() + _WATCH_EVERY_S

    def shutdown(self) -> None:
        """Finish the request that is being answered, then close; uvicorn calls this when it stops."""
        self._stopping = True
        if self._cycle is None:
            self._transport.close()

    @property
    def idle_since(self) -> float:
        """Time when the last response was written, or the connection began; 0 while there is a request, or a response is unread."""
        if self._cycle or self._parser.request or self._transport.get_write_buffer_size():
            return 0.0
        return self.due - (_KEEP_ALIVE_S if self._is_idle else self._client_timeout_s)

    def evict(self) -> None:
        """Close for another connection."""
        self._transport.close()

    def _hang_up(self) -> None:
        """Close, after reading what the client still sends: closing earlier would reset the connection, and lose responses."""
        if self._is_half_closed or self._transport.is_closing():
            self._transport.close()
            return
        self._parser.discard()
        self._unparsed = b""
        self.resume_reading()
        self._writer.closed = True
        self._transport.write_eof()
        self.due = time.monotonic() + _LINGER_S

    # --- for request cycles ---

    def response_sent(self, cycle: RequestCycle) -> None:
        """Handle that a response is written completely."""
        self._server_state.total_requests += 1
        self._server_state.tasks.discard(cycle.task)
        self._cycle = self._body_buffer = None
        if self._writer.closed:
            return
        if not cycle.keep_alive or self._stopping:
            if self._parser.request or self._unparsed:
                self._hang_up()
            else:
                self._transport.close()
            return
        if self._parser.request is None:
            self._wait_for_next()
        else:  # the rest of its body is discarded
            self.due = time.monotonic() + self._client_timeout_s
        data, self._unparsed = self._unparsed, b""
        self.resume_reading()
        if data:
            self._receive(data)
        if self._is_half_closed and self._cycle is None:
            self._transport.close()

    def default_lines(self) -> bytes:
        """Return the headers of every response, encoded: the date."""
        return self._shared.default_lines(self._server_state.default_headers)

    def pause_reading(self) -> None:
        """Stop reading: received bytes wait."""
        if not self._reading_paused and not self._writer.closed:
            self._reading_paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Resume reading, unless bytes received after the request still wait."""
        if self._reading_paused and not self._writer.closed and not self._unparsed:
            self._reading_paused = False
            self._transport.resume_reading()

    def switch_protocol(self, head: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Write a response's head, and return streams of the bytes after it; the connection still counts as this one."""
        self._writer.write(head, b"")
        early, self._unparsed = self._unparsed, b""
        self.resume_reading()
        return switch_to_streams(self._transport, early, self.connection_lost)


def _address(address: Any) -> tuple[str, int] | None:
    return (str(address[0]), int(address[1])) if isinstance(address, tuple) else None

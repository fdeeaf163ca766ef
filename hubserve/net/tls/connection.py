"""One client's TLS connection, between its socket and the protocol inside it.

asyncio and uvloop have TLS, too. Theirs does not count a connection before its handshake is complete, and reports a response as written
although it still waits for the client. See docs/adr/0047-tls-connections.md.
"""

import asyncio
import logging
import ssl
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from hubserve.net.connection_limits import Connections
from hubserve.net.deadline_monitor import DeadlineMonitor
from hubserve.net.tls.handshake_limits import HandshakeLimits
from hubserve.net.tls.transport import TlsTransport
from hubserve.wire.certificates import ReloadingContext
from hubserve.wire.client_tls import PLAIN_REFUSED

log = logging.getLogger("hubserve")

#: the first byte of a TLS client
HANDSHAKE = 0x16
_HTTP_START = b"GET HEAD POST PUT DELETE OPTIONS PATCH CONNECT TRACE PRI"
_HTTP_METHODS = tuple(each + b" " for each in _HTTP_START.split())
_TEXT = PLAIN_REFUSED.encode() + b", and the request is not encrypted; use https:// in its address\n"
_PLAIN_RESPONSE = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (
    len(_TEXT),
    _TEXT,
)
#: how long to read and discard what a refused client still sends
_LINGER_S = 2.0
_CERTIFICATE_REASONS = ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "CERTIFICATE_VERIFY_FAILED")


class Listener(Protocol):
    """State that a port's connections share: :class:`hubserve.net.tls.listener.TlsListener`."""

    contexts: ReloadingContext
    limit: Connections
    limits: HandshakeLimits
    timeout_s: float
    handshakes: "Counter[str]"
    deadlines: DeadlineMonitor
    unfinished: "set[TlsConnection]"
    scratch: memoryview


class TlsConnection(asyncio.BufferedProtocol):
    """The handshake of one client, then the received bytes.

    Args:
        listener: state shared by the port's connections.
        make: makes the protocol inside.

    Attributes:
        due: the handshake's deadline; see :class:`hubserve.net.deadline_monitor.DeadlineMonitor`.
        idle_since: when the connection began; see :class:`hubserve.net.connection_limits.Connection`.
    """

    def __init__(self, listener: Listener, make: Callable[[], Any]) -> None:
        self.due = self.idle_since = 0.0
        self._listener = listener
        self._make = make
        self._raw: Any = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl: ssl.SSLObject | None = None
        self._transport: TlsTransport | None = None  # once the handshake is complete
        self._failure = ""
        self._held = b""  # received while the handshake must wait
        self._may_begin = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Handle a new client."""
        listener = self._listener
        self._raw = transport
        self.idle_since = time.monotonic()
        self.due = self.idle_since + listener.timeout_s
        listener.unfinished.add(self)
        if listener.limit.add(self, transport):
            listener.deadlines.add(self)
            listener.limits.begin(self, transport.get_extra_info("peername"))
        else:
            self._fail("limit", "too many connections")

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle that the connection is closed."""
        if self._transport:
            self._transport.connection_lost(exc)
        else:
            self._count(self._failure or "lost")
            self._leave_handshakes()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's call
        """Return the receive buffer, which all connections share."""
        return self._listener.scratch

    def buffer_updated(self, nbytes: int) -> None:
        """Handle received bytes."""
        received = self._listener.scratch[:nbytes]
        if self._transport:
            self._incoming.write(received)
            self._transport.decrypt()
        elif not self._failure:
            self._receive_handshake(received)

    def eof_received(self) -> bool:
        """Handle that the client sends no more; return True if the connection stays open for what it is still sent."""
        return self._transport.raw_ended() if self._transport else False

    def pause_writing(self) -> None:
        """Handle that the client reads too slowly."""
        if self._transport:
            self._transport.get_protocol().pause_writing()

    def resume_writing(self) -> None:
        """Handle that the client has read what was written."""
        if self._transport:
            self._transport.get_protocol().resume_writing()

    # --- the handshake ---

    def _receive_handshake(self, received: memoryview) -> None:
        if self._ssl is None:
            if received[0] != HANDSHAKE:
                self._refuse_plain(bytes(received[:8]))
                return
            if not (self._may_begin or self._begins_now()):
                self._held = bytes(received)
                self._raw.pause_reading()
                return
            self._ssl = self._listener.contexts.current.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._incoming.write(received)
        began = time.thread_time()
        try:
            try:
                self._ssl.do_handshake()
            finally:
                self._listener.limits.charge(self, time.thread_time() - began)
        except ssl.SSLWantReadError:
            self._send()
        except ssl.SSLError as error:
            self._send()  # the alert that says why
            self._fail("certificate" if error.reason in _CERTIFICATE_REASONS else "protocol", str(error))
        else:
            self._send()
            self._begin(self._ssl)

    def _begins_now(self) -> bool:
        self._may_begin = not self._listener.limits.must_wait(self)
        return self._may_begin

    def resume(self) -> None:
        """Continue with what was received: the client's address has time for a handshake again."""
        if not self._raw.is_closing():
            self._may_begin = True
            held, self._held = self._held, b""
            self._raw.resume_reading()
            self._receive_handshake(memoryview(held))

    def displace(self) -> None:
        """Close for another handshake of the same address."""
        self._failure = self._failure or "pending"
        self._raw.abort()

    def _begin(self, secured: ssl.SSLObject) -> None:
        """Start the protocol inside."""
        self._leave_handshakes()  # the protocol counts the connection from here on
        self._count("ok")
        protocol = self._make()
        self._transport = transport = TlsTransport(self._raw, secured, self._incoming, self._outgoing, protocol)
        protocol.connection_made(transport)
        transport.decrypt()

    def _send(self) -> None:
        if self._outgoing.pending:
            self._raw.write(self._outgoing.read())

    def _refuse_plain(self, start: bytes) -> None:
        """Answer a client that does not encrypt, if it speaks HTTP."""
        if not start.startswith(_HTTP_METHODS):
            self._fail("protocol", "the client's first bytes are neither TLS nor HTTP")
            return
        self._failure = "plain"
        log.debug("refused a request that is not encrypted at a port that speaks HTTPS")
        self._raw.write(_PLAIN_RESPONSE)
        self._raw.write_eof()  # closing while the client still sends would reset the connection, and lose the response
        self.due = time.monotonic() + _LINGER_S

    def _fail(self, reason: str, text: str) -> None:
        """Close: the handshake has failed."""
        self._failure = reason
        log.debug("a TLS handshake failed: %s", text)
        self._raw.close()

    def _count(self, result: str) -> None:
        self._listener.handshakes[result] += 1

    def _leave_handshakes(self) -> None:
        self._listener.unfinished.discard(self)
        self._listener.deadlines.discard(self)
        self._listener.limit.discard(self)
        self._listener.limits.end(self)

    def on_timeout(self) -> None:
        """Close: the handshake took too long."""
        self._failure = self._failure or ("rate" if self._held else "timeout")
        self._raw.abort()

    def evict(self) -> None:
        """Close for another connection."""
        self._failure = self._failure or "evicted"
        self._raw.abort()

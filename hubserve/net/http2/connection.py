"""HTTP/2 connection of one client (RFC 9113), for a server whose clients send requests of a few headers and large bodies.

The state machine of a library costs more for a small call than the rest of the gateway does (docs/adr/0018-own-http2.md). This one is cheap
because header blocks that were seen before are looked up, a response that fits the client's windows leaves in one write, and the bytes of a
large body are read directly into its buffer.
"""

import asyncio
import time
from typing import Any

from hubserve.net.http2 import frames
from hubserve.net.http2.endpoint import Endpoint
from hubserve.net.http2.frame_parser import FrameParser, OldHttp
from hubserve.net.http2.frames import ConnectionFault, ErrorCode, frame
from hubserve.net.http2.receive_flow import ReceiveFlow
from hubserve.net.http2.send_queue import SendQueue
from hubserve.net.http2.session import Session
from hubserve.net.http2.stream_table import StreamTable

#: seconds within which a silent client must answer a PING
_PING_TIMEOUT_S = 20.0
_PING = b"hubserve"
_OLD_HTTP_TEXT = b"this port speaks gRPC, over HTTP/2; HTTP/1.1 is spoken at the server's other port\n"
#: the response to a request of HTTP/1.1
_OLD_HTTP_RESPONSE = (
    b"HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain\r\nconnection: close\r\n"
    b"content-length: %d\r\n\r\n%b" % (len(_OLD_HTTP_TEXT), _OLD_HTTP_TEXT)
)


class Http2Connection(asyncio.BufferedProtocol):
    """One client's connection: its transport and its deadlines. :class:`FrameParser` and :class:`Session` have the protocol.

    Args:
        endpoint: state shared by the server's connections.

    Attributes:
        due: the connection's next deadline; see :class:`hubserve.net.deadline_monitor.DeadlineMonitor`.
    """

    _session: Session
    _parser: FrameParser
    _send_queue: SendQueue
    _receive_flow: ReceiveFlow

    def __init__(self, endpoint: Endpoint[Any]) -> None:
        self.due = 0.0
        self._endpoint = endpoint
        self._transport: Any = None
        self._reads_directly = False  # the next bytes go into a body's own buffer
        self._awaits_pong = False
        self._incomplete_since = 0.0  # when the incomplete frame or header block began; 0 if there is none
        self._stopping = False

    # --- asyncio's protocol ---

    def connection_made(self, transport: Any) -> None:
        """Handle a new client."""
        self._transport = transport
        self._session = Session(self._endpoint, transport, self._close)
        self._send_queue, self._receive_flow = self._session.send_queue, self._session.receive_flow
        self._parser = FrameParser(self._session, self._receive_flow)
        self._endpoint.connections.add(self)
        self._endpoint.deadlines.add(self)
        self.due = time.monotonic() + self._endpoint.client_timeout_s
        if not self._endpoint.connection_limit.add(self, transport):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's call
        """Handle that the connection is closed."""
        self._endpoint.connection_lost(self)
        self._endpoint.deadlines.discard(self)
        self._send_queue.release()
        self._session.close()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's call
        """Return the receive buffer: the body's own if it is large, else the one that all connections share."""
        buffer = self._receive_flow.receive_buffer()
        self._reads_directly = buffer is not None
        return self._endpoint.scratch if buffer is None else buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Handle received bytes."""
        if self._reads_directly:
            self._receive_flow.buffer_filled(nbytes)
            self.received(b"")
        else:
            self.received(bytes(self._endpoint.scratch[:nbytes]))

    def received(self, data: bytes) -> None:
        """Handle received bytes that are in no buffer of :meth:`get_buffer`."""
        self.due = time.monotonic() + self._endpoint.client_timeout_s
        self._awaits_pong = False
        try:
            parsed = self._parser.parse(data)
        except ConnectionFault as fault:
            parsed = 0
            self._end(fault.code, str(fault))
        except OldHttp:
            parsed = 0
            self._send_queue.write(_OLD_HTTP_RESPONSE)
            self._close()
        if self._parser.is_within_frame or self._session.is_within_headers:
            self._limit_incomplete(parsed)
        else:
            self._incomplete_since = 0.0
        self._send_queue.flush()  # the loop may read many times in one turn, and the transport must be able to ask for a pause before

    def _limit_incomplete(self, parsed: int) -> None:
        """Keep one deadline for a whole frame or header block, however often a part of it arrives."""
        if not self._incomplete_since or (parsed and not self._session.is_within_headers):
            self._incomplete_since = time.monotonic()
        self.due = self._incomplete_since + self._endpoint.client_timeout_s

    def pause_writing(self) -> None:
        """Handle that the client reads too slowly."""
        self._send_queue.pause()

    def resume_writing(self) -> None:
        """Handle that the client reads again."""
        self._send_queue.resume()

    # --- deadlines and the end ---

    def on_timeout(self) -> None:
        """Handle that the client sent nothing in time."""
        if self._session.closed:  # and the client does not read the last frames
            self._transport.abort()
        elif not self._parser.has_preface:
            self._end(ErrorCode.NO_ERROR, "no HTTP/2 preface arrived in time")
        elif self._incomplete_since:
            self._end(ErrorCode.ENHANCE_YOUR_CALM, "a frame or header block was not completed in time")
        elif self._awaits_pong:
            self._transport.abort()
        else:
            self._awaits_pong = True
            self.due = time.monotonic() + _PING_TIMEOUT_S
            self._send_queue.write(frame(frames.PING, 0, 0, _PING))

    def shutdown(self) -> None:
        """Refuse new requests, and close once those in progress are answered."""
        if self._stopping:
            return
        self._stopping = True
        self._session.stop()
        self._go_away(ErrorCode.NO_ERROR, "the server is stopping")
        if not self.streams.in_progress:
            self._close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    def evict(self) -> None:
        """Close for another connection."""
        self._end(ErrorCode.NO_ERROR, "closed to admit another connection (max_connections)")

    def _end(self, code: ErrorCode, text: str) -> None:
        if not self._session.closed:
            self._go_away(code, text)
            self._close()

    def _close(self) -> None:
        """Close once the client has read what is written, within ``client_timeout_s``."""
        self._send_queue.flush()
        self._transport.close()
        self._session.close()
        self.due = time.monotonic() + self._endpoint.client_timeout_s

    def _go_away(self, code: ErrorCode, text: str) -> None:
        payload = frames.U32.pack(self.streams.last_accepted) + frames.U32.pack(code) + text.encode()
        self._send_queue.write(frame(frames.GOAWAY, 0, 0, payload))

    # --- state ---

    @property
    def streams(self) -> StreamTable:
        """The connection's streams."""
        return self._session.streams

    @property
    def idle_since(self) -> float:
        """Time when the client last sent something; 0 while requests are in progress, or a response is unread."""
        is_busy = self.streams.in_progress or self._transport.get_write_buffer_size()
        return 0.0 if is_busy else self.due - self._endpoint.client_timeout_s

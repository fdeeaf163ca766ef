"""React to the frames of one client: RFC 9113, sections 5 and 6."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from hubserve.net.http2 import frames
from hubserve.net.http2.endpoint import Endpoint
from hubserve.net.http2.flood_limits import FloodLimits
from hubserve.net.http2.frame_checks import check_frame, depends_on_itself
from hubserve.net.http2.frames import ConnectionFault, ErrorCode, frame
from hubserve.net.http2.header_blocks import HeaderBlockReader
from hubserve.net.http2.header_rules import Request, read_request
from hubserve.net.http2.hpack_cache import HeaderDecoder
from hubserve.net.http2.receive_flow import CONNECTION_WINDOW, MAX_DATA_BYTES, ReceiveFlow
from hubserve.net.http2.send_queue import SendQueue
from hubserve.net.http2.stream_table import StreamTable
from hubserve.net.http2.streams import STREAM_WINDOW, Stream
from hubserve.net.tls.peer import certificate_subject

log = logging.getLogger("hubserve")

_MAX_HEADER_BYTES = 16 << 10
#: a shorter DATA frame without END_STREAM contains no gRPC message, and counts as a control frame
_SMALLEST_DATA_BYTES = 5
#: seconds that a client may continue with a request that is answered
_LINGER_S = 0.5


class Session:
    """Rules of one connection: which frames may arrive, and what follows from them.

    Args:
        endpoint: state shared by the server's connections.
        transport: the connection's.
        on_drained: called once no request is in progress after :meth:`stop`.

    Attributes:
        closed: whether the connection is closed.
        peer: the client's address, without the port; "" if unknown.
        client_certificate: the subject of the client's certificate; "" for none.
        streams: the connection's streams.
        receive_flow: receives bodies.
        send_queue: sends replies and responses.
    """

    def __init__(self, endpoint: Endpoint[Any], transport: Any, on_drained: Callable[[], None]) -> None:
        address = transport.get_extra_info("peername")
        self.peer = str(address[0]) if isinstance(address, tuple) else ""
        self.client_certificate = certificate_subject(transport)
        self.closed = False
        self.streams = StreamTable()
        self.send_queue = SendQueue(transport, self._response_sent, endpoint.budget)
        self.receive_flow = ReceiveFlow(self.send_queue, self._request_ended, self._refuse_stream)
        self._endpoint = endpoint
        self._on_drained = on_drained
        self._stopping = False
        self._loop = asyncio.get_running_loop()
        self._blocks = HeaderBlockReader(_MAX_HEADER_BYTES)
        self._limits = FloodLimits(self.send_queue)
        self._headers: HeaderDecoder[Request[Any]] = HeaderDecoder(
            partial(read_request, endpoint.make_head), _MAX_HEADER_BYTES, endpoint.decode_budget(self.peer)
        )

    @property
    def is_within_headers(self) -> bool:
        """Return True if a header block is incomplete."""
        return bool(self._blocks.stream)

    def close(self) -> None:
        """End all requests: the connection is closed."""
        self.closed = True
        self.send_queue.close()
        for stream in self.streams.clear():
            stream.lost()

    def stop(self) -> None:
        """Refuse new requests from now on."""
        self._stopping = True

    # --- frames ---

    def handle_preface(self) -> None:
        """Send the server's preface; not before the client's, so that clients of other protocols can read what they are sent."""
        settings = {
            frames.MAX_CONCURRENT_STREAMS: self._endpoint.max_streams,
            frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            frames.MAX_FRAME_SIZE: MAX_DATA_BYTES,
            frames.MAX_HEADER_LIST_SIZE: _MAX_HEADER_BYTES,
        }
        self.send_queue.write(frames.settings_frame(settings))
        self.receive_flow.open_window(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW)

    def handle_data(self, number: int, flags: int, length: int, padding: int | None) -> None:
        """Handle the header of a DATA frame.

        Args:
            number: its stream.
            flags: its flags.
            length: of its payload, with padding.
            padding: bytes of padding after the data; None if the frame is not padded.
        Raises:
            ConnectionFault: it is not allowed.
        """
        if self._blocks.stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA within a header block")
        if number == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "DATA frame without a stream")
        if number > self.streams.highest:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"DATA on idle stream {number}")
        stream = self.streams.in_progress.get(number)
        if stream is None or padding is not None or (length < _SMALLEST_DATA_BYTES and not flags & frames.END_STREAM):
            self._limits.count_control()
        if stream is None and not self.streams.was_reset(number):
            self._refuse_stream(number, ErrorCode.STREAM_CLOSED)
        self.receive_flow.start(stream, flags, length, padding)

    def handle_frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """Handle a frame other than DATA.

        Raises:
            ConnectionFault: it is not allowed, or the client exceeds a limit.
        """
        if self._blocks.stream and (kind != frames.CONTINUATION or number != self._blocks.stream):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "another frame within a header block")
        if kind == frames.HEADERS:
            self._handle_block(*self._blocks.start(flags, number, payload))
            return
        check_frame(kind, flags, number, len(payload))
        if kind == frames.WINDOW_UPDATE:
            self._handle_window_update(number, payload)
        elif kind == frames.PING:
            self._limits.count_control()
            if not flags & frames.ACK:
                self.send_queue.reply(frame(frames.PING, frames.ACK, 0, payload))
        elif kind == frames.RST_STREAM:
            self._handle_reset(number)
        elif kind == frames.SETTINGS:
            self._handle_settings(flags, payload)
        elif kind == frames.CONTINUATION:
            self._limits.count_control()
            self._handle_block(*self._blocks.extend(flags, payload))
        elif kind == frames.GOAWAY:
            self._limits.count_control()  # requests in progress are answered nevertheless
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "PUSH_PROMISE from a client")
        else:  # PRIORITY and unknown frames
            if kind == frames.PRIORITY and depends_on_itself(payload, number):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"stream {number} depends on itself")
            self._limits.count_control()

    def _handle_block(self, number: int, flags: int, block: bytes | None, fault: str) -> None:
        """Handle a header block: a request, or its trailers; do nothing if the block is None, that is, incomplete."""
        if block is None:
            return
        request = self._headers.read(block)  # keeps the tables in step whatever the block is for
        if number <= self.streams.highest:
            self._handle_trailers(number, flags, request.trailers_fault)
            return
        self.streams.open(number)
        if self._stopping or len(self.streams.in_progress) >= self._endpoint.max_streams:
            self._limits.count_control()  # not as a reset: that many requests were sent before the client knew of the limit
            self._send_reset(number, ErrorCode.REFUSED_STREAM)
            return
        is_complete = bool(flags & frames.END_STREAM)
        if fault or request.fault or (is_complete and request.body_bytes):
            log.debug("a malformed request is refused: %s", fault or request.fault or "it has a content-length and no body")
            self._refuse_stream(number)
            return
        stream = Stream(number, self, self.send_queue, self.receive_flow)
        stream.received_end, stream.missing_bytes = is_complete, request.body_bytes
        self.streams.add(stream)
        self._endpoint.accept(stream, request.head)
        if stream.received_end and stream.receiver:
            stream.receiver.end()

    def _handle_trailers(self, number: int, flags: int, fault: str) -> None:
        stream = self.streams.in_progress.get(number)
        if stream is None:
            self._limits.count_control()
            self.streams.check_trailers_of_closed(number)
        elif stream.received_end:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS after END_STREAM")
        elif not flags & frames.END_STREAM:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "HEADERS without END_STREAM on an open stream")
        elif fault or stream.missing_bytes:
            self._refuse_stream(number)
        else:
            self._request_ended(stream)

    def _handle_reset(self, number: int) -> None:
        self.streams.check_not_idle(number, "RST_STREAM")
        stream = self.streams.in_progress.get(number)
        if stream is None:
            self._limits.count_control()
            return
        self._limits.count_reset()
        self._end_stream(stream)

    def _handle_settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            self._limits.count_control()
            return
        self._limits.count_settings()
        self.send_queue.apply(frames.SETTING.iter_unpack(payload), self.streams.in_progress.values())
        self.send_queue.reply(frame(frames.SETTINGS, frames.ACK, 0))
        self.send_queue.send_waiting()

    def _handle_window_update(self, number: int, payload: bytes) -> None:
        self._limits.count_window_update()
        count = frames.U32.unpack(payload)[0] & frames.LARGEST_WINDOW
        self.streams.check_not_idle(number, "WINDOW_UPDATE")
        if number == 0:
            self.send_queue.window_opened(count)
        elif stream := self.streams.in_progress.get(number):
            self.send_queue.stream_window_opened(stream, count)
            if count == 0 or stream.send_window > frames.LARGEST_WINDOW:
                self._refuse_stream(number, ErrorCode.FLOW_CONTROL_ERROR if count else ErrorCode.PROTOCOL_ERROR)
                return
        self.send_queue.send_waiting()

    # --- ends of streams ---

    def _request_ended(self, stream: Stream) -> None:
        """Handle the end of a request."""
        stream.received_end = True
        if stream.receiver:
            stream.receiver.end()
        elif stream.sent_end and not stream.pending and self.streams.is_in_progress(stream):
            self._remove(stream)

    def _response_sent(self, stream: Stream) -> None:
        """Handle that a response is sent completely; nothing more of its request is needed."""
        stream.receiver = None
        self.receive_flow.discard(stream)
        if stream.received_end:
            self._remove(stream)
        else:  # some clients fail if they are stopped in the middle of their request, and most are at its end
            self._loop.call_later(_LINGER_S, self._stop_request, stream)

    def _stop_request(self, stream: Stream) -> None:
        """End a stream whose request is answered and still incomplete."""
        if self.streams.is_in_progress(stream):
            self._send_reset(stream.id, ErrorCode.NO_ERROR)
            self._remove(stream)

    def reset(self, stream: Stream, code: ErrorCode) -> None:
        """End a stream at once."""
        if self.streams.is_in_progress(stream):
            self._send_reset(stream.id, code)
            self._end_stream(stream)

    def _refuse_stream(self, number: int, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> None:
        """End a stream for a fault of its client, which counts as if the client had cancelled the request (CVE-2025-8671)."""
        self._limits.count_reset()
        self._send_reset(number, code)
        if stream := self.streams.in_progress.get(number):
            self._end_stream(stream)

    def _send_reset(self, number: int, code: ErrorCode) -> None:
        self.streams.record_reset(number)
        self.send_queue.reply(frame(frames.RST_STREAM, 0, number, frames.U32.pack(code)))

    def _end_stream(self, stream: Stream) -> None:
        self.receive_flow.discard(stream)
        self.send_queue.drop(stream)
        self._remove(stream)
        stream.lost()

    def _remove(self, stream: Stream) -> None:
        self.streams.remove(stream)
        if self._stopping and not self.streams.in_progress:
            self._on_drained()

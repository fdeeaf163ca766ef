"""One client's HTTP/2 connection, as RFC 9113 has it, for a server whose clients send requests of a few headers and large bodies.

A library's state machine costs more for a small call than the rest of the gateway does (docs/adr/0018-own-http2.md). What makes this one
cheap: a block of headers that came before is looked up; an answer that the client's windows allow leaves in one write; the bytes of a large
body are read to where they stay.
"""

import asyncio
import logging
import time
from functools import partial
from typing import Any

from hubserve.net.http2 import frames
from hubserve.net.http2.closed_streams import ClosedStreams
from hubserve.net.http2.endpoint import Endpoint
from hubserve.net.http2.flood_limits import FrameLimits
from hubserve.net.http2.frame_checks import check_form, depends_on_itself
from hubserve.net.http2.frames import ConnectionFault, ErrorCode, frame
from hubserve.net.http2.header_blocks import BlockReader
from hubserve.net.http2.header_rules import Request, read_request
from hubserve.net.http2.hpack_cache import FieldReader
from hubserve.net.http2.preface import OLD_HTTP_ANSWER, check_first, is_old_http, server_preface
from hubserve.net.http2.receive_flow import Inbox
from hubserve.net.http2.send_queue import Outbox
from hubserve.net.http2.streams import Stream

log = logging.getLogger("hubserve")

#: the longest frame that is not of a body
_MAX_OTHER_BYTES = 64 << 10
_MAX_HEADER_BYTES = 16 << 10
#: a shorter DATA frame that does not end its request contains no gRPC message, and counts as requesting nothing
_SMALLEST_DATA_BYTES = 5
#: a client that is silent is asked whether it still lives, and has so long to answer
_PING_TIMEOUT_S = 20.0
_PING = b"hubserve"
#: so long a client may go on with a request that is answered
_LINGER_S = 0.5


class Http2Connection(asyncio.BufferedProtocol):
    """One client's connection.

    Args:
        endpoint: what it shares with others.

    Attributes:
        due: when it is looked after; see :class:`hubserve.net.deadline_monitor.DeadlineMonitor`.
        streams: number -> requests that are in progress.
        inbox: takes their bodies.
        outbox: sends their answers.
    """

    def __init__(self, endpoint: Endpoint[Any]) -> None:
        self.due = 0.0
        self.streams: dict[int, Stream] = {}
        self._endpoint = endpoint
        self._transport: Any = None
        self.inbox: Inbox
        self.outbox: Outbox
        self._loop = asyncio.get_running_loop()
        self._fields: FieldReader[Request[Any]]
        self._closed = False
        self._stopping = False
        self._is_greeted = False  # the client has said that it speaks HTTP/2
        self._is_asked = False  # whether it still lives
        self._reading = True
        self._has_settings = False  # the client's first frame came
        self._highest_stream = 0
        self._closed_streams = ClosedStreams()
        self._last_accepted = 0
        self._rest = b""
        self._has_room = False  # where what comes belongs
        self._incomplete_since = 0.0  # when a frame or header block began that is not complete; 0 if none is
        self._blocks = BlockReader(_MAX_HEADER_BYTES)
        self._limits: FrameLimits

    # --- asyncio's protocol ---

    def connection_made(self, transport: Any) -> None:
        """A client connected."""
        self._transport = transport
        self.outbox = Outbox(transport, self._answered, self._endpoint.budget)
        self.inbox = Inbox(self.outbox, self._received_end, self._end_stream)
        self._limits = FrameLimits(self.outbox)
        self._fields = FieldReader(
            partial(read_request, self._endpoint.make_head), _MAX_HEADER_BYTES, self._endpoint.decode_budget(transport)
        )
        self._endpoint.connections.add(self)
        self._endpoint.deadlines.add(self)
        self.due = time.monotonic() + self._endpoint.client_timeout_s
        if not self._endpoint.bound.add(self, transport):
            transport.abort()

    @property
    def peer(self) -> str:
        """The client's address, without the port; "" if it is not known."""
        address = self._transport.get_extra_info("peername")
        return str(address[0]) if isinstance(address, tuple) else ""

    def _greet(self) -> None:
        """Say what a client may send; not before it has said that it speaks HTTP/2, so that others can read what they are told."""
        self._is_greeted = True
        self.outbox.write(server_preface(self._endpoint.max_streams, _MAX_HEADER_BYTES))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - it makes no difference
        """The connection is closed."""
        self._endpoint.left(self)
        self._endpoint.deadlines.discard(self)
        self.outbox.resume()
        self._lose_streams()

    def _lose_streams(self) -> None:
        self._closed = True
        self.outbox.close()
        streams, self.streams = self.streams, {}
        for stream in streams.values():
            stream.lost()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's call
        """Where the next bytes are to be put: those of a large body where they belong, others where all connections have theirs."""
        room = self.inbox.room()
        self._has_room = room is not None
        return self._endpoint.scratch if room is None else room

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes came."""
        if self._has_room:
            self.inbox.filled(nbytes)
            self.received(b"")
        else:
            self.received(bytes(self._endpoint.scratch[:nbytes]))

    def received(self, data: bytes) -> None:
        """Go on with what came."""
        self.due = time.monotonic() + self._endpoint.client_timeout_s
        self._is_asked = False
        try:
            self._take(data)
        except ConnectionFault as fault:
            self._end(fault.code, str(fault))
        if self._rest or self._blocks.stream:
            self._expect_rest()
        else:
            self._incomplete_since = 0.0
        self.outbox.flush()  # a loop may read many times in one turn, and the transport is to ask for a pause before that

    def _expect_rest(self) -> None:
        """Give the rest of a frame or header block as long as all of it has, however often a part comes."""
        self._incomplete_since = self._incomplete_since or time.monotonic()
        self.due = self._incomplete_since + self._endpoint.client_timeout_s

    def pause_writing(self) -> None:
        """The client takes its answers too slowly."""
        self.outbox.pause()

    def resume_writing(self) -> None:
        """The client takes its answers again."""
        self.outbox.resume()
        if self._closed:
            return
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        self.outbox.send_waiting()

    def on_timeout(self) -> None:
        """Nothing has come for a while."""
        if self._closed:  # and the client does not take what it was told last
            self._transport.abort()
        elif not self._is_greeted:
            self._end(ErrorCode.NO_ERROR, "nothing came in time")
        elif self._incomplete_since:
            self._end(ErrorCode.ENHANCE_YOUR_CALM, "a frame or a request's headers did not come in time")
        elif self._is_asked:
            self._transport.abort()
        else:
            self._is_asked = True
            self.due = time.monotonic() + _PING_TIMEOUT_S
            self.outbox.write(frame(frames.PING, 0, 0, _PING))

    def shutdown(self) -> None:
        """Begin no more requests, and close once those in progress are answered."""
        if self._stopping:
            return
        self._stopping = True
        self._say_goodbye(ErrorCode.NO_ERROR, "the server is being stopped")
        if not self.streams:
            self._close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    @property
    def is_connected(self) -> bool:
        """Return True if the connection has a transport; with TLS, it gets one after the handshake."""
        return self._transport is not None

    @property
    def idle_since(self) -> float:
        """When the client last sent something; 0 while there are requests, or an answer is not taken."""
        is_busy = self.streams or self._transport.get_write_buffer_size()
        return 0.0 if is_busy else self.due - self._endpoint.client_timeout_s

    def evict(self) -> None:
        """Make room for another connection."""
        self._end(ErrorCode.NO_ERROR, "the server needs the room for other connections (max_connections)")

    def _end(self, code: ErrorCode, text: str) -> None:
        if not self._closed:
            self._say_goodbye(code, text)
            self._close()

    def _close(self) -> None:
        """Close once the client has taken what is written, for which it has as long as for anything else."""
        self.outbox.flush()
        self._transport.close()
        self._lose_streams()
        self.due = time.monotonic() + self._endpoint.client_timeout_s

    def _say_goodbye(self, code: ErrorCode, text: str) -> None:
        self.outbox.write(frame(frames.GOAWAY, 0, 0, frames.U32.pack(self._last_accepted) + frames.U32.pack(code) + text.encode()))

    # --- what comes ---

    def _take(self, data: bytes) -> None:
        if self._rest:
            data, self._rest = self._rest + data, b""
        at = 0 if self._is_greeted else self._take_preface(data)
        end = len(data)
        while not self._closed:
            if self.inbox.is_within:
                at = self.inbox.take(data, at)
                if self.inbox.is_within:
                    return
            if end - at < frames.FRAME_HEAD.size:
                break
            word, flags, number = frames.FRAME_HEAD.unpack_from(data, at)
            length, kind, number = word >> 8, word & 0xFF, number & frames.LARGEST_STREAM
            begin = at + frames.FRAME_HEAD.size
            if not self._has_settings:
                check_first(kind, flags)
                self._has_settings = True
            if kind == frames.DATA:
                padded = flags & frames.PADDED
                if padded and begin == end:
                    break
                self._begin_data(number, flags, length, data[begin] if padded else None)
                at = begin + 1 if padded else begin
                continue
            if length > _MAX_OTHER_BYTES:
                raise ConnectionFault(
                    ErrorCode.FRAME_SIZE_ERROR, f"a frame of type {kind} has {length} bytes, the most is {_MAX_OTHER_BYTES}"
                )
            if end - begin < length:
                break
            at = begin + length
            self._take_frame(kind, flags, number, data[begin:at])
        if at < end and not self._closed:
            self._rest = data[at:]
        if at and not self._blocks.stream:
            self._incomplete_since = 0.0  # what is incomplete now began just now

    def _take_preface(self, data: bytes) -> int:
        """Look at a client's first bytes; returns how many of them are known to be HTTP/2's greeting."""
        if data[: len(frames.PREFACE)] == frames.PREFACE:
            self._greet()
            return len(frames.PREFACE)
        if frames.PREFACE.startswith(data):
            self._rest = data
            return len(data)
        if is_old_http(data):
            self.outbox.write(OLD_HTTP_ANSWER)
            self._close()
            return len(data)
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "what came is not HTTP/2")

    def _begin_data(self, number: int, flags: int, length: int, padding: int | None) -> None:
        if self._blocks.stream or number == 0 or number > self._highest_stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a DATA frame came where there is no request")
        stream = self.streams.get(number)
        if stream is None or padding is not None or (length < _SMALLEST_DATA_BYTES and not flags & frames.END_STREAM):
            self._limits.count_control()
        if stream is None and not self._closed_streams.is_ended_here(number):
            self._end_stream(number, ErrorCode.STREAM_CLOSED)
        self.inbox.begin(stream, flags, length, padding)

    def _received_end(self, stream: Stream) -> None:
        stream.received_end = True
        if stream.receiver:
            stream.receiver.end()
        elif stream.sent_end and not stream.pending and self.streams.get(stream.id) is stream:
            self._remove(stream)

    def _take_frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._blocks.stream and (kind != frames.CONTINUATION or number != self._blocks.stream):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a request's headers are interrupted")
        if kind == frames.HEADERS:
            self._take_block(*self._blocks.begin(flags, number, payload))
            return
        check_form(kind, flags, number, len(payload))
        if kind == frames.WINDOW_UPDATE:
            self._take_window(number, payload)
        elif kind == frames.PING:
            self._take_ping(flags, payload)
        elif kind == frames.RST_STREAM:
            self._take_reset(number)
        elif kind == frames.SETTINGS:
            self._take_settings(flags, payload)
        elif kind == frames.CONTINUATION:
            self._limits.count_control()
            self._take_block(*self._blocks.go_on(flags, payload))
        elif kind == frames.GOAWAY:
            self._limits.count_control()  # requests in progress are answered all the same
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client cannot push")
        else:  # priorities, and what is not known
            if kind == frames.PRIORITY and depends_on_itself(payload, number):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream depends on itself")
            self._limits.count_control()

    def _take_block(self, number: int, flags: int, block: bytes | None, fault: str) -> None:
        """Handle a complete block of a request's headers or trailers; does nothing if it is None, that is, not complete."""
        if block is None:
            return
        request = self._fields.read(block)  # the tables must follow whatever becomes of it
        if number <= self._highest_stream:
            self._take_trailers(number, flags, request.trailers_fault)
            return
        if number > self._highest_stream + 2:
            self._closed_streams.skip(range(self._highest_stream + 1, number))
        self._highest_stream = number
        if self._stopping or len(self.streams) >= self._endpoint.max_streams:
            self._limits.count_control()
            self._end_stream(number, ErrorCode.REFUSED_STREAM)
            return
        is_whole = bool(flags & frames.END_STREAM)
        if fault or request.fault or (is_whole and request.body_bytes):
            log.debug("a malformed request is refused: %s", fault or request.fault or "it has a content-length and no body")
            self._end_stream(number, ErrorCode.PROTOCOL_ERROR)
            return
        self._last_accepted = number
        stream = self.streams[number] = Stream(number, self)
        stream.received_end, stream.missing_bytes = is_whole, request.body_bytes
        self._endpoint.accept(stream, request.head)
        if stream.received_end and stream.receiver:
            stream.receiver.end()

    def _take_trailers(self, number: int, flags: int, fault: str) -> None:
        stream = self.streams.get(number)
        if stream is None:
            self._limits.count_control()
            if self._closed_streams.is_skipped(number):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream is opened whose number is below another's")
            if not self._closed_streams.is_ended_here(number):
                raise ConnectionFault(ErrorCode.STREAM_CLOSED, "a HEADERS frame came for a stream that is closed")
        elif stream.received_end:
            raise ConnectionFault(ErrorCode.STREAM_CLOSED, "a HEADERS frame came behind the end of its request")
        elif not flags & frames.END_STREAM:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a request has headers in its middle")
        elif fault or stream.missing_bytes:
            self._end_stream(number, ErrorCode.PROTOCOL_ERROR)
        else:
            self._received_end(stream)

    def _take_reset(self, number: int) -> None:
        if number > self._highest_stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a request is taken back that was not sent")
        stream = self.streams.get(number)
        if stream is None:
            self._limits.count_control()
            return
        self._limits.count_reset()
        self._lose(stream)

    def _take_ping(self, flags: int, payload: bytes) -> None:
        self._limits.count_control()
        if not flags & frames.ACK:
            self._answer_control(frame(frames.PING, frames.ACK, 0, payload))

    def _answer_control(self, answer: bytes) -> None:
        self.outbox.write(answer)
        if self.outbox.is_paused and self._reading:  # else what is answered would pile up for a client that does not read
            self._reading = False
            self._transport.pause_reading()

    def _take_settings(self, flags: int, payload: bytes) -> None:
        if flags & frames.ACK:
            self._limits.count_control()
            return
        self._limits.count_settings()
        self.outbox.apply(frames.SETTING.iter_unpack(payload), self.streams.values())
        self._answer_control(frame(frames.SETTINGS, frames.ACK, 0))
        self.outbox.send_waiting()

    def _take_window(self, number: int, payload: bytes) -> None:
        self._limits.count_window()
        more = frames.U32.unpack(payload)[0] & frames.LARGEST_WINDOW
        if number == 0:
            self.outbox.widen(more)
        elif number > self._highest_stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a window is of no request")
        elif stream := self.streams.get(number):
            self.outbox.widen_stream(stream, more)
            if more == 0 or stream.send_window > frames.LARGEST_WINDOW:
                self._end_stream(number, ErrorCode.FLOW_CONTROL_ERROR if more else ErrorCode.PROTOCOL_ERROR)
                return
        self.outbox.send_waiting()

    # --- the ends of streams ---

    def _answered(self, stream: Stream) -> None:
        """An answer is complete; of its request, no more is wanted."""
        stream.receiver = None
        self.inbox.forget(stream)
        if stream.received_end:
            self._remove(stream)
        else:  # some clients fail if they are stopped in the middle of their request, and most are at its end
            self._loop.call_later(_LINGER_S, self._stop_sending, stream)

    def _stop_sending(self, stream: Stream) -> None:
        """A request is answered, and its client goes on with it."""
        if self.streams.get(stream.id) is stream:
            self._write_reset(stream.id, ErrorCode.NO_ERROR)
            self._remove(stream)

    def _remove(self, stream: Stream) -> None:
        del self.streams[stream.id]
        if self._stopping and not self.streams:
            self._close()

    def reset(self, stream: Stream, code: ErrorCode) -> None:
        """End a stream at once."""
        if self.streams.get(stream.id) is stream:
            self._write_reset(stream.id, code)
            self._lose(stream)

    def _end_stream(self, number: int, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> None:
        """End a stream for something that its client did, which counts as if the client had taken it back."""
        if code != ErrorCode.REFUSED_STREAM:  # that many were sent before it knew of the limit
            self._limits.count_reset()
        self._write_reset(number, code)
        if stream := self.streams.get(number):
            self._lose(stream)

    def _write_reset(self, number: int, code: ErrorCode) -> None:
        self._closed_streams.end_here(number)
        self._answer_control(frame(frames.RST_STREAM, 0, number, frames.U32.pack(code)))

    def _lose(self, stream: Stream) -> None:
        self.inbox.forget(stream)
        self.outbox.drop(stream)
        self._remove(stream)
        stream.lost()

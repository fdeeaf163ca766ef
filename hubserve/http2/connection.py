"""One client's HTTP/2 connection, as RFC 9113 has it, for a server whose clients send requests of a few headers and large bodies.

A library's state machine costs more for a small call than the rest of the gateway does (docs/adr/0018-own-http2.md). What makes this one
cheap: a block of headers that came before is looked up; an answer that the client's windows allow leaves in one write; the bytes of a large
body are read to where they stay.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from hubserve.http2 import frames
from hubserve.http2.bucket import Bucket
from hubserve.http2.fields import Field, FieldReader
from hubserve.http2.frames import ConnectionFault, ErrorCode, frame
from hubserve.http2.inbox import CONNECTION_WINDOW, MAX_DATA_BYTES, Inbox
from hubserve.http2.outbox import Outbox
from hubserve.http2.streams import STREAM_WINDOW, Stream
from hubserve.serving.sweeper import Sweeper

#: the longest frame that is not of a body
_MAX_OTHER_BYTES = 64 << 10
_MAX_HEADER_BYTES = 64 << 10
#: what is read at once, unless it goes where it belongs
_SCRATCH_BYTES = 64 << 10
#: frames that ask for no work: so many at once, and so many per second
_CONTROL_FRAMES = (20_000, 10_000.0)
#: settings cost as much as there are requests in progress
_SETTINGS_FRAMES = (1_000, 100.0)
#: requests that are taken back
_RESETS = (2_000, 200.0)
#: a client that is silent is asked whether it still lives, and has so long to answer
_PING_TIMEOUT_S = 20.0
_PING = b"hubserve"
#: so long a client may go on with a request that is answered
_LINGER_S = 0.5

H = TypeVar("H")


@dataclass
class Endpoint(Generic[H]):
    """What the connections of one server share.

    Attributes:
        make_head: what becomes of a request's fields.
        accept: begins to answer a request, whose stream it gives a receiver.
        sweeper: looks after what may become due.
        client_timeout_s: how long a client may take to say what it speaks, and may be silent until it is asked whether it lives.
        max_streams: requests of one connection that may be in progress at once.
        connections: those that are open.
    """

    make_head: Callable[[list[Field]], H]
    accept: Callable[[Stream, H], None]
    sweeper: Sweeper
    client_timeout_s: float
    max_streams: int
    connections: "set[Http2Connection]" = field(default_factory=set)
    scratch: memoryview = field(default_factory=lambda: memoryview(bytearray(_SCRATCH_BYTES)))

    _emptied: asyncio.Event | None = None

    def connect(self) -> "Http2Connection":
        """What speaks to one more client."""
        return Http2Connection(self)

    def left(self, connection: "Http2Connection") -> None:
        """A connection is closed."""
        self.connections.discard(connection)
        if self._emptied and not self.connections:
            self._emptied.set()

    async def stop(self, drain_s: float) -> None:
        """Begin no more requests, give those in progress so long to finish, and close all connections."""
        for connection in tuple(self.connections):
            connection.shutdown()
        if self.connections:
            self._emptied = asyncio.Event()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), drain_s)
        for connection in tuple(self.connections):
            connection.abort()


class Http2Connection(asyncio.BufferedProtocol):
    """One client's connection.

    Args:
        endpoint: what it shares with others.

    Attributes:
        due: when it is looked after; see :class:`hubserve.serving.sweeper.Sweeper`.
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
        self._fields = FieldReader(endpoint.make_head, _MAX_HEADER_BYTES)
        self._closed = False
        self._stopping = False
        self._is_greeted = False  # the client has said that it speaks HTTP/2
        self._is_asked = False  # whether it still lives
        self._reading = True
        self._highest_stream = 0
        self._last_accepted = 0
        # what comes
        self._rest = b""
        self._has_room = False  # where what comes belongs
        self._block = b""
        self._block_stream = 0
        self._block_flags = 0
        self._control = Bucket(*_CONTROL_FRAMES)
        self._settings = Bucket(*_SETTINGS_FRAMES)
        self._resets = Bucket(*_RESETS)

    # --- asyncio's protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        self._transport = transport
        self.outbox = Outbox(transport, self._answered)
        self.inbox = Inbox(self.outbox, self._received_end)
        self._endpoint.connections.add(self)
        self._endpoint.sweeper.add(self)
        self.due = time.monotonic() + self._endpoint.client_timeout_s

    @property
    def peer(self) -> str:
        """The client's address, without the port; "" if it is not known."""
        address = self._transport.get_extra_info("peername")
        return str(address[0]) if isinstance(address, tuple) else ""

    def _greet(self) -> None:
        """Say what a client may send; not before it has said that it speaks HTTP/2, so that others can read what they are told."""
        self._is_greeted = True
        settings = {
            frames.MAX_CONCURRENT_STREAMS: self._endpoint.max_streams,
            frames.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            frames.MAX_FRAME_SIZE: MAX_DATA_BYTES,
            frames.MAX_HEADER_LIST_SIZE: _MAX_HEADER_BYTES,
        }
        more = frames.U32.pack(CONNECTION_WINDOW - frames.DEFAULT_WINDOW)
        self.outbox.write(frames.settings_frame(settings), frame(frames.WINDOW_UPDATE, 0, 0, more))

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - it makes no difference
        """The connection is closed."""
        self._endpoint.left(self)
        self._endpoint.sweeper.discard(self)
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
        self.outbox.flush()  # a loop may read many times in one turn, and the transport is to ask for a pause before that

    def pause_writing(self) -> None:
        """The client takes its answers too slowly."""
        self.outbox.is_paused = True

    def resume_writing(self) -> None:
        """The client takes its answers again."""
        self.outbox.is_paused = False
        if self._closed:
            return
        if not self._reading:
            self._reading = True
            self._transport.resume_reading()
        self.outbox.send_waiting()

    def on_due(self) -> None:
        """Nothing has come for a while."""
        if self._closed:  # and the client does not take what it was told last
            self._transport.abort()
        elif not self._is_greeted:
            self._end(ErrorCode.NO_ERROR, "nothing came in time")
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
            length, kind, number = word >> 8, word & 0xFF, number & 0x7FFF_FFFF
            begin = at + frames.FRAME_HEAD.size
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

    def _take_preface(self, data: bytes) -> int:
        """Look at a client's first bytes; returns how many of them are known to be HTTP/2's greeting."""
        if data[: len(frames.PREFACE)] == frames.PREFACE:
            self._greet()
            return len(frames.PREFACE)
        if frames.PREFACE.startswith(data):
            self._rest = data
            return len(data)
        if not frames.PREFACE.startswith(data[:4]) and b"HTTP/1" in data:
            text = b"this port speaks gRPC, over HTTP/2; HTTP/1.1 is spoken at the server's other port\n"
            self.outbox.write(b"HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain\r\nconnection: close\r\n")
            self.outbox.write(b"content-length: %d\r\n\r\n" % len(text), text)
            self._close()
            return len(data)
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "what came is not HTTP/2")

    def _begin_data(self, number: int, flags: int, length: int, padding: int | None) -> None:
        if self._block_stream or number == 0 or number > self._highest_stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a DATA frame came where there is no request")
        if (length == 0 and not flags & frames.END_STREAM) or padding is not None:
            self._count_control()
        self.inbox.begin(self.streams.get(number), flags, length, padding)

    def _received_end(self, stream: Stream) -> None:
        stream.received_end = True
        if stream.receiver:
            stream.receiver.end()
        elif stream.sent_end and not stream.pending and self.streams.get(stream.id) is stream:
            self._remove(stream)

    def _take_frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._block_stream and (kind != frames.CONTINUATION or number != self._block_stream):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a request's headers are interrupted")
        if kind == frames.HEADERS:
            self._take_headers(flags, number, payload)
        elif kind == frames.WINDOW_UPDATE:
            self._take_window(number, payload)
        elif kind == frames.PING:
            self._take_ping(flags, number, payload)
        elif kind == frames.RST_STREAM:
            self._take_reset(number, payload)
        elif kind == frames.SETTINGS:
            self._take_settings(flags, number, payload)
        elif kind == frames.CONTINUATION:
            self._take_continuation(flags, payload)
        elif kind == frames.GOAWAY:
            self._count_control()  # requests in progress are answered all the same
        elif kind == frames.PUSH_PROMISE:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client cannot push")
        else:  # priorities, and what is not known
            self._count_control()

    def _count_control(self) -> None:
        if not self._control.take():
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames that ask for nothing")

    def _take_headers(self, flags: int, number: int, payload: bytes) -> None:
        if not number & 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"stream {number} is not a client's to open")
        block = frames.without_padding(payload, flags)
        if flags & frames.HAS_PRIORITY:
            if len(block) < 5:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a HEADERS frame is too short for its priority")
            block = block[5:]
        if flags & frames.END_HEADERS:
            self._take_block(number, flags, block)
        else:
            self._block, self._block_stream, self._block_flags = block, number, flags

    def _take_continuation(self, flags: int, payload: bytes) -> None:
        number = self._block_stream
        if not number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "headers go on that did not begin")
        self._count_control()
        self._block += payload
        if len(self._block) > _MAX_HEADER_BYTES:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "the request's headers are too large")
        if flags & frames.END_HEADERS:
            block, self._block, self._block_stream = self._block, b"", 0
            self._take_block(number, self._block_flags, block)

    def _take_block(self, number: int, flags: int, block: bytes) -> None:
        """All of a request's headers are here, or of what follows its body."""
        head = self._fields.read(block)  # the tables must follow whatever becomes of it
        if number <= self._highest_stream:
            self._take_trailers(number, flags)
            return
        self._highest_stream = number
        if self._stopping or len(self.streams) >= self._endpoint.max_streams:
            self._count_control()
            self._answer_control(frame(frames.RST_STREAM, 0, number, frames.U32.pack(ErrorCode.REFUSED_STREAM)))
            return
        self._last_accepted = number
        stream = self.streams[number] = Stream(number, self)
        stream.received_end = bool(flags & frames.END_STREAM)
        self._endpoint.accept(stream, head)
        if stream.received_end and stream.receiver:
            stream.receiver.end()

    def _take_trailers(self, number: int, flags: int) -> None:
        stream = self.streams.get(number)
        if stream is None:  # it was ended here in the meantime
            self._count_control()
            return
        if stream.received_end or not flags & frames.END_STREAM:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a request has headers in its middle")
        self._received_end(stream)

    def _take_reset(self, number: int, payload: bytes) -> None:
        if number == 0 or number > self._highest_stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a request is taken back that was not sent")
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a RST_STREAM frame has 4 bytes")
        stream = self.streams.get(number)
        if stream is None:
            self._count_control()
            return
        self._count_reset()
        self._lose(stream)

    def _count_reset(self) -> None:
        if not self._resets.take():
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many requests are taken back")

    def _take_ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a PING frame is of the connection, not of a stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a PING frame has 8 bytes")
        self._count_control()
        if not flags & frames.ACK:
            self._answer_control(frame(frames.PING, frames.ACK, 0, payload))

    def _answer_control(self, answer: bytes) -> None:
        self.outbox.write(answer)
        if self.outbox.is_paused and self._reading:  # else what is answered would pile up for a client that does not read
            self._reading = False
            self._transport.pause_reading()

    def _take_settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a SETTINGS frame is of the connection, not of a stream")
        if len(payload) % frames.SETTING.size or (flags & frames.ACK and payload):
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a SETTINGS frame has {len(payload)} bytes")
        self._count_control()
        if flags & frames.ACK:
            return
        if not self._settings.take():
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many settings")
        window = self.outbox.initial_window
        for name, value in frames.SETTING.iter_unpack(payload):
            if name == frames.INITIAL_WINDOW_SIZE:
                window = value
            self._check_setting(name, value)
        self.outbox.set_initial_window(window, self.streams.values())
        self._answer_control(frame(frames.SETTINGS, frames.ACK, 0))
        self.outbox.send_waiting()

    def _check_setting(self, name: int, value: int) -> None:
        if name == frames.INITIAL_WINDOW_SIZE and value > frames.LARGEST_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the initial window is too large")
        if name == frames.ENABLE_PUSH and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")
        if name == frames.MAX_FRAME_SIZE:
            if not frames.DEFAULT_FRAME_BYTES <= value <= frames.LARGEST_FRAME_BYTES:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"frames cannot be of {value} bytes")
            self.outbox.max_frame = value

    def _take_window(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a WINDOW_UPDATE frame has 4 bytes")
        more = frames.U32.unpack(payload)[0] & frames.LARGEST_WINDOW
        if number == 0:
            self.outbox.widen(more)
        elif number > self._highest_stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a window is of no request")
        elif stream := self.streams.get(number):
            self.outbox.widen_stream(stream, more)
            if more == 0 or stream.send_window > frames.LARGEST_WINDOW:
                self._count_reset()  # a client can have this done as well as do it
                self.reset(stream, ErrorCode.FLOW_CONTROL_ERROR if more else ErrorCode.PROTOCOL_ERROR)
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
            self.outbox.write(frame(frames.RST_STREAM, 0, stream.id, frames.U32.pack(ErrorCode.NO_ERROR)))
            self._remove(stream)

    def _remove(self, stream: Stream) -> None:
        del self.streams[stream.id]
        if self._stopping and not self.streams:
            self._close()

    def reset(self, stream: Stream, code: ErrorCode) -> None:
        """End a stream at once."""
        if self.streams.get(stream.id) is stream:
            self.outbox.write(frame(frames.RST_STREAM, 0, stream.id, frames.U32.pack(code)))
            self._lose(stream)

    def _lose(self, stream: Stream) -> None:
        self.inbox.forget(stream)
        self.outbox.drop(stream)
        self._remove(stream)
        stream.lost()

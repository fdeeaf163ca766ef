"""HTTP/2 clients for tests: one that sends arbitrary bytes, and one that follows the rules (the library ``h2``)."""

import contextlib
import select
import socket
import ssl
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import hpack

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS, PADDED, HAS_PRIORITY = 4, 8, 0x20
TIMEOUT_S = 30
_HEAD = struct.Struct(">BHBBI")
#: port of each encrypted server -> what its clients use
TLS: dict[int, ssl.SSLContext] = {}

Fields = list[tuple[str, str]]


class Frame(NamedTuple):
    """One received frame."""

    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: int, flags: int = 0, stream: int = 0, payload: bytes = b"", length: int | None = None) -> bytes:
    """Return a frame, which may announce another length than it has."""
    length = len(payload) if length is None else length
    return _HEAD.pack(length >> 16, length & 0xFFFF, kind, flags, stream) + payload


def frames_of(data: bytes) -> tuple[list[Frame], bytes]:
    """Return the frames that some bytes start with, and the rest."""
    found = []
    while len(data) >= 9:
        high, low, kind, flags, stream = _HEAD.unpack_from(data)
        end = 9 + (high << 16 | low)
        if len(data) < end:
            break
        found.append(Frame(kind, flags, stream, data[9:end]))
        data = data[end:]
    return found, data


def secured(raw: socket.socket, port: int) -> socket.socket:
    """Return the socket of a connection, after the handshake if the server's port is encrypted; h2 was chosen by ALPN then."""
    context = TLS.get(port)
    if context is None:
        return raw
    found = context.wrap_socket(raw, server_hostname="localhost")
    assert found.selected_alpn_protocol() == "h2"
    return found


def u32(*numbers: int) -> bytes:
    return b"".join(number.to_bytes(4, "big") for number in numbers)


def setting(name: int, value: int) -> bytes:
    return struct.pack(">HI", name, value)


def prefixed(message: bytes, packed: int = 0) -> bytes:
    """Return a gRPC message with its prefix."""
    return struct.pack(">BI", packed, len(message)) + message


def fields_of(path: str, **more: str) -> Fields:
    """Return the headers of a call; ``method=`` in ``more`` replaces ``:method``."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "test",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    for name, value in more.items():
        fields[":method" if name == "method" else name.replace("_", "-")] = value
    return list(fields.items())


@dataclass
class Answer:
    """Response on one stream.

    Attributes:
        blocks: headers, then trailers.
        fields: both together.
        reset: the error code of the server's RST_STREAM; None if it sent none.
    """

    body: bytearray = field(default_factory=bytearray)
    blocks: list[dict[str, str]] = field(default_factory=list)
    has_ended: bool = False
    reset: int | None = None

    @property
    def fields(self) -> dict[str, str]:
        return {name: value for block in self.blocks for name, value in block.items()}

    @property
    def status(self) -> int:
        return int(self.fields["grpc-status"])

    @property
    def messages(self) -> list[bytes]:
        found, body = [], bytes(self.body)
        while body:
            packed, length = struct.unpack_from(">BI", body)
            assert packed == 0
            assert len(body) >= 5 + length
            found.append(body[5 : 5 + length])
            body = body[5 + length :]
        return found


class Raw:
    """Client that sends arbitrary bytes, and reads frames.

    Args:
        port: the server's.
        greet: whether to send the preface and SETTINGS.
        settings: payload of the SETTINGS frame.
        read_bytes: size of the socket's receive buffer; 0 for the default.
    """

    def __init__(self, port: int, greet: bool = True, settings: bytes = b"", read_bytes: int = 0) -> None:
        raw = socket.socket()
        if read_bytes:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, read_bytes)
        raw.settimeout(TIMEOUT_S)
        raw.connect(("127.0.0.1", port))
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket = secured(raw, port)
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self.answers: dict[int, Answer] = {}
        self._received = b""
        self._frames: list[Frame] = []
        if greet:
            self.send(PREFACE, frame(SETTINGS, payload=settings))

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: Any) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def flood(self, data: bytes, times: int) -> None:
        """Send data repeatedly, or until the server closes the connection."""
        with contextlib.suppress(OSError):
            for _ in range(times):
                self.socket.sendall(data)

    def headers(self, number: int, path: str, end: bool = False, **more: str) -> bytes:
        """Return a HEADERS frame."""
        return frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), number, self.encoder.encode(fields_of(path, **more)))

    def call(self, number: int, path: str, *messages: bytes, end: bool = True, **more: str) -> bytes:
        """Return the frames of a call."""
        body = b"".join(map(prefixed, messages))
        return self.headers(number, path, **more) + frame(DATA, END_STREAM if end else 0, number, body)

    def next(self) -> Frame | None:
        """Return the next frame; None once the server has closed the connection."""
        while not self._frames:
            try:
                data = self.socket.recv(1 << 18)
            except ConnectionError:
                data = b""
            if not data:
                return None
            self._frames, self._received = frames_of(self._received + data)
        found = self._frames.pop(0)
        self._record(found)
        return found

    def _record(self, found: Frame) -> None:
        if found.kind not in (DATA, HEADERS, RST_STREAM):
            return
        answer = self.answers.setdefault(found.stream, Answer())
        if found.kind == DATA:
            answer.body += found.payload
        elif found.kind == HEADERS:
            assert found.flags & END_HEADERS
            answer.blocks.append(dict(self.decoder.decode(found.payload)))
        else:
            answer.reset = int.from_bytes(found.payload, "big")
        answer.has_ended = answer.has_ended or found.kind == RST_STREAM or bool(found.flags & END_STREAM)

    def all(self) -> Iterator[Frame]:
        """Yield frames until the server closes the connection."""
        while found := self.next():
            yield found

    def until(self, kind: int, stream: int | None = None, flags: int = 0) -> Frame:
        """Return the next frame of a type."""
        for found in self.all():
            if found.kind == kind and stream in (None, found.stream) and found.flags & flags == flags:
                return found
        raise AssertionError(f"the server closed the connection without a frame of type {kind}")

    def goodbye(self) -> tuple[int, str]:
        """Return the error code and text of the server's last GOAWAY."""
        found = [each for each in self.all() if each.kind == GOAWAY]
        assert found, "the server closed the connection without GOAWAY"
        return int.from_bytes(found[-1].payload[4:8], "big"), found[-1].payload[8:].decode()

    def answer(self, number: int) -> Answer:
        """Wait for the complete response on a stream."""
        while not (number in self.answers and self.answers[number].has_ended):
            assert self.next(), "the server closed the connection before the answer was complete"
        return self.answers[number]

    def synchronize(self) -> None:
        """Wait until the server has handled everything sent so far."""
        self.send(frame(PING, payload=b"sequence"))
        while self.until(PING, flags=ACK).payload != b"sequence":
            pass


class Client:
    """Client that follows the rules.

    Args:
        port: the server's.
        settings: its settings.
        reads: whether it opens its windows as soon as data arrives.
    """

    def __init__(self, port: int, settings: dict[int, int] | None = None, reads: bool = True) -> None:
        self.socket = secured(socket.create_connection(("127.0.0.1", port), TIMEOUT_S), port)
        self.http = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.http.local_settings = h2.settings.Settings(client=True, initial_values={2: 0, **(settings or {})})
        self.http.max_inbound_frame_size = self.http.local_settings.max_frame_size
        self.answers: dict[int, Answer] = {}
        self.events: list[h2.events.Event] = []
        self._reads = reads
        self.http.initiate_connection()
        self.flush()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: Any) -> None:
        self.socket.close()

    def flush(self) -> None:
        self.socket.sendall(self.http.data_to_send())

    def start(self, path: str, **more: str) -> int:
        """Start a call; return its stream."""
        number = self.http.get_next_available_stream_id()
        self.answers[number] = Answer()
        self.http.send_headers(number, fields_of(path, **more))
        return number

    def give(self, number: int, data: bytes, end: bool = False) -> None:
        """Send a part of a call's body, as fast as the server allows, and until the call is answered."""
        at = 0
        while at < len(data) and not self.answers[number].has_ended:
            size = min(self.http.local_flow_control_window(number), self.http.max_outbound_frame_size, len(data) - at)
            if size <= 0 or len(self.http._data_to_send) > 1 << 20:
                self.flush()
            if size <= 0:
                self.receive()
                continue
            self.http.send_data(number, data[at : at + size])
            at += size
            while select.select([self.socket], [], [], 0)[0]:
                self.receive()
        if end and not self.answers[number].has_ended:
            self.http.end_stream(number)
        self.flush()

    def call(self, path: str, *messages: bytes, **more: str) -> int:
        """Send a complete call; return its stream."""
        number = self.start(path, **more)
        self.give(number, b"".join(map(prefixed, messages)), end=True)
        return number

    def receive(self) -> None:
        """Receive the next bytes."""
        data = self.socket.recv(1 << 18)
        assert data, "the server closed the connection"
        for event in self.http.receive_data(data):
            self._record(event)
        self.flush()

    def _record(self, event: h2.events.Event) -> None:
        self.events.append(event)
        answer = self.answers.get(getattr(event, "stream_id", 0) or 0)
        if answer is None:
            return
        if isinstance(event, (h2.events.ResponseReceived, h2.events.TrailersReceived)):
            answer.blocks.append(dict(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            answer.body += event.data
            if self._reads and event.flow_controlled_length:
                with contextlib.suppress(h2.exceptions.StreamClosedError):
                    self.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            answer.has_ended = True
        elif isinstance(event, h2.events.StreamReset):
            answer.has_ended, answer.reset = True, int(event.error_code)

    def until(self, condition: Callable[[], Any]) -> None:
        """Receive until a condition holds."""
        while not condition():
            self.receive()

    def received(self, *numbers: int) -> int:
        """Return the number of bytes received in response to some calls."""
        return sum(len(self.answers[each].body) for each in numbers)

    def open_window(self, count: int, number: int | None = None) -> None:
        """Allow the server to send ``count`` bytes more, of a stream or of all."""
        self.http.increment_flow_control_window(count, number)
        self.flush()

    def set(self, name: int, value: int) -> None:
        """Change a setting."""
        self.http.update_settings({name: value})
        self.flush()

    def answer(self, number: int) -> Answer:
        """Wait for the complete response to a call."""
        self.until(lambda: self.answers[number].has_ended)
        return self.answers[number]

    def ask(self, path: str, *messages: bytes, **more: str) -> Answer:
        """Make a call, and wait for its response."""
        return self.answer(self.call(path, *messages, **more))

"""Connection errors and their codes."""

from collections.abc import Callable

import pytest

from tests.unit.net.http2.raw import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HAS_PRIORITY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Raw,
    fields_of,
    frame,
    prefixed,
    setting,
    u32,
)
from tests.unit.net.http2.server import DEAF, ECHO, STREAM, WAIT, EchoServer

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, COMPRESSION_ERROR, CALM = 1, 3, 5, 6, 9, 11
LARGEST = 2**31 - 1


def begun(client: Raw, number: int = 1, path: str = STREAM) -> bytes:
    return client.headers(number, path)


def block(client: Raw) -> bytes:
    return client.encoder.encode(fields_of(STREAM))


FAULTS: dict[str, tuple[int, Callable[[Raw], bytes]]] = {
    # lengths
    "a long DATA frame": (FRAME_SIZE_ERROR, lambda c: begun(c) + frame(DATA, 0, 1, b"", length=(1 << 20) + 1)),
    "a long HEADERS frame": (FRAME_SIZE_ERROR, lambda c: frame(HEADERS, END_HEADERS, 1, b"", length=1 << 20)),
    "a long frame of no known type": (FRAME_SIZE_ERROR, lambda c: frame(77, 0, 0, b"", length=0xFFFFFF)),
    "a short PING": (FRAME_SIZE_ERROR, lambda c: frame(PING, payload=b"1234567")),
    "a long PING": (FRAME_SIZE_ERROR, lambda c: frame(PING, payload=b"123456789")),
    "a SETTINGS frame with half a setting": (FRAME_SIZE_ERROR, lambda c: frame(SETTINGS, payload=b"1234567")),
    "an acknowledgement with settings": (FRAME_SIZE_ERROR, lambda c: frame(SETTINGS, ACK, payload=setting(4, 1))),
    "a short RST_STREAM": (FRAME_SIZE_ERROR, lambda c: begun(c) + frame(RST_STREAM, 0, 1, b"123")),
    "a long RST_STREAM": (FRAME_SIZE_ERROR, lambda c: begun(c) + frame(RST_STREAM, 0, 1, b"12345")),
    "a short WINDOW_UPDATE": (FRAME_SIZE_ERROR, lambda c: frame(WINDOW_UPDATE, payload=b"123")),
    "a long WINDOW_UPDATE": (FRAME_SIZE_ERROR, lambda c: frame(WINDOW_UPDATE, payload=b"12345")),
    "a HEADERS frame shorter than its priority": (FRAME_SIZE_ERROR, lambda c: frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, b"1234")),
    # frames on stream 0, or on idle streams
    "DATA of no stream": (PROTOCOL_ERROR, lambda c: frame(DATA, 0, 0, b"x")),
    "DATA of a stream that did not begin": (PROTOCOL_ERROR, lambda c: begun(c) + frame(DATA, 0, 3, b"x")),
    "HEADERS of no stream": (PROTOCOL_ERROR, lambda c: begun(c, 0)),
    "HEADERS of a server's stream": (PROTOCOL_ERROR, lambda c: begun(c, 2)),
    "RST_STREAM of no stream": (PROTOCOL_ERROR, lambda c: frame(RST_STREAM, 0, 0, u32(8))),
    "RST_STREAM of a stream that did not begin": (PROTOCOL_ERROR, lambda c: begun(c) + frame(RST_STREAM, 0, 3, u32(8))),
    "a window of a stream that did not begin": (PROTOCOL_ERROR, lambda c: begun(c) + frame(WINDOW_UPDATE, 0, 3, u32(8))),
    "PING of a stream": (PROTOCOL_ERROR, lambda c: frame(PING, 0, 1, b"12345678")),
    "SETTINGS of a stream": (PROTOCOL_ERROR, lambda c: frame(SETTINGS, 0, 1)),
    "a promise": (PROTOCOL_ERROR, lambda c: begun(c) + frame(PUSH_PROMISE, END_HEADERS, 1, u32(2) + block(c))),
    # the order of frames
    "CONTINUATION of nothing": (PROTOCOL_ERROR, lambda c: frame(CONTINUATION, END_HEADERS, 1, block(c))),
    "CONTINUATION behind the end of headers": (PROTOCOL_ERROR, lambda c: begun(c) + frame(CONTINUATION, END_HEADERS, 1)),
    "CONTINUATION of another stream": (PROTOCOL_ERROR, lambda c: frame(HEADERS, 0, 1, block(c)) + frame(CONTINUATION, END_HEADERS, 3)),
    "a PING within headers": (PROTOCOL_ERROR, lambda c: frame(HEADERS, 0, 1, block(c)) + frame(PING, payload=bytes(8))),
    "DATA within headers": (PROTOCOL_ERROR, lambda c: begun(c) + frame(HEADERS, 0, 3, block(c)) + frame(DATA, 0, 1, b"x")),
    "HEADERS within headers": (PROTOCOL_ERROR, lambda c: frame(HEADERS, 0, 1, block(c)) + frame(HEADERS, END_HEADERS, 1)),
    "an unknown frame within headers": (PROTOCOL_ERROR, lambda c: frame(HEADERS, 0, 1, block(c)) + frame(99)),
    "headers in the middle": (PROTOCOL_ERROR, lambda c: begun(c) + frame(DATA, 0, 1, b"\0") + begun(c)),
    "DATA behind the end": (STREAM_CLOSED, lambda c: c.headers(1, WAIT) + frame(DATA, END_STREAM, 1, bytes(5)) + frame(DATA, 0, 1, b"x")),
    "headers behind the end": (STREAM_CLOSED, lambda c: c.call(1, WAIT, b"") + c.headers(1, WAIT, end=True)),
    # padding
    "a DATA frame that is all padding and more": (PROTOCOL_ERROR, lambda c: begun(c) + frame(DATA, PADDED, 1, b"\3ab")),
    "a DATA frame without the length of its padding": (PROTOCOL_ERROR, lambda c: begun(c) + frame(DATA, PADDED, 1) + frame(PING)),
    "a HEADERS frame that is all padding and more": (PROTOCOL_ERROR, lambda c: frame(HEADERS, END_HEADERS | PADDED, 1, b"\3ab")),
    "a HEADERS frame without the length of its padding": (PROTOCOL_ERROR, lambda c: frame(HEADERS, END_HEADERS | PADDED, 1)),
    # settings
    "an initial window that is too large": (FLOW_CONTROL_ERROR, lambda c: frame(SETTINGS, payload=setting(4, LARGEST + 1))),
    "frames that are too small": (PROTOCOL_ERROR, lambda c: frame(SETTINGS, payload=setting(5, 16_383))),
    "frames that are too large": (PROTOCOL_ERROR, lambda c: frame(SETTINGS, payload=setting(5, 1 << 24))),
    "half a push": (PROTOCOL_ERROR, lambda c: frame(SETTINGS, payload=setting(2, 2))),
    "an initial window that makes another too large": (
        FLOW_CONTROL_ERROR,
        lambda c: begun(c) + frame(WINDOW_UPDATE, 0, 1, u32(1 << 20)) + frame(SETTINGS, payload=setting(4, LARGEST)),
    ),
    # windows
    "a window that grows by nothing": (PROTOCOL_ERROR, lambda c: frame(WINDOW_UPDATE, payload=u32(0))),
    "a window that grows too large": (FLOW_CONTROL_ERROR, lambda c: frame(WINDOW_UPDATE, payload=u32(LARGEST))),
    # header blocks
    "a reference to no field": (COMPRESSION_ERROR, lambda c: frame(HEADERS, END_HEADERS, 1, b"\xfe")),
    "half a field": (COMPRESSION_ERROR, lambda c: frame(HEADERS, END_HEADERS, 1, b"\0\5ab")),
    "a number without end": (COMPRESSION_ERROR, lambda c: frame(HEADERS, END_HEADERS, 1, b"\xff" * 10_000)),
    "a table that is larger than allowed": (COMPRESSION_ERROR, lambda c: frame(HEADERS, END_HEADERS, 1, b"\x3f\xff\xff\x03" + block(c))),
    "too many fields": (CALM, lambda c: frame(HEADERS, END_HEADERS, 1, block(c) + b"\x82" * 5000)),
    "too large a field": (
        CALM,
        lambda c: frame(HEADERS, 0, 1, b"\0\1x\x7f\x81\x84\4" + bytes(60_000)) + frame(CONTINUATION, 0, 1, bytes(9_000)),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_protocol_violation_ends_the_connection_with_its_error_code(one_server: EchoServer, name: str) -> None:
    code, make = FAULTS[name]
    with Raw(one_server.port) as other, Raw(one_server.port) as client:
        client.flood(make(client), 1)
        found = client.goodbye()
        assert found[0] == code, found
        assert found[1]
        other.send(other.call(1, ECHO, b"others go on"))
        assert other.answer(1).messages == [b"others go on"]


@pytest.mark.parametrize("first", [b"\x16\x03\x01\x02\x00", b"PRI * HTTP/2.0\r\n\r\nXX", b"\0" * 100, b"\n"])
def test_a_wrong_preface_ends_the_connection(server: EchoServer, first: bytes) -> None:
    with Raw(server.port, greet=False) as client:
        client.send(first)
        assert client.goodbye() == (PROTOCOL_ERROR, "not an HTTP/2 preface")


def test_an_invalid_stream_window_resets_only_the_stream(server: EchoServer) -> None:
    with Raw(server.port) as client:
        for number, more, code in ((1, 0, PROTOCOL_ERROR), (3, LARGEST, FLOW_CONTROL_ERROR)):
            client.send(client.headers(number, WAIT), frame(WINDOW_UPDATE, 0, number, u32(more)))
            assert client.answer(number).reset == code
        client.send(client.call(5, ECHO, b"next"))
        assert client.answer(5).messages == [b"next"]


def test_exceeding_the_stream_window_ends_the_connection(server: EchoServer) -> None:
    with Raw(server.port) as client:
        client.send(client.headers(1, DEAF), *[frame(DATA, 0, 1, prefixed(bytes((1 << 18) - 5)))] * 4)
        client.synchronize()
        client.send(frame(DATA, 0, 1, b"\0"))
        assert client.goodbye()[0] == FLOW_CONTROL_ERROR


def test_exceeding_the_connection_window_ends_the_connection(server: EchoServer) -> None:
    with Raw(server.port) as client:
        for number in range(1, 33, 2):
            client.send(client.headers(number, DEAF), *[frame(DATA, 0, number, prefixed(bytes((1 << 18) - 5)))] * 4)
        client.synchronize()
        client.send(client.headers(33, DEAF), frame(DATA, 0, 33, b"\0"))
        assert client.goodbye()[0] == FLOW_CONTROL_ERROR


def test_goaway_names_the_last_accepted_stream(server: EchoServer) -> None:
    with Raw(server.port) as client:
        client.send(client.headers(1, WAIT), client.headers(7, WAIT), frame(PING))
        assert client.until(GOAWAY).payload[:8] == u32(7, FRAME_SIZE_ERROR)


def test_a_preface_may_arrive_before_its_settings(server: EchoServer) -> None:
    with Raw(server.port, greet=False) as client:
        client.send(PREFACE)
        client.until(SETTINGS)
        client.send(frame(SETTINGS))
        client.synchronize()

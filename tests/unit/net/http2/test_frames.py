"""Frames that a client may send in different ways with the same meaning."""

import struct
import zlib
from itertools import pairwise
from typing import Any

import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubserve.net.grpc.status import Status
from tests.examples import examples
from tests.unit.net.http2.conftest import Start
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
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Answer,
    Raw,
    fields_of,
    frame,
    prefixed,
    setting,
    u32,
)
from tests.unit.net.http2.server import ECHO, STREAM, WAIT, EchoServer, pattern

REFUSED_STREAM = 7


def test_headers_and_bodies_may_be_padded_and_have_priorities(server: EchoServer) -> None:
    with Raw(server.port) as client:
        for number, padding in ((1, 0), (3, 1), (5, 255)):
            block = client.encoder.encode(fields_of(ECHO))
            flags = END_HEADERS | PADDED | HAS_PRIORITY
            client.send(frame(HEADERS, flags, number, bytes([padding]) + u32(number - 1) + b"\x0f" + block + bytes(padding)))
            client.send(frame(PRIORITY, 0, number, u32(0) + b"\1"))
            body = prefixed(b"padded")
            client.send(frame(DATA, PADDED, number, bytes([padding]) + body[:4] + bytes(padding)))
            client.send(frame(DATA, PADDED, number, bytes([padding]) + bytes(padding)))
            client.send(frame(DATA, PADDED | END_STREAM, number, bytes([padding]) + body[4:] + bytes(padding)))
            assert client.answer(number).messages == [b"padded"]


def test_headers_may_come_in_parts(server: EchoServer) -> None:
    with Raw(server.port) as client:
        block = client.encoder.encode(fields_of(ECHO, x_long="abc" * 5000))
        parts = [block[at : at + 1000] for at in range(0, len(block), 1000)]
        client.send(frame(HEADERS, PADDED, 1, b"\2" + parts[0] + b"\0\0"))
        for part in parts[1:-1]:
            client.send(frame(CONTINUATION, 0, 1, part))
        client.send(frame(CONTINUATION, 0, 1), frame(CONTINUATION, END_HEADERS, 1, parts[-1]))
        client.send(frame(DATA, END_STREAM, 1, prefixed(b"parts")))
        assert client.answer(1).messages == [b"parts"]
        block = client.encoder.encode(fields_of(STREAM))
        client.send(frame(HEADERS, END_STREAM, 3, b""), frame(CONTINUATION, END_HEADERS, 3, block))
        assert client.answer(3).status == Status.OK


@pytest.mark.parametrize("path", [ECHO, STREAM])
def test_a_client_may_end_with_trailers(server: EchoServer, path: str) -> None:
    with Raw(server.port) as client:
        client.send(client.headers(1, path), frame(DATA, 0, 1, prefixed(b"body")))
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, client.encoder.encode([("x-checksum", "1")])))
        assert client.answer(1).messages == [b"body"]
        client.send(client.call(3, path, b"next"))
        assert client.answer(3).messages == [b"next"]


def test_trailers_of_an_answered_stream_keep_the_tables_in_step(server: EchoServer) -> None:
    with Raw(server.port) as client:
        client.send(client.headers(1, "/none/None"))
        assert client.answer(1).status == Status.UNIMPLEMENTED
        client.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, client.encoder.encode([("x-late", "1")])))
        client.send(client.call(3, ECHO, b"next", x_late="1"))
        assert client.answer(3).messages == [b"next"]


def test_unknown_frames_and_frames_that_request_nothing_are_ignored(server: EchoServer) -> None:
    with Raw(server.port) as client:
        client.send(client.headers(1, ECHO))
        client.send(frame(0xFA, 0xFF, 0, pattern(1000)), frame(0x20, 0, 1, b""), frame(PRIORITY, 0, 99, u32(1) + b"\1"))
        client.send(frame(SETTINGS, payload=setting(0x99, 7) + setting(8, 1) + setting(3, 0)), frame(SETTINGS, ACK))
        client.send(frame(PING, ACK, payload=b"12345678"), frame(GOAWAY, payload=u32(0, 0) + b"soon"))
        client.send(frame(DATA, END_STREAM, 1, prefixed(b"passed over")))
        assert client.answer(1).messages == [b"passed over"]


def test_the_reserved_bit_of_a_stream_id_is_ignored(server: EchoServer) -> None:
    with Raw(server.port) as client:
        call = client.call(1, ECHO, b"reserved")
        client.send(call.replace(u32(1), u32(1 << 31 | 1)), frame(WINDOW_UPDATE, payload=u32(1 << 31 | 1)))
        assert client.answer(1).messages == [b"reserved"]


def test_pings_and_settings_are_acknowledged(server: EchoServer) -> None:
    with Raw(server.port) as client:
        client.until(SETTINGS, flags=ACK)
        client.send(frame(PING, payload=b"abcdefgh"))
        assert client.until(PING, flags=ACK).payload == b"abcdefgh"
        client.send(frame(SETTINGS, payload=setting(4, 1)))
        assert client.until(SETTINGS, flags=ACK).payload == b""


def test_bodies_of_cancelled_or_refused_streams_are_ignored(server: EchoServer) -> None:
    with Raw(server.port) as client:
        client.send(client.headers(1, ECHO), frame(DATA, 0, 1, prefixed(b"x")[:3]), frame(RST_STREAM, 0, 1, u32(8)))
        client.send(frame(WINDOW_UPDATE, 0, 1, u32(1)), frame(RST_STREAM, 0, 1, u32(8)))
        client.send(client.call(3, "/none/None", pattern(1000)), client.call(5, ECHO, b"next"))
        assert client.answer(3).status == Status.UNIMPLEMENTED
        assert client.answer(5).messages == [b"next"]
        assert 1 not in client.answers


def test_streams_over_the_limit_are_refused_and_may_be_retried(start: Start) -> None:
    server = start(max_calls=5)
    with Raw(server.port) as client:
        assert struct.pack(">HI", 3, 105) in client.until(SETTINGS).payload
        server.endpoint.max_streams = 3
        client.send(*(client.call(number, WAIT, b"") for number in (1, 3, 5, 7)))
        assert client.answer(7).reset == REFUSED_STREAM
        server.open_gate()
        client.answer(1)
        client.send(client.call(9, ECHO, b"again"))
        assert client.answer(9).messages == [b"again"]
    assert server.asked == ["Wait"] * 3 + ["Echo"]


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"method": "GET"}, "405"),
        ({"method": "post"}, "405"),
        ({"content_type": "application/json"}, "415"),
        ({"content_type": "application/grpcx"}, "415"),
        ({"content_type": ""}, "415"),
    ],
)
def test_requests_that_are_not_grpc_get_an_http_status(server: EchoServer, changed: dict[str, str], status: str) -> None:
    with Raw(server.port) as client:
        client.send(client.headers(1, ECHO, end=True, **changed))
        answer = client.answer(1)
        assert answer.fields[":status"] == status
        assert b"speaks gRPC" in answer.body
        assert answer.status == Status.UNKNOWN


@pytest.mark.parametrize("kind", ["application/grpc", "application/grpc+proto", "application/grpc; charset=utf-8"])
def test_calls_may_name_a_message_format(server: EchoServer, kind: str) -> None:
    with Raw(server.port) as client:
        client.send(client.call(1, ECHO, b"kind", content_type=kind))
        assert client.answer(1).messages == [b"kind"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"POST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\ncontent-length: 0\r\n\r\n",
        b"PUT / HTTP/1.0\r\n\r\n",
    ],
)
def test_an_http1_client_gets_a_readable_answer(server: EchoServer, request_bytes: bytes) -> None:
    with Raw(server.port, greet=False) as client:
        client.send(request_bytes)
        received = b""
        while part := client.socket.recv(1 << 16):
            received += part
    head, _, text = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 505 ")
    assert b"content-length: %d" % len(text) in head
    assert b"HTTP/1.1 is spoken at the server's other port" in text


# --- the same bytes, however they are cut ---


def conversation() -> bytes:
    """Whatever a client may send, once."""
    writer = Raw.__new__(Raw)  # without a connection
    writer.encoder = hpack.Encoder()
    large = prefixed(pattern(70_000))
    parts = [
        PREFACE,
        frame(SETTINGS, payload=setting(4, 1 << 20)),
        frame(WINDOW_UPDATE, payload=u32(1 << 20)),
        frame(PING, payload=b"12345678"),
    ]
    parts += [writer.call(1, ECHO, b"first"), writer.call(3, ECHO, b"again"), writer.headers(5, STREAM)]
    block = writer.encoder.encode(fields_of(ECHO, grpc_timeout="1H", x="y" * 300))
    parts += [frame(HEADERS, PADDED, 7, b"\3" + block[:50] + b"\0\0\0"), frame(CONTINUATION, END_HEADERS, 7, block[50:])]
    parts += [frame(DATA, 0, 5, large[:20_000]), frame(DATA, PADDED, 7, b"\7" + large[:9] + bytes(7)), frame(DATA, 0, 5, large[20_000:])]
    parts += [
        frame(DATA, 0, 7, large[9:]),
        frame(0x42, 1, 7, b"unknown"),
        frame(DATA, 0, 7),
        frame(DATA, 0, 5, prefixed(b"") + prefixed(b"x")),
    ]
    parts += [writer.headers(9, ECHO), frame(RST_STREAM, 0, 9, u32(8)), frame(DATA, 0, 9, pattern(100)), writer.call(11, "/none/None", b"")]
    parts += [frame(DATA, END_STREAM, 5), frame(HEADERS, END_HEADERS | END_STREAM, 7, writer.encoder.encode([("a", "b")]))]
    return b"".join(parts)


def summary(answer: Answer) -> tuple[list[tuple[int, int]], dict[str, str]]:
    return [(len(each), zlib.crc32(each)) for each in answer.messages], answer.fields


def answers_to(server: EchoServer, pieces: list[bytes], at_once: bool = True) -> dict[int, Any]:
    with Raw(server.port, greet=False) as client:
        server.feed(client, pieces, at_once)
        return {number: summary(client.answer(number)) for number in (1, 3, 5, 7, 11)}


WHOLE = conversation()


def test_a_connection_may_arrive_at_once_or_byte_by_byte(one_server: EchoServer) -> None:
    expected = answers_to(one_server, [WHOLE])
    assert expected[5][0] == [(70_000, zlib.crc32(pattern(70_000))), (0, 0), (1, zlib.crc32(b"x"))]
    assert expected[7][0] == expected[5][0][:1]
    assert answers_to(one_server, [bytes([each]) for each in WHOLE]) == expected
    assert answers_to(one_server, [bytes([each]) for each in WHOLE[:1000]] + [WHOLE[1000:]], at_once=False) == expected


@pytest.fixture(scope="module")
def expected(one_server: EchoServer) -> dict[int, Any]:
    return answers_to(one_server, [WHOLE])


@settings(max_examples=examples(60))
@given(cuts=st.lists(st.integers(1, len(WHOLE) - 1), max_size=30), at_once=st.booleans())
def test_a_connection_may_be_cut_anywhere(one_server: EchoServer, expected: dict[int, Any], cuts: list[int], at_once: bool) -> None:
    places = [0, *sorted(set(cuts)), len(WHOLE)]
    pieces = [WHOLE[start:end] for start, end in pairwise(places)]
    assert answers_to(one_server, pieces, at_once) == expected

"""RFC 9113 section by section: what a client must not send, and how the server must react.

Each row has the frames sent, whether they are a stream or a connection error, and the error code. ``test_connection_errors.py`` has more
connection errors, by kind of frame.
"""

from collections.abc import Callable

import pytest

from tests.unit.net.http2.raw import (
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
    Fields,
    Raw,
    fields_of,
    frame,
    prefixed,
    setting,
    u32,
)
from tests.unit.net.http2.server import ECHO, STREAM, WAIT, EchoServer

PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR, COMPRESSION_ERROR = 1, 3, 5, 6, 9
LARGEST = 2**31 - 1
BODY = prefixed(b"body")

Make = Callable[[Raw], bytes]


def request(client: Raw, fields: Fields, number: int = 1, end: int = 0) -> bytes:
    return frame(HEADERS, END_HEADERS | end, number, client.encoder.encode(fields, huffman=False))


def with_fields(*more: tuple[str, str], front: Fields | None = None, without: tuple[str, ...] = (), body: bytes = BODY) -> Make:
    """Return a call with added, leading or missing header fields."""
    kept = [each for each in fields_of(ECHO) if each[0] not in without]
    fields = [*(front or []), *kept, *more]
    return lambda client: request(client, fields) + frame(DATA, END_STREAM, 1, body)


def with_parts(length: str, *parts: bytes) -> Make:
    """Return a call with this content-length and a body in these parts."""

    def make(client: Raw) -> bytes:
        *first, last = parts
        sent = b"".join(frame(DATA, 0, 1, each) for each in first) + frame(DATA, END_STREAM, 1, last)
        return request(client, [*fields_of(ECHO), ("content-length", length)]) + sent

    return make


def trailers(*fields: tuple[str, str], length: int | None = None, path: str = ECHO) -> Make:
    more = [] if length is None else [("content-length", str(length))]

    def make(client: Raw) -> bytes:
        begun = request(client, [*fields_of(path), *more]) + frame(DATA, 0, 1, BODY)
        return begun + request(client, list(fields), end=END_STREAM)

    return make


#: stream errors: what is sent on stream 1 (section) -> code
STREAM_ERRORS: dict[str, tuple[int, Make]] = {
    # 8.2.1 field validity
    "8.2.1 an upper-case name": (PROTOCOL_ERROR, with_fields(("X-Upper", "a"))),
    "8.2.1 an empty name": (PROTOCOL_ERROR, with_fields(("", "a"))),
    "8.2.1 a space in a name": (PROTOCOL_ERROR, with_fields(("x y", "a"))),
    "8.2.1 a CR in a name": (PROTOCOL_ERROR, with_fields(("x\ry", "a"))),
    "8.2.1 a colon in a name": (PROTOCOL_ERROR, with_fields(("x:y", "a"))),
    "8.2.1 a byte over 127 in a name": (PROTOCOL_ERROR, with_fields(("xé", "a"))),
    "8.2.1 CR LF in a value": (PROTOCOL_ERROR, with_fields(("x", "a\r\nb: c"))),
    "8.2.1 LF in a value": (PROTOCOL_ERROR, with_fields(("x", "a\nb"))),
    "8.2.1 CR at a value's end": (PROTOCOL_ERROR, with_fields(("x", "a\r"))),
    "8.2.1 NUL in a value": (PROTOCOL_ERROR, with_fields(("x", "a\0b"))),
    "8.2.1 CR LF in a pseudo-header": (PROTOCOL_ERROR, with_fields((":path", f"{ECHO}\r\nx: y"), without=(":path",))),
    "8.2.1 a space before a value": (PROTOCOL_ERROR, with_fields(("x", " a"))),
    "8.2.1 a tab behind a value": (PROTOCOL_ERROR, with_fields(("x", "a\t"))),
    # 8.2.2 connection-specific fields
    "8.2.2 connection": (PROTOCOL_ERROR, with_fields(("connection", "close"))),
    "8.2.2 proxy-connection": (PROTOCOL_ERROR, with_fields(("proxy-connection", "keep-alive"))),
    "8.2.2 keep-alive": (PROTOCOL_ERROR, with_fields(("keep-alive", "timeout=5"))),
    "8.2.2 transfer-encoding": (PROTOCOL_ERROR, with_fields(("transfer-encoding", "chunked"))),
    "8.2.2 upgrade": (PROTOCOL_ERROR, with_fields(("upgrade", "h2c"))),
    "8.2.2 te that is not trailers": (PROTOCOL_ERROR, with_fields(("te", "gzip"), without=("te",))),
    "8.2.2 te with more than trailers": (PROTOCOL_ERROR, with_fields(("te", "trailers, gzip"), without=("te",))),
    # 8.3 pseudo-headers
    "8.3.1 no :method": (PROTOCOL_ERROR, with_fields(without=(":method",))),
    "8.3.1 no :scheme": (PROTOCOL_ERROR, with_fields(without=(":scheme",))),
    "8.3.1 no :path": (PROTOCOL_ERROR, with_fields(without=(":path",))),
    "8.3.1 an empty :path": (PROTOCOL_ERROR, with_fields(without=(":path",), front=[(":path", "")])),
    "8.3.1 a :path without a slash": (PROTOCOL_ERROR, with_fields(without=(":path",), front=[(":path", "test.Echo/Echo")])),
    "8.3.1 two :method": (PROTOCOL_ERROR, with_fields(front=[(":method", "POST")])),
    "8.3.1 two :scheme": (PROTOCOL_ERROR, with_fields(front=[(":scheme", "http")])),
    "8.3.1 two :path": (PROTOCOL_ERROR, with_fields(front=[(":path", ECHO)])),
    "8.3.1 two :authority": (PROTOCOL_ERROR, with_fields(front=[(":authority", "test")])),
    "8.3.1 host and :authority that differ": (PROTOCOL_ERROR, with_fields(("host", "other"))),
    "8.3 a pseudo-header behind others": (PROTOCOL_ERROR, with_fields((":authority", "test"), without=(":authority",))),
    "8.3 an unknown pseudo-header": (PROTOCOL_ERROR, with_fields(front=[(":foo", "x")])),
    "8.3 a pseudo-header of answers": (PROTOCOL_ERROR, with_fields(front=[(":status", "200")])),
    "8.4 :protocol without its setting": (PROTOCOL_ERROR, with_fields(front=[(":protocol", "websocket")])),
    "8.5 CONNECT with a path": (PROTOCOL_ERROR, with_fields(front=[(":method", "CONNECT")], without=(":method",))),
    # 8.1.1 malformed messages
    "8.1.1 a content-length that is too large": (PROTOCOL_ERROR, with_parts("999", BODY)),
    "8.1.1 a content-length that is too small": (PROTOCOL_ERROR, with_parts("3", BODY)),
    "8.1.1 a content-length that parts exceed": (PROTOCOL_ERROR, with_parts(str(len(BODY)), BODY, b"\0", b"")),
    "8.1.1 a content-length that parts do not reach": (PROTOCOL_ERROR, with_parts(str(len(BODY) + 1), BODY[:3], BODY[3:])),
    "8.1.1 a content-length that is not a number": (PROTOCOL_ERROR, with_fields(("content-length", "+9"))),
    "8.1.1 an empty content-length": (PROTOCOL_ERROR, with_fields(("content-length", ""))),
    "8.1.1 two content-lengths": (PROTOCOL_ERROR, with_fields(("content-length", "9"), ("content-length", "10"))),
    "8.1.1 a content-length without a body": (
        PROTOCOL_ERROR,
        lambda c: request(c, [*fields_of(ECHO), ("content-length", "9")], end=END_STREAM),
    ),
    "8.1 trailers with a pseudo-header": (PROTOCOL_ERROR, trailers((":path", "/x"))),
    "8.1 trailers with an upper-case name": (PROTOCOL_ERROR, trailers(("X", "y"))),
    "8.1 trailers before all of the body": (PROTOCOL_ERROR, trailers(("x", "y"), length=len(BODY) + 1)),
    # 5.1 stream states
    "5.1 DATA behind RST_STREAM": (
        STREAM_CLOSED,
        lambda c: c.headers(1, WAIT) + frame(RST_STREAM, 0, 1, u32(8)) + frame(DATA, END_STREAM, 1, BODY),
    ),
    "5.3.1 a stream that depends on itself": (
        PROTOCOL_ERROR,
        lambda c: frame(HEADERS, END_HEADERS | END_STREAM | HAS_PRIORITY, 1, u32(1) + b"\0" + c.encoder.encode(fields_of(ECHO))),
    ),
    # 6.9 windows
    "6.9 a window that grows by nothing": (PROTOCOL_ERROR, lambda c: c.headers(1, WAIT) + frame(WINDOW_UPDATE, 0, 1, u32(0))),
    "6.9.1 a window that grows too large": (FLOW_CONTROL_ERROR, lambda c: c.headers(1, WAIT) + frame(WINDOW_UPDATE, 0, 1, u32(LARGEST))),
}


@pytest.mark.parametrize("name", STREAM_ERRORS)
def test_a_stream_error_resets_only_the_stream_and_it_is_never_answered(one_server: EchoServer, name: str) -> None:
    code, make = STREAM_ERRORS[name]
    asked = list(one_server.asked)
    with Raw(one_server.port) as client:
        client.send(make(client))
        assert client.answer(1).reset == code
        client.send(client.call(3, ECHO, b"next"))
        assert client.answer(3).messages == [b"next"]
        assert not client.answers[1].body
        assert not client.answers[1].blocks
    assert one_server.asked[len(asked) :] == ["Echo"]


#: connection errors other than a malformed single frame: what is sent (section) -> code
CONNECTION_ERRORS: dict[str, tuple[int, Make]] = {
    "5.1 DATA on an idle stream": (PROTOCOL_ERROR, lambda c: frame(DATA, END_STREAM, 1, BODY)),
    "5.1 RST_STREAM on an idle stream": (PROTOCOL_ERROR, lambda c: frame(RST_STREAM, 0, 1, u32(8))),
    "5.1 WINDOW_UPDATE on an idle stream": (PROTOCOL_ERROR, lambda c: frame(WINDOW_UPDATE, 0, 1, u32(8))),
    "5.1 HEADERS on a half-closed stream": (STREAM_CLOSED, lambda c: c.call(1, WAIT, b"") + c.headers(1, WAIT, end=True)),
    "5.1 HEADERS behind RST_STREAM": (STREAM_CLOSED, lambda c: c.headers(1, WAIT) + frame(RST_STREAM, 0, 1, u32(8)) + c.headers(1, WAIT)),
    "5.1.1 a stream below another": (PROTOCOL_ERROR, lambda c: c.call(5, WAIT, b"") + c.headers(3, WAIT)),
    "5.1.1 a stream of the server's": (PROTOCOL_ERROR, lambda c: c.headers(2, WAIT)),
    "6.3 PRIORITY of no stream": (PROTOCOL_ERROR, lambda c: frame(PRIORITY, 0, 0, u32(1) + b"\0")),
    "6.3 a short PRIORITY": (FRAME_SIZE_ERROR, lambda c: frame(PRIORITY, 0, 1, u32(3))),
    "5.3.1 a PRIORITY of a stream that depends on itself": (PROTOCOL_ERROR, lambda c: frame(PRIORITY, 0, 1, u32(1) + b"\0")),
    "6.8 GOAWAY of a stream": (PROTOCOL_ERROR, lambda c: c.headers(1, WAIT) + frame(GOAWAY, 0, 1, u32(0, 0))),
    "6.8 a short GOAWAY": (FRAME_SIZE_ERROR, lambda c: frame(GOAWAY, 0, 0, u32(0))),
    "8.1 headers in the middle": (PROTOCOL_ERROR, lambda c: c.headers(1, STREAM) + c.headers(1, STREAM)),
    "4.3 a table size update behind a field": (COMPRESSION_ERROR, lambda c: frame(HEADERS, END_HEADERS, 1, b"\x82\x20")),
    "4.3 a reference to field 0": (COMPRESSION_ERROR, lambda c: frame(HEADERS, END_HEADERS, 1, b"\x80")),
    "4.3 Huffman padding of 8 bits": (COMPRESSION_ERROR, lambda c: frame(HEADERS, END_HEADERS, 1, b"\0\x82\x1f\xff\1a")),
    "4.3 Huffman padding with zeros": (COMPRESSION_ERROR, lambda c: frame(HEADERS, END_HEADERS, 1, b"\0\x81\x18\1a")),
}


@pytest.mark.parametrize("name", CONNECTION_ERRORS)
def test_a_connection_error_ends_the_connection(one_server: EchoServer, name: str) -> None:
    code, make = CONNECTION_ERRORS[name]
    with Raw(one_server.port) as client:
        client.send(make(client))
        found = client.goodbye()
        assert found[0] == code, found


@pytest.mark.parametrize(
    "first",
    [frame(PING, payload=bytes(8)), frame(SETTINGS, 1), frame(WINDOW_UPDATE, payload=u32(1)), frame(99), frame(HEADERS, 5, 1, b"\x82")],
)
def test_a_preface_without_settings_is_a_connection_error(one_server: EchoServer, first: bytes) -> None:
    with Raw(one_server.port, greet=False) as client:
        client.send(PREFACE, first)
        assert client.goodbye()[0] == PROTOCOL_ERROR


#: unusual but valid: what is sent on stream 1 and must be answered
ALLOWED: dict[str, Make] = {
    "a content-length that is right": with_fields(("content-length", str(len(BODY)))),
    "a content-length that is repeated": with_fields(("content-length", str(len(BODY))), ("content-length", str(len(BODY)))),
    "a content-length of several parts": with_parts(str(len(BODY)), BODY[:2], BODY[2:], b""),
    "a content-length of padded parts": lambda c: (
        request(c, [*fields_of(ECHO), ("content-length", str(len(BODY)))]) + frame(DATA, PADDED | END_STREAM, 1, b"\7" + BODY + bytes(7))
    ),
    "trailers behind all of a body": trailers(("x-checksum", "1"), length=len(BODY)),
    "host that is :authority": with_fields(("host", "TEST")),
    "no :authority": with_fields(without=(":authority",)),
    "a repeated field": with_fields(("x", "1"), ("x", "2")),
    "an empty value": with_fields(("x", "")),
    "bytes over 127 in a value": with_fields(("x", "ü")),
    "128 fields": with_fields(*[("x", "y")] * 122),
    "te in other letters": with_fields(("te", "Trailers"), without=("te",)),
    "unknown settings": lambda c: frame(SETTINGS, payload=setting(0xF0F0, 1)) + c.call(1, ECHO, b"body"),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_unusual_but_valid_requests_are_answered(one_server: EchoServer, name: str) -> None:
    with Raw(one_server.port) as client:
        client.send(ALLOWED[name](client))
        assert client.answer(1).status == 0


def test_frames_in_flight_when_the_server_reset_a_stream_are_ignored(one_server: EchoServer) -> None:
    with Raw(one_server.port) as client:
        client.send(client.headers(1, ECHO, connection="close"), frame(DATA, 0, 1, BODY), frame(DATA, 0, 1, BODY))
        client.send(frame(WINDOW_UPDATE, 0, 1, u32(5)), client.headers(1, "/late/Trailers", end=True))
        client.send(client.call(3, ECHO, b"next"))
        assert client.answer(3).messages == [b"next"]
        assert client.answers[1].reset == PROTOCOL_ERROR


def test_headers_with_continuation_are_checked(one_server: EchoServer) -> None:
    with Raw(one_server.port) as client:
        block = client.encoder.encode([*fields_of(ECHO), ("upgrade", "h2c")])
        client.send(frame(HEADERS, 0, 1, block[:20]), frame(CONTINUATION, END_HEADERS, 1, block[20:]))
        assert client.answer(1).reset == PROTOCOL_ERROR

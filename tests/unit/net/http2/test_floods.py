"""Malicious clients: what they can make the server do and keep."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from hubserve.net.http2 import endpoint as endpoint_module
from hubserve.net.http2 import flood_limits as limits_module
from tests.conftest import wait_for
from tests.unit.net.http2.conftest import Start
from tests.unit.net.http2.raw import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PRIORITY,
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
from tests.unit.net.http2.server import DEAF, ECHO, SIZED, STREAM, WAIT, EchoServer

CALM, UNAVAILABLE = 11, 14
MIB = 1 << 20


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the limits, so that tests reach them quickly."""
    monkeypatch.setattr(limits_module, "_CONTROL_FRAMES", (2000, 100.0))
    monkeypatch.setattr(limits_module, "_RESETS", (200, 10.0))


def opened_and(more: Callable[[int], bytes]) -> Callable[[Raw], Iterator[bytes]]:
    """Open streams without end, each with a frame after it."""

    def floods(client: Raw) -> Iterator[bytes]:
        for number in range(1, 20_001, 2):
            yield client.headers(number, STREAM) + more(number)

    return floods


def repeated(first: Callable[[Raw], bytes], what: bytes) -> Callable[[Raw], Iterator[bytes]]:
    """Repeat a frame."""

    def floods(client: Raw) -> Iterator[bytes]:
        yield first(client)
        for _ in range(100):
            yield what * 100

    return floods


def nothing(client: Raw) -> bytes:
    return b""


def stream(client: Raw) -> bytes:
    return client.headers(1, STREAM)


def malformed(client: Raw) -> Iterator[bytes]:
    for number in range(1, 2001, 2):
        yield client.headers(number, ECHO, connection="close")


FLOODS = {
    "PING": repeated(nothing, frame(PING, payload=bytes(8))),
    "acknowledged PING": repeated(nothing, frame(PING, 1, payload=bytes(8))),
    "SETTINGS": repeated(nothing, frame(SETTINGS, payload=setting(4, 0))),
    "acknowledged SETTINGS": repeated(nothing, frame(SETTINGS, 1)),
    "WINDOW_UPDATE of the connection": repeated(nothing, frame(WINDOW_UPDATE, payload=u32(1))),
    "WINDOW_UPDATE of a stream": repeated(stream, frame(WINDOW_UPDATE, 0, 1, u32(1))),
    "WINDOW_UPDATE that lets one byte through": repeated(
        lambda c: c.call(1, SIZED, b"1000000"), frame(WINDOW_UPDATE, payload=u32(1)) + frame(WINDOW_UPDATE, 0, 1, u32(1))
    ),
    "WINDOW_UPDATE of what has ended": repeated(lambda c: stream(c) + frame(RST_STREAM, 0, 1, u32(8)), frame(WINDOW_UPDATE, 0, 1, u32(1))),
    "DATA of single bytes": repeated(stream, frame(DATA, 0, 1, b"\0")),
    "DATA of what has ended": repeated(lambda c: stream(c) + frame(RST_STREAM, 0, 1, u32(8)), frame(DATA, 0, 1, bytes(5))),
    "malformed requests": malformed,
    "empty DATA": repeated(stream, frame(DATA, 0, 1)),
    "DATA of padding": repeated(stream, frame(DATA, PADDED, 1, b"\0")),
    "PRIORITY": repeated(nothing, frame(PRIORITY, 0, 1, u32(0) + b"\0")),
    "GOAWAY": repeated(nothing, frame(GOAWAY, payload=u32(0, 0))),
    "unknown": repeated(nothing, frame(99)),
    "RST_STREAM of what has ended": repeated(lambda c: stream(c) + frame(RST_STREAM, 0, 1, u32(8)), frame(RST_STREAM, 0, 1, u32(8))),
    "empty CONTINUATION": repeated(lambda c: frame(HEADERS, 0, 1, b""), frame(CONTINUATION, 0, 1)),
    "CONTINUATION": repeated(lambda c: frame(HEADERS, 0, 1, b""), frame(CONTINUATION, 0, 1, bytes(100))),
    "streams that are taken back": opened_and(lambda number: frame(RST_STREAM, 0, number, u32(8))),
    "streams whose window grows by nothing": opened_and(lambda number: frame(WINDOW_UPDATE, 0, number, u32(0))),
    "streams whose window grows too large": opened_and(lambda number: frame(WINDOW_UPDATE, 0, number, u32(2**31 - 1))),
    "streams over the limit": opened_and(lambda number: b""),
}


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_of_frames_that_request_nothing_ends_the_connection(server: EchoServer, name: str) -> None:
    if name == "streams over the limit":
        server.endpoint.max_streams = 1
    with Raw(server.port) as client, Raw(server.port) as other:
        for part in FLOODS[name](client):
            client.flood(part, 1)
        for _ in client.all():
            pass
        assert [code for code, _ in server.goodbyes] == [CALM]
        wait_for(lambda: server.look(lambda: len(server.endpoint.connections) == 1))
        wait_for(lambda: server.look(lambda: not server.calls._open))
        other.send(other.call(1, ECHO, b"others go on"))
        assert other.answer(1).messages == [b"others go on"]


def test_reconnecting_does_not_renew_the_budget_for_costly_headers(server: EchoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "_DECODE_BUDGET", (0.01, 1e-6))
    costly = b"\0\x81\x1f\x81\x1f" * 100
    with Raw(server.port) as client:
        for number in range(1, 2001, 2):
            client.flood(frame(HEADERS, END_HEADERS, number, client.encoder.encode(fields_of(DEAF)) + costly), 1)
        assert client.goodbye()[0] == CALM
    with Raw(server.port) as again, Raw(server.port) as plain:
        again.send(frame(HEADERS, END_HEADERS, 1, again.encoder.encode(fields_of(DEAF)) + costly))
        assert again.goodbye()[0] == CALM
        plain.send(plain.call(1, ECHO, b"others of the same address"))
        assert plain.answer(1).messages == [b"others of the same address"]


def test_window_updates_that_large_answers_explain_are_free(server: EchoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "_CONTROL_FRAMES", (20, 1.0))
    with Raw(server.port) as client:
        client.send(client.call(1, SIZED, b"%d" % (4 * MIB)))
        while not (1 in client.answers and client.answers[1].has_ended):
            found = client.next()
            assert found, server.goodbyes
            if found.kind == DATA:
                size = u32(len(found.payload))
                client.send(frame(WINDOW_UPDATE, 0, 1, size), frame(WINDOW_UPDATE, payload=size))
        assert client.answer(1).status == 0


def test_window_updates_of_both_windows_for_each_small_answer_are_free(server: EchoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "_CONTROL_FRAMES", (20, 1.0))
    with Raw(server.port) as client:
        for number in range(1, 1001, 2):
            client.send(client.call(number, ECHO, b"small"))
            assert client.answer(number).messages == [b"small"], server.goodbyes
            client.send(frame(WINDOW_UPDATE, 0, number, u32(10)), frame(WINDOW_UPDATE, payload=u32(10)))
        client.synchronize()
    assert not server.goodbyes


@contextmanager
def in_background(client: Raw, parts: Iterator[bytes]) -> Iterator[None]:
    """Send without end and without ever reading."""
    stop = threading.Event()

    def send() -> None:
        for part in parts:
            if stop.is_set():
                return
            client.flood(part, 1)

    client.socket.settimeout(1)
    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize(
    "what",
    [frame(PING, payload=bytes(8)) * 3000, frame(SETTINGS, payload=setting(0x99, 1)) * 3000],
)
def test_answers_to_a_client_that_does_not_read_do_not_pile_up(server: EchoServer, monkeypatch: pytest.MonkeyPatch, what: bytes) -> None:
    for name in ("_CONTROL_FRAMES", "_SETTINGS_FRAMES"):
        monkeypatch.setattr(limits_module, name, (10**9, 1.0))
    with Raw(server.port, read_bytes=4096) as client:
        connection = server.connection(client)
        with in_background(client, iter([what] * 500)):
            wait_for(lambda: connection._send_queue._reading_paused)
        assert server.look(connection._transport.get_write_buffer_size) < 2 * MIB
        while connection._send_queue._reading_paused:  # it goes on once it does read
            with contextlib.suppress(TimeoutError):  # all may be read a moment before the server goes on
                client.next()


def test_refusals_to_a_client_that_does_not_read_do_not_pile_up(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "_CONTROL_FRAMES", (10**9, 1.0))
    server = start(max_calls=1)
    server.endpoint.max_streams = 1
    with Raw(server.port, read_bytes=4096) as client:
        connection = server.connection(client)
        client.send(client.call(1, WAIT, b""))

        def calls() -> Iterator[bytes]:
            block = client.encoder.encode(fields_of(WAIT))
            for first in range(3, 4_000_000, 4000):
                yield b"".join(frame(HEADERS, END_HEADERS, number, block) for number in range(first, first + 4000, 2))

        with in_background(client, calls()):
            wait_for(lambda: connection._send_queue._reading_paused)
        assert server.look(connection._transport.get_write_buffer_size) < 2 * MIB


def test_answers_to_a_client_that_does_not_read_wait_in_their_streams(server: EchoServer) -> None:
    with Raw(server.port, settings=setting(4, 2**31 - 1), read_bytes=4096) as client:
        client.send(frame(WINDOW_UPDATE, payload=u32(1 << 30)))
        client.send(*(client.call(number, SIZED, b"%d" % (2 * MIB)) for number in range(1, 41, 2)))
        wait_for(lambda: len(server.asked) == 20)
        connection = server.connection(client)
        assert server.look(connection._transport.get_write_buffer_size) < 4 * MIB


def test_the_call_whose_reset_exceeds_the_limit_ends_as_well(server: EchoServer) -> None:
    with Raw(server.port) as client:
        for number in range(1, 601, 2):
            client.flood(client.call(number, DEAF, b"x", end=False) + frame(RST_STREAM, 0, number, u32(8)), 1)
        wait_for(lambda: server.goodbyes)
        wait_for(lambda: server.look(lambda: not server.calls._open))


def test_many_settings_in_a_frame_cost_no_more_than_one(server: EchoServer) -> None:
    with Raw(server.port) as client:
        client.send(*(client.headers(number, DEAF) for number in range(1, 401, 2)))
        client.send(frame(SETTINGS, payload=b"".join(setting(4, each % 7) for each in range(10_000)) + setting(4, 65_535)))
        client.send(client.call(401, ECHO, b"next"))
        assert client.answer(401).messages == [b"next"]
        connection = server.connection(client)
        assert {each.send_window for each in server.look(lambda: list(connection.streams.in_progress.values()))} == {65_535}


def test_a_stream_window_that_opens_byte_by_byte_does_not_scan_all_waiting_streams(server: EchoServer) -> None:
    with Raw(server.port, settings=setting(4, 0)) as client:
        client.send(*(client.call(number, ECHO, b"waits") for number in range(1, 401, 2)))
        wait_for(lambda: len(server.asked) == 200)
        connection, looked = server.connection(client), []
        plain = connection._send_queue._send_turn
        connection._send_queue._send_turn = lambda *given: looked.append(1) or plain(*given)
        client.send(*[frame(WINDOW_UPDATE, 0, 1, u32(1))] * 5)
        client.send(*[frame(WINDOW_UPDATE, 0, 0, u32(1))] * 1000)
        client.synchronize()
        assert len(looked) < 50
        del connection._send_queue._send_turn
        client.send(*(frame(WINDOW_UPDATE, 0, number, u32(100)) for number in range(1, 401, 2)))
        assert all(client.answer(number).messages == [b"waits"] for number in range(1, 401, 2))


def test_the_connection_window_that_opens_byte_by_byte_does_not_scan_all_waiting_streams(server: EchoServer) -> None:
    with Raw(server.port, settings=setting(4, 1 << 20)) as client:
        client.send(*(client.call(number, SIZED, b"2000") for number in range(1, 401, 2)))
        wait_for(lambda: len(server.asked) == 200)
        client.synchronize()
        connection, looked = server.connection(client), []
        plain = connection._send_queue._send_turn
        connection._send_queue._send_turn = lambda *given: looked.append(1) or plain(*given)
        client.send(*[frame(WINDOW_UPDATE, 0, 0, u32(1))] * 1000)
        client.synchronize()
        assert len(looked) < 3000
        del connection._send_queue._send_turn
        client.send(frame(WINDOW_UPDATE, 0, 0, u32(MIB)))
        assert all(client.answer(number).messages for number in range(1, 401, 2))


def test_announced_messages_hold_nothing_and_received_bytes_are_held(start: Start) -> None:
    server = start(budget_bytes=10 * MIB)
    with Raw(server.port, settings=setting(4, MIB)) as client:
        client.send(frame(WINDOW_UPDATE, payload=u32(MIB)))
        for number in range(1, 41, 2):
            client.send(client.headers(number, STREAM), frame(DATA, 0, number, prefixed(bytes(4 * MIB))[:5]))
        client.synchronize()
        assert server.budget.held == 0
        client.send(client.call(41, ECHO, bytes(64 << 10)))
        assert client.answer(41).status == 0
        client.send(*[frame(DATA, 0, 1, bytes(256 << 10))] * 3)
        client.synchronize()
        assert 500 << 10 < server.budget.held < MIB
        assert not [each for number, each in client.answers.items() if each.has_ended and number != 41]


def test_small_messages_are_answered_when_large_ones_are_refused(start: Start) -> None:
    server = start(budget_bytes=0)
    with Raw(server.port, settings=setting(4, MIB)) as client:
        client.send(frame(WINDOW_UPDATE, payload=u32(MIB)))
        client.send(client.call(1, ECHO, bytes((64 << 10) + 1)))
        assert client.answer(1).status == UNAVAILABLE
        client.send(client.call(3, ECHO, bytes(64 << 10)))
        assert client.answer(3).status == 0


@pytest.mark.parametrize("window", [0, 2**31 - 1])
def test_answers_count_until_they_are_written_and_are_refused_without_memory(start: Start, window: int) -> None:
    server = start(budget_bytes=10 * MIB)
    with Raw(server.port, settings=setting(4, window) + setting(5, 2**24 - 1), read_bytes=4096) as client:
        client.send(frame(WINDOW_UPDATE, payload=u32(2**31 - 1 - 65_535)))
        client.send(*(client.call(number, SIZED, b"%d" % (4 * MIB)) for number in range(1, 81, 2)))
        wait_for(lambda: len(server.asked) == 40)
        assert 10 * MIB <= server.budget.held < 20 * MIB
        assert len(server.look(lambda: [each for each in server.endpoint.connections for _ in each.streams.in_progress])) < 45
    wait_for(lambda: server.budget.held == 0)

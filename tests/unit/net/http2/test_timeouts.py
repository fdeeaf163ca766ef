"""Slow clients, and a server that stops."""

import concurrent.futures
import threading
import time

import pytest

from hubserve.net.grpc.call import Call
from hubserve.net.grpc.service import Method
from hubserve.net.grpc.status import Status
from hubserve.net.http2 import connection as connection_module
from tests.conftest import wait_for
from tests.unit.net.http2.conftest import Start
from tests.unit.net.http2.raw import (
    ACK,
    CONTINUATION,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    WINDOW_UPDATE,
    Raw,
    fields_of,
    frame,
    prefixed,
    u32,
)
from tests.unit.net.http2.server import DEAF, ECHO, SIZED, STREAM, WAIT, EchoServer, pattern

REFUSED_STREAM, CALM = 7, 11

# timeouts do not depend on the kind of loop
pytestmark = pytest.mark.parametrize("start", ["uvloop"], indirect=True)


LATE = "a frame or header block was not completed in time"


@pytest.mark.parametrize("rest", [b"", frame(CONTINUATION, 0, 1, b"\x82"), frame(CONTINUATION, 0, 1, b"\x82")[:5]])
def test_an_incomplete_header_block_ends_the_connection(start: Start, rest: bytes) -> None:
    server = start(client_timeout_s=0.2)
    with Raw(server.port) as client:
        client.send(frame(HEADERS, 0, 1, client.encoder.encode(fields_of(ECHO))), rest)
        assert client.goodbye() == (CALM, LATE)


@pytest.mark.parametrize(
    ("begun", "part"),
    [(frame(HEADERS, 0, 1, b"\x82"), frame(CONTINUATION, 0, 1, b"\x82")), (frame(HEADERS, 4, 1, bytes(9000))[:100], b"\0"), (b"\0", b"")],
)
def test_a_header_block_that_arrives_byte_by_byte_has_one_deadline(start: Start, begun: bytes, part: bytes) -> None:
    server = start(client_timeout_s=0.2)
    with Raw(server.port) as client:
        client.send(begun)
        while not server.goodbyes:
            client.flood(part, 1)
            time.sleep(0.05)
        assert server.goodbyes == [(CALM, LATE)]


def test_frames_that_always_end_in_the_next_packet_are_not_too_slow(start: Start) -> None:
    server = start(client_timeout_s=1)
    with Raw(server.port) as client:
        ping = frame(PING, payload=b"12345678")
        client.send(ping[:5])
        end = time.monotonic() + 2
        while time.monotonic() < end:
            client.send(ping[5:] + ping[:5])
            time.sleep(0.02)
        client.send(ping[5:], client.call(1, ECHO, b"alive"))
        assert client.answer(1).messages == [b"alive"]


@pytest.mark.parametrize("path", [ECHO, STREAM])
@pytest.mark.parametrize("begun", [prefixed(b"slow")[:3], prefixed(pattern(100_000))[:1000]])
def test_a_message_that_does_not_arrive_ends_its_call(start: Start, path: str, begun: bytes) -> None:
    server = start(client_timeout_s=0.2)
    with Raw(server.port) as client:
        client.send(client.headers(1, path), frame(DATA, 0, 1, begun))
        answer = client.answer(1)
        assert answer.status == Status.DEADLINE_EXCEEDED
        assert "client_timeout_s" in answer.fields["grpc-message"]
        wait_for(lambda: server.budget.held == 0)
        client.send(client.call(3, ECHO, b"next"))
        assert client.answer(3).messages == [b"next"]


@pytest.mark.parametrize("body", [b"", prefixed(b"complete")])
def test_a_call_without_an_end_times_out(start: Start, body: bytes) -> None:
    server = start(client_timeout_s=0.2)
    with Raw(server.port) as client:
        client.send(client.headers(1, ECHO), frame(DATA, 0, 1, body))
        assert client.answer(1).status == Status.DEADLINE_EXCEEDED
        assert not server.asked


def test_a_long_message_may_take_its_time(start: Start) -> None:
    server = start(client_timeout_s=1)
    with Raw(server.port) as client:
        body = prefixed(pattern(20_000))
        client.send(client.headers(1, ECHO))
        for at in range(0, len(body), 2000):
            client.send(frame(DATA, 0, 1, body[at : at + 2000]))
            time.sleep(0.2)
        client.send(frame(DATA, END_STREAM, 1))
        assert client.answer(1).messages == [pattern(20_000)]


def let_pass(server: EchoServer, client: Raw, seconds: float) -> None:
    """Let time pass, in which the client only answers PING."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        client.synchronize()
        time.sleep(0.02)


def test_a_stream_between_messages_may_be_silent(start: Start) -> None:
    server = start(client_timeout_s=0.2)
    with Raw(server.port) as client:
        client.send(client.headers(1, STREAM), frame(DATA, 0, 1, prefixed(b"one")[:3]), frame(DATA, 0, 1, prefixed(b"one")[3:]))
        let_pass(server, client, 0.5)
        client.send(frame(DATA, END_STREAM, 1, prefixed(b"two")))
        assert client.answer(1).messages == [b"one", b"two"]


def test_a_stream_that_sent_many_messages_at_once_may_be_silent_afterwards(start: Start) -> None:
    server = start(client_timeout_s=0.2)
    with Raw(server.port) as client:
        client.send(client.headers(1, STREAM), frame(DATA, 0, 1, prefixed(b"x") * 1000))
        let_pass(server, client, 0.5)
        client.send(frame(DATA, END_STREAM, 1, prefixed(b"y")))
        assert client.answer(1).messages == [b"x"] * 1000 + [b"y"]


@pytest.mark.parametrize("sent", [prefixed(b"x") * 1000, prefixed(b"x") + prefixed(pattern(100_000))[:1000]])
def test_a_method_that_does_not_read_does_not_time_out_its_client(start: Start, sent: bytes) -> None:
    server = start(client_timeout_s=0.2)
    with Raw(server.port) as client:
        client.send(client.headers(1, DEAF), frame(DATA, 0, 1, sent))
        let_pass(server, client, 0.8)
        server.open_gate()
        if sent.endswith(b"x"):
            client.send(frame(DATA, END_STREAM, 1))
            assert client.answer(1).status == Status.OK
        else:  # from now on, the server waits for the client
            answer = client.answer(1)
            assert answer.messages == [b"1"]
            assert answer.status == Status.DEADLINE_EXCEEDED


def test_a_stream_may_send_slowly_while_its_answers_wait_for_their_client(start: Start) -> None:
    async def write_and_read(call: Call) -> None:
        call.send([pattern(100_000)])
        message = await call.read()
        call.send([message or b""])
        await call.flushed()

    server = start(client_timeout_s=1)
    server.add("Both", Method(write_and_read, streams=True))
    with Raw(server.port) as client:
        client.send(client.headers(1, "/test.Echo/Both"))
        body = prefixed(pattern(20_000))
        for at in range(0, len(body), 2000):
            client.send(frame(DATA, 0, 1, body[at : at + 2000]))
            time.sleep(0.2)
        client.send(frame(WINDOW_UPDATE, 0, 0, u32(1 << 20)), frame(WINDOW_UPDATE, 0, 1, u32(1 << 20)), frame(DATA, END_STREAM, 1))
        assert client.answer(1).messages == [pattern(100_000), pattern(20_000)]


@pytest.mark.parametrize("first", [b"", PREFACE[:10]])
def test_a_client_without_a_preface_is_disconnected(start: Start, first: bytes) -> None:
    server = start(client_timeout_s=0.2)
    with Raw(server.port, greet=False) as client:
        client.send(first)
        assert client.goodbye() == (0, "no HTTP/2 preface arrived in time")


def test_a_silent_client_gets_a_ping_and_is_disconnected_without_an_answer(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "_PING_TIMEOUT_S", 0.3)
    server = start(client_timeout_s=0.2)
    with Raw(server.port) as alive, Raw(server.port) as dead:
        dead.send(dead.call(1, WAIT, b""))
        for _ in range(5):
            alive.send(frame(PING, ACK, payload=alive.until(PING).payload))
        assert [each.kind for each in dead.all()][-1] == PING
        wait_for(lambda: server.cancelled == 1)
        alive.send(alive.call(1, ECHO, b"alive"))
        assert alive.answer(1).messages == [b"alive"]


def test_a_closed_connection_whose_client_does_not_read_is_aborted(start: Start) -> None:
    server = start(client_timeout_s=0.2)
    with Raw(server.port, settings=b"\0\4\x7f\xff\xff\xff", read_bytes=4096) as client:
        client.send(frame(WINDOW_UPDATE, 0, 0, u32(1 << 30)))
        for number in range(1, 21, 2):  # more than the buffers between both hold
            client.send(client.call(number, SIZED, b"%d" % (4 << 20)))
        connection = server.connection(client)
        wait_for(lambda: server.look(lambda: connection._send_queue.is_paused))
        client.send(frame(PING))
        wait_for(lambda: connection._session.closed)
        wait_for(lambda: connection._transport.get_write_buffer_size() == 0)
        wait_for(lambda: not server.endpoint.connections)


# --- the end of the server ---


def stopping(server: EchoServer, drain_s: float) -> "concurrent.futures.Future[None]":
    """Stop the server in another thread."""
    done: concurrent.futures.Future[None] = concurrent.futures.Future()

    def stop() -> None:
        server.run(server.endpoint.stop(drain_s))
        done.set_result(None)

    threading.Thread(target=stop).start()
    return done


def test_a_stopping_server_answers_requests_in_progress_and_accepts_no_more(server: EchoServer) -> None:
    with Raw(server.port) as idle, Raw(server.port) as client, Raw(server.port) as other:
        client.send(client.call(1, WAIT, b"late"))
        other.send(other.call(1, WAIT, b"late, too"))
        idle.synchronize()
        wait_for(lambda: len(server.asked) == 2)
        stopped = stopping(server, 20)
        assert idle.goodbye()[0] == 0
        assert other.until(GOAWAY).payload[:8] == u32(1, 0)
        other.send(other.call(3, ECHO, b"too late"))
        assert other.answer(3).reset == REFUSED_STREAM
        other.synchronize()
        assert not stopped.done()
        server.open_gate()
        assert client.answer(1).messages == [b"late"]
        assert other.answer(1).messages == [b"late, too"]
        assert other.next() is None
        stopped.result(10)


def test_a_stopping_server_does_not_wait_for_ever(server: EchoServer) -> None:
    with Raw(server.port) as client:
        client.send(client.call(1, WAIT, b""))
        wait_for(lambda: server.asked)
        stopping(server, 0.2).result(10)
        client.until(GOAWAY)
        assert client.next() is None
        wait_for(lambda: server.cancelled == 1)


def test_a_stopping_server_waits_for_unread_answers(server: EchoServer) -> None:
    with Raw(server.port) as client:
        client.send(client.call(1, SIZED, b"300000"))
        wait_for(lambda: server.asked)
        stopped = stopping(server, 20)
        client.until(GOAWAY)
        client.send(frame(WINDOW_UPDATE, 0, 0, u32(1 << 20)), frame(WINDOW_UPDATE, 0, 1, u32(1 << 20)))
        assert client.answer(1).messages == [pattern(300_000)]
        assert client.next() is None
        stopped.result(10)


def test_a_server_without_connections_stops_at_once(server: EchoServer) -> None:
    stopping(server, 1000).result(10)

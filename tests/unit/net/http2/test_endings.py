"""Unread answers, calls that fail while their answers are queued, and data after the end."""

import asyncio
import time
from typing import Any

import pytest

from hubserve.net.grpc.call import Call
from hubserve.net.grpc.framing import Message
from hubserve.net.grpc.service import Method
from hubserve.net.grpc.status import Status
from hubserve.net.http2 import session as session_module
from hubserve.net.http2.frames import ErrorCode
from tests.conftest import wait_for
from tests.unit.net.http2.conftest import Start
from tests.unit.net.http2.raw import DATA, END_STREAM, RST_STREAM, SETTINGS, WINDOW_UPDATE, Client, Raw, frame, prefixed, setting, u32
from tests.unit.net.http2.server import ECHO, FIRST, STREAM, WAIT, WRITE, EchoServer, pattern

NO_WINDOW = setting(4, 0)


def paused(server: EchoServer, client: Raw) -> Any:
    """Pause a connection as if its client did not read, and return it."""
    connection = server.connection(client)
    server.look(connection.pause_writing)
    return connection


@pytest.mark.parametrize("more", [b"\2\0\0\0\0", prefixed(b"more"), prefixed(b"more")[:3], prefixed(pattern(100_000))])
def test_data_after_a_complete_answer_is_ignored(server: EchoServer, more: bytes) -> None:
    with Raw(server.port, settings=NO_WINDOW) as client:
        client.send(client.headers(1, FIRST), frame(DATA, 0, 1, prefixed(b"5")))
        wait_for(lambda: server.asked)
        client.send(frame(DATA, 0, 1, more))
        client.synchronize()
        client.send(frame(WINDOW_UPDATE, 0, 1, u32(100)))
        assert client.answer(1).messages == [pattern(5)]
        assert client.answer(1).status == Status.OK


@pytest.mark.parametrize("behind", [b"", frame(DATA, END_STREAM, 1), frame(DATA, 0, 1, prefixed(b"more")), frame(DATA, 0, 1, b"\0")])
def test_an_answer_that_is_never_read_is_reset_whatever_else_the_client_sends(start: Start, behind: bytes) -> None:
    server = start(client_timeout_s=0.3)
    with Raw(server.port, settings=NO_WINDOW) as client:
        client.send(client.headers(1, FIRST), frame(DATA, 0, 1, prefixed(b"5")))
        wait_for(lambda: server.asked)
        client.send(behind)
        assert client.answer(1).reset == 8
        wait_for(lambda: not server.calls._open)
        client.send(client.call(3, STREAM))
        assert client.answer(3).status == Status.OK


def test_a_unary_answer_that_is_never_read_is_reset(start: Start) -> None:
    server = start(client_timeout_s=0.3)
    with Raw(server.port, settings=NO_WINDOW) as client:
        client.send(client.call(1, ECHO, b"x"))
        assert client.answer(1).reset == 8


def test_an_answer_that_is_read_byte_by_byte_is_reset(start: Start) -> None:
    server = start(client_timeout_s=0.3)
    with Raw(server.port, settings=setting(4, 1)) as client:
        client.send(client.call(1, ECHO, pattern(5000)))
        while not (1 in client.answers and client.answers[1].has_ended):
            client.send(frame(WINDOW_UPDATE, 0, 1, u32(1)))
            assert client.next()
            time.sleep(0.01)
        assert client.answers[1].reset == 8
        assert len(client.answers[1].body) < 3000


@pytest.mark.parametrize("path", [ECHO, STREAM])
def test_a_failed_call_does_not_start_again_while_its_status_is_queued(server: EchoServer, path: str) -> None:
    with Raw(server.port) as client:
        client.send(client.headers(1, path))
        client.synchronize()
        connection = paused(server, client)
        client.send(frame(DATA, 0, 1, b"\2\0\0\0\0"), frame(DATA, 0, 1, prefixed(pattern(100_000))[:-1]))
        client.send(frame(DATA, 0, 1, b"x"), frame(DATA, END_STREAM, 1, prefixed(b"y")))
        wait_for(lambda: server.look(lambda: connection.streams.in_progress[1].received_end))
        server.look(connection.resume_writing)
        assert client.answer(1).status == Status.INTERNAL
        assert server.budget.held == 0
        assert not server.asked


def test_a_failure_before_the_headers_are_sent_has_its_own_headers(server: EchoServer) -> None:
    with Raw(server.port) as client:
        client.send(client.headers(1, STREAM))
        client.synchronize()
        connection = paused(server, client)
        client.send(frame(DATA, 0, 1, prefixed(b"one")))
        wait_for(lambda: server.asked)
        client.send(frame(DATA, 0, 1, b"\2\0\0\0\0"))
        wait_for(lambda: server.look(lambda: connection.streams.in_progress[1].sent_end))
        server.look(connection.resume_writing)
        answer = client.answer(1)
        assert answer.fields[":status"] == "200"
        assert answer.fields["content-type"] == "application/grpc"
        assert answer.status == Status.INTERNAL


def test_nothing_is_sent_on_a_cancelled_stream(server: EchoServer) -> None:
    async def stubborn(message: Message, call: Call) -> bytes:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            call.send([b"last words"])
            await call.flushed()
            server.asked.append("Stubborn")
            raise
        return b""

    server.add("Stubborn", Method(stubborn))
    with Raw(server.port, settings=NO_WINDOW) as client:
        client.send(client.call(1, "/test.Echo/Stubborn", b""), frame(RST_STREAM, 0, 1, u32(8)))
        client.send(client.call(3, "/test.Echo/Stubborn", b""))
        client.synchronize()
        client.send(frame(RST_STREAM, 0, 3, u32(8)))
        wait_for(lambda: server.asked)
        wait_for(lambda: not server.calls._open)
        client.send(frame(SETTINGS, payload=setting(4, 1000)), client.call(5, ECHO, b"next"))
        assert client.answer(5).messages == [b"next"]
        assert list(client.answers) == [5]


@pytest.mark.parametrize("streams", [False, True])
def test_a_method_that_is_cancelled_from_within_ends_its_call(server: EchoServer, streams: bool) -> None:
    async def cancelled(*_: object) -> bytes:
        raise asyncio.CancelledError

    server.add("Cancelled", Method(cancelled, streams))
    with Raw(server.port) as client:
        client.send(client.call(1, "/test.Echo/Cancelled", b""))
        assert client.answer(1).reset == 2


def test_cancelling_a_call_or_disconnecting_cancels_its_method(server: EchoServer) -> None:
    with Raw(server.port) as client:
        client.send(client.call(1, WAIT, b""), client.call(3, WAIT, b""))
        wait_for(lambda: len(server.asked) == 2)
        client.send(frame(RST_STREAM, 0, 1, u32(8)))
        wait_for(lambda: server.cancelled == 1)
    wait_for(lambda: server.cancelled == 2)


def test_a_method_that_writes_on_a_cancelled_stream_is_cancelled(server: EchoServer) -> None:
    with Client(server.port, reads=False) as client:
        number = client.call(WRITE, b"10 90000")
        client.until(lambda: client.received(number) == 65_535)
        assert server.written == 0
        client.http.reset_stream(number, 8)
        client.flush()
        wait_for(lambda: not server.calls._open)
    assert server.written == 0


def test_a_client_may_finish_a_request_that_is_answered_already(server: EchoServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "_LINGER_S", 1.0)
    with Raw(server.port) as client:
        client.send(client.headers(1, "/test.Echo/None"))
        assert client.answer(1).status == Status.UNIMPLEMENTED
        client.send(frame(DATA, 0, 1, prefixed(pattern(100_000))), frame(DATA, END_STREAM, 1, prefixed(b"the end")))
        client.synchronize()
        assert client.answer(1).reset is None
        connection = server.connection(client)
        assert not server.look(lambda: connection.streams.in_progress)


def test_a_client_that_continues_an_answered_request_is_reset(server: EchoServer) -> None:
    with Raw(server.port) as client:
        client.send(client.headers(1, "/test.Echo/None"))
        assert client.answer(1).status == Status.UNIMPLEMENTED
        client.send(frame(DATA, 0, 1, prefixed(pattern(100_000))))
        assert client.until(RST_STREAM, 1).payload == u32(ErrorCode.NO_ERROR)
        connection = server.connection(client)
        assert not server.look(lambda: connection.streams.in_progress)

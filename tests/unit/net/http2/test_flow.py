"""Receive windows: clients get back the credit of all consumed data, however their calls end."""

import asyncio

import pytest

from hubserve.net.grpc.call import Call
from hubserve.net.grpc.service import Method
from hubserve.net.grpc.status import Status
from tests.conftest import wait_for
from tests.unit.net.http2.raw import DATA, END_STREAM, RST_STREAM, Client, Raw, frame, prefixed, u32
from tests.unit.net.http2.server import DEAF, ECHO, FIRST, STREAM, WAIT, EchoServer, pattern

MIB = 1 << 20
CONNECTION_WINDOW = 16 * MIB


def is_given_back(server: EchoServer, client: Raw) -> None:
    """Check that all window credit was returned, or is about to be."""
    connection = server.connection(client)
    assert server.look(lambda: connection._receive_flow._window + connection._receive_flow._credit) == CONNECTION_WINDOW


def test_uploads_that_are_cancelled_cost_no_window(server: EchoServer) -> None:
    with Raw(server.port) as client:
        part = prefixed(pattern(2 * MIB))[:MIB]
        for number in range(1, 401, 2):
            client.send(client.headers(number, ECHO), frame(DATA, 0, number, part), frame(RST_STREAM, 0, number, u32(8)))
        client.send(client.call(401, ECHO, b"next"))
        assert client.answer(401).messages == [b"next"]
        is_given_back(server, client)


@pytest.mark.parametrize("path", ["/none/None", ECHO, STREAM, FIRST])
def test_uploads_that_are_answered_early_cost_no_window(server: EchoServer, path: str) -> None:
    first = {ECHO: b"\2", STREAM: prefixed(b"x") + b"\2", FIRST: prefixed(b"5")}.get(path, b"")
    with Client(server.port) as client:
        for _ in range(40):
            number = client.start(path)
            client.give(number, first + pattern(MIB), end=True)
            client.answer(number)
        assert client.ask(ECHO, pattern(3 * MIB)).messages == [pattern(3 * MIB)]
    with Raw(server.port) as client:
        for number in range(1, 80, 2):
            client.send(client.headers(number, path), frame(DATA, END_STREAM, number, first + pattern(MIB - 9)))
            client.answer(number)
        client.synchronize()
        is_given_back(server, client)


def test_window_credit_of_an_ended_stream_is_not_returned_twice(server: EchoServer) -> None:
    async def read_apart(call: Call) -> None:
        await asyncio.wait({asyncio.create_task(call.read())})  # which ends it only once it ends itself

    server.add("Apart", Method(read_apart, streams=True))
    with Raw(server.port) as client:
        for number in range(1, 21, 2):
            # the reader was woken for the first message, and has not run yet when the second ends the call
            good, bad = frame(DATA, 0, number, prefixed(pattern(50_000))), frame(DATA, 0, number, b"\2\0\0\0\0")
            client.send(client.headers(number, "/test.Echo/Apart"))
            client.synchronize()
            server.feed(client, [good, bad])
            assert client.answer(number).status == Status.INTERNAL
        client.synchronize()
        is_given_back(server, client)


def test_an_unread_stream_blocks_its_client_and_no_other_stream(server: EchoServer) -> None:
    with Client(server.port) as client:
        client.ask(ECHO, b"")  # by now the server's settings are here
        number = client.start(DEAF)
        client.give(number, prefixed(b"x" * 1000) * 1000)
        client.give(number, bytes(client.http.local_flow_control_window(number)))
        assert client.http.local_flow_control_window(number) == 0
        assert client.ask(ECHO, pattern(3 * MIB)).messages == [pattern(3 * MIB)]
        assert client.http.local_flow_control_window(number) == 0


def test_a_method_that_reads_late_gets_everything(server: EchoServer) -> None:
    sizes = [0, 10, 100_000, *[300] * 500, 700_000, 5]
    with Client(server.port) as client:
        number = client.start(DEAF)
        sent = b"".join(prefixed(pattern(size)) for size in sizes)
        client.give(number, sent[:MIB])
        server.open_gate()
        client.give(number, sent[MIB:], end=True)
        assert client.answer(number).messages[-1] == b"%d" % sum(sizes)
    assert server.budget.held == 0


def test_many_uploads_at_once_share_the_connection_s_window(server: EchoServer) -> None:
    with Client(server.port) as client:
        numbers = [client.start(ECHO) for _ in range(20)]
        body = prefixed(pattern(2 * MIB))
        for at in range(0, len(body), 300_000):
            for number in numbers:
                client.give(number, body[at : at + 300_000], end=at + 300_000 >= len(body))
        assert all(client.answer(number).messages == [pattern(2 * MIB)] for number in numbers)


def test_a_connection_that_breaks_at_any_time_leaves_nothing(server: EchoServer) -> None:
    for cut in range(0, 60_000, 7_000):
        with Raw(server.port) as client:
            client.send(client.headers(1, STREAM), client.headers(3, ECHO), client.headers(5, DEAF), client.call(7, WAIT, b""))
            large = prefixed(pattern(100_000))
            client.send(frame(DATA, 0, 1, large), frame(DATA, 0, 3, large[:-1]), frame(DATA, 0, 5, large), frame(DATA, 0, 1, large)[:cut])
    wait_for(lambda: not server.left())


def test_resetting_streams_frees_the_memory_of_their_answers(server: EchoServer) -> None:
    with Raw(server.port) as client:  # it never widens its windows
        for number in range(1, 41, 2):
            client.send(client.headers(number, FIRST), frame(DATA, 0, number, prefixed(b"1000000")))
        wait_for(lambda: len(server.asked) == 20)
        connection = server.connection(client)
        assert server.look(lambda: len(connection.streams.in_progress)) == 20
        for number in range(1, 41, 2):
            client.send(frame(RST_STREAM, 0, number, u32(8)))
        client.synchronize()
        wait_for(lambda: server.look(lambda: not connection.streams.in_progress and not server.calls._open))
        assert server.look(lambda: not connection._send_queue._waiting)
        client.send(client.call(41, STREAM))
        assert client.answer(41).status == Status.OK

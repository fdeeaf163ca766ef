"""Calls of a client that follows the rules (the library h2)."""

import gc
import gzip
import struct
import zlib
from urllib.parse import unquote

import h2.events
import h2.settings
import pytest

from hubserve.net.grpc.call import Call
from hubserve.net.grpc.framing import Answer, Message
from hubserve.net.grpc.service import Method
from hubserve.net.grpc.status import RpcError, Status
from tests.conftest import wait_for
from tests.unit.net.http2.conftest import Start
from tests.unit.net.http2.raw import Client, prefixed
from tests.unit.net.http2.server import ECHO, ERROR, FIRST, SIZED, STREAM, WAIT, WRITE, EchoServer, pattern

WINDOW, FRAME = h2.settings.SettingCodes.INITIAL_WINDOW_SIZE, h2.settings.SettingCodes.MAX_FRAME_SIZE


def test_a_call_has_an_answer_with_a_head_a_message_and_a_status(server: EchoServer) -> None:
    with Client(server.port) as client:
        answer = client.ask(ECHO, b"hello")
    assert answer.messages == [b"hello"]
    assert answer.blocks[0] == {":status": "200", "content-type": "application/grpc", "grpc-accept-encoding": "identity,deflate,gzip"}
    assert answer.blocks[1] == {"grpc-status": "0"}
    assert answer.reset is None


def test_one_connection_answers_call_after_call(server: EchoServer) -> None:
    with Client(server.port) as client:
        for number in range(300):
            assert client.ask(ECHO, b"%d" % number).messages == [b"%d" % number]


def test_calls_of_one_connection_are_answered_independently(server: EchoServer) -> None:
    with Client(server.port) as client:
        waiting = client.call(WAIT, b"late")
        numbers = {client.start(STREAM): b"%d" % each for each in range(20)}
        for part in range(3):
            for number, said in numbers.items():
                client.give(number, prefixed(said * (part + 1)), end=part == 2)
        for number, said in numbers.items():
            assert client.answer(number).messages == [said, said * 2, said * 3]
        assert not client.answers[waiting].has_ended
        server.open_gate()
        assert client.answer(waiting).messages == [b"late"]


@pytest.mark.parametrize("window", [1000, 65_535, 4 << 20])
def test_large_messages_travel_both_ways_through_windows_of_any_size(server: EchoServer, window: int) -> None:
    size = 200_000 if window == 1000 else 5 << 20
    with Client(server.port, {WINDOW: window}) as client:
        assert client.ask(ECHO, pattern(size)).messages == [pattern(size)]
        assert client.ask(STREAM, pattern(size), b"", pattern(7)).messages == [pattern(size), b"", pattern(7)]


def test_large_frames_are_sent_to_a_client_that_accepts_them(server: EchoServer) -> None:
    with Client(server.port, {WINDOW: 8 << 20, FRAME: 1 << 20}) as client:
        client.open_window(8 << 20)
        assert client.ask(SIZED, b"%d" % (3 << 20)).messages == [pattern(3 << 20)]
        sizes = [len(each.data) for each in client.events if isinstance(each, h2.events.DataReceived)]
    assert max(sizes) > 16_384


def test_no_frame_is_longer_than_the_client_accepts(server: EchoServer) -> None:
    with Client(server.port, {WINDOW: 1 << 20}) as client:  # h2 ends a connection on which a longer one comes
        client.open_window(1 << 20)
        assert client.ask(SIZED, b"200000").messages == [pattern(200_000)]
        sizes = [len(each.data) for each in client.events if isinstance(each, h2.events.DataReceived)]
    assert max(sizes) == 16_384


def test_an_answer_continues_when_the_client_opens_and_closes_its_windows(server: EchoServer) -> None:
    size = 300_000
    with Client(server.port, {WINDOW: 50_000}, reads=False) as client:
        number = client.call(SIZED, b"%d" % size)
        client.until(lambda: client.received(number) == 50_000)
        client.set(WINDOW, 10_000)  # the stream's window is below zero now
        client.open_window(39_999, number)
        assert client.ask(ECHO, b"meanwhile").messages == [b"meanwhile"]
        assert client.received(number) == 50_000
        client.open_window(2, number)
        client.until(lambda: client.received(number) == 50_001)
        client.set(WINDOW, 1 << 20)
        client.open_window(1 << 20)
        assert client.answer(number).messages == [pattern(size)]


def test_a_status_needs_no_window(server: EchoServer) -> None:
    with Client(server.port, {WINDOW: 0}) as client:
        assert client.ask(ERROR, b"no").status == Status.FAILED_PRECONDITION
        client.set(WINDOW, 10)
        number = client.call(WAIT, b"x")
        client.set(WINDOW, 0)
        assert client.ask(STREAM).status == Status.OK
        client.open_window(100, number)
        server.open_gate()
        assert client.answer(number).status == Status.OK


def test_an_unread_answer_does_not_block_others(server: EchoServer) -> None:
    with Client(server.port, {WINDOW: 100_000}, reads=False) as client:
        client.open_window(1 << 20)
        number = client.call(WRITE, b"10 90000")
        client.until(lambda: client.received(number) == 100_000)
        for _ in range(5):
            assert client.ask(ECHO, b"small").messages == [b"small"]
        assert server.written == 1, "who writes waits until the client takes what was written before"
        client.open_window(1 << 20, number)
        assert client.answer(number).messages == [pattern(90_000)] * 10


def test_answers_share_the_connection_window(server: EchoServer) -> None:
    size = 2 << 20
    with Client(server.port, {WINDOW: 8 << 20}, reads=False) as client:
        large = [client.call(SIZED, b"%d" % size) for _ in range(4)]
        client.until(lambda: client.received(*large) == 65_535)
        small = client.call(SIZED, b"1000")
        wait_for(lambda: len(server.asked) == 5)
        client.open_window(6 * (256 << 10))
        assert client.answer(small).messages == [pattern(1000)]
        client.until(lambda: client.received(*large) > 5 * (256 << 10))
        assert all(client.received(each) >= 128 << 10 for each in large), "each of the large ones has had its turn, too"
        client.open_window(16 << 20)
        assert all(client.answer(each).messages == [pattern(size)] for each in large)


def test_a_stream_answered_before_its_end_is_reset_without_error(server: EchoServer) -> None:
    with Client(server.port) as client:
        number = client.start(FIRST)
        client.give(number, prefixed(b"3") + prefixed(pattern(1000)))
        assert client.answer(number).messages == [pattern(3)]
        client.until(lambda: client.answers[number].reset is not None)
        assert client.answers[number].reset == 0
        assert client.ask(ECHO, b"next").messages == [b"next"]


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_compressed_messages_are_decompressed_and_plain_ones_between_them_are_not(server: EchoServer, coding: str, pack: type) -> None:
    with Client(server.port) as client:
        number = client.start(STREAM, grpc_encoding=coding)
        packed = prefixed(pack(b"packed"), 1)
        client.give(number, packed + prefixed(b"plain") + packed, end=True)
        assert client.answer(number).messages == [b"packed", b"plain", b"packed"]
        number = client.start(ECHO, grpc_encoding=coding)
        client.give(number, packed, end=True)
        assert client.answer(number).messages == [b"packed"]


@pytest.mark.parametrize(("coding", "status"), [("snappy", Status.UNIMPLEMENTED), ("identity", Status.INTERNAL), ("", Status.INTERNAL)])
@pytest.mark.parametrize("path", [ECHO, STREAM])
def test_a_message_of_an_unknown_encoding_is_refused(server: EchoServer, path: str, coding: str, status: Status) -> None:
    with Client(server.port) as client:
        number = client.start(path, **({"grpc_encoding": coding} if coding else {}))
        client.give(number, prefixed(b"whatever", 1), end=True)
        assert client.answer(number).status == status
        assert client.ask(ECHO, b"plain", **({"grpc_encoding": coding} if coding else {})).messages == [b"plain"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", Status.UNIMPLEMENTED),
        (prefixed(b"one") + prefixed(b"two"), Status.UNIMPLEMENTED),
        (prefixed(b"one") + prefixed(b"two")[:3], Status.UNIMPLEMENTED),
        (prefixed(b"one")[:-1], Status.INTERNAL),
        (b"\0\0\0", Status.INTERNAL),
        (b"\2\0\0\0\1x", Status.INTERNAL),
        (b"\0\xff\xff\xff\xff", Status.RESOURCE_EXHAUSTED),
        (prefixed(pattern(100_000)) + b"x", Status.UNIMPLEMENTED),
        (prefixed(pattern(100_000))[:-1], Status.INTERNAL),
    ],
)
def test_a_unary_call_takes_exactly_one_message(server: EchoServer, body: bytes, status: Status) -> None:
    with Client(server.port) as client:
        number = client.start(ECHO)
        client.give(number, body, end=True)
        assert client.answer(number).status == status
        assert client.ask(ECHO, b"next").messages == [b"next"]
    assert server.asked == ["Echo"]


@pytest.mark.parametrize("body", [prefixed(b"one")[:-1], b"\0", prefixed(b"x") + prefixed(pattern(100_000))[:-1]])
def test_a_stream_that_ends_within_a_message_is_an_error(server: EchoServer, body: bytes) -> None:
    with Client(server.port) as client:
        number = client.start(STREAM)
        client.give(number, body, end=True)
        assert client.answer(number).status == Status.INTERNAL


def test_a_message_over_the_limit_is_refused_once_its_length_is_known(start: Start) -> None:
    server = start(max_message_bytes=1000)
    with Client(server.port) as client:
        number = client.start(ECHO)
        client.give(number, prefixed(bytes(1001))[:5])
        answer = client.answer(number)
        assert answer.status == Status.RESOURCE_EXHAUSTED
        assert "1001 bytes" in answer.fields["grpc-message"]
        assert client.ask(ECHO, bytes(1000)).messages == [bytes(1000)]


def test_a_message_without_memory_is_refused_and_the_next_is_not(start: Start) -> None:
    server = start(budget_bytes=1 << 20)
    with Client(server.port) as client:
        held = client.start(ECHO)
        client.give(held, prefixed(pattern(900_000))[:-1])
        wait_for(lambda: server.budget.held == 899_999 - (64 << 10))
        assert client.ask(ECHO, pattern(300_000)).status == Status.UNAVAILABLE
        assert client.ask(STREAM, pattern(300_000)).status == Status.UNAVAILABLE
        client.give(held, pattern(900_000)[-1:], end=True)
        assert client.answer(held).messages == [pattern(900_000)]
        assert client.ask(ECHO, pattern(300_000)).messages == [pattern(300_000)]


def test_failed_calls_leave_no_messages_to_the_garbage_collector(start: Start) -> None:
    async def fail(message: Message, call: Call) -> Answer:
        raise RpcError(Status.INTERNAL, f"{len(message)} bytes received")

    async def fail_within(call: Call) -> None:
        message = await call.read()
        call.send([message or b""])
        await call.read()

    server = start(budget_bytes=3 << 20, max_message_bytes=2 << 20)
    server.add("Fail", Method(fail))
    server.add("FailWithin", Method(fail_within, streams=True))
    server.look(gc.collect)
    gc.disable()
    others = [each for each in gc.get_objects() if type(each) is memoryview]  # of other tests; they stay while they are held here
    try:
        with Client(server.port) as client:
            message = pattern(1 << 20)
            assert client.ask("/test.Echo/Fail", message).status == Status.INTERNAL
            number = client.start("/test.Echo/FailWithin")
            client.give(number, prefixed(message) + struct.pack(">BI", 0, 3 << 20), end=True)
            assert client.answer(number).status == Status.RESOURCE_EXHAUSTED
            number = client.start(ECHO)
            client.give(number, prefixed(message)[:-1], end=True)
            assert client.answer(number).status == Status.INTERNAL
            wait_for(lambda: not server.look(lambda: server.calls._open))
            kept = [each for each in server.look(gc.get_objects) if type(each) is memoryview and each.nbytes > 60_000]
            kept = [each for each in kept if not any(each is other for other in others)]
            places = 2 if server.is_encrypted else 1  # where the encrypted bytes go, and where they go when decrypted
            assert len(kept) <= places, "they are shared by all connections"
    finally:
        gc.enable()


def test_calls_over_the_limit_and_unknown_methods_are_refused(start: Start) -> None:
    server = start(max_calls=2)
    with Client(server.port) as client:
        waiting = [client.call(WAIT, b"") for _ in range(2)]
        wait_for(lambda: len(server.asked) == 2)
        answer = client.ask(ECHO, b"third")
        assert answer.status == Status.RESOURCE_EXHAUSTED
        assert "max_concurrency" in answer.fields["grpc-message"]
        assert client.ask("/none/None", b"").status == Status.UNIMPLEMENTED
        server.open_gate()
        assert [client.answer(each).status for each in waiting] == [0, 0]
        assert client.ask(ECHO, b"again").messages == [b"again"]


def test_a_status_message_arrives_with_any_characters(server: EchoServer) -> None:
    text = "100 % of ünïcode 日本語 🙂\n\t\0\x7f, \"quotes\" and 'so on' ~ " + "long " * 300
    with Client(server.port) as client:
        sent = client.ask(ERROR, text.encode()).fields["grpc-message"]
    assert all(" " <= each <= "~" for each in sent)
    assert unquote(sent) == text.strip(" ")

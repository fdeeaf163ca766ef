"""Whatever an instance writes to its sockets, each request is answered, and only data from valid frames is used."""

import asyncio
import json
import logging
import os
import random
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.gateway.instances.connection import Connection
from hubserve.gateway.instances.frame_checks import check_answer, check_side_frame
from hubserve.wire import frames
from hubserve.wire.arena import REQUESTS_BYTES, RESPONSE_BUFFER_BYTES, Arena
from tests.wire_mutations import EXCHANGES, Ends, exchange, watch_errors

ARENA = Arena.create()
TIMES = {"times": [], "took_s": 0.0, "calls_s": 0.0, "prepare_s": 0.0}
INFER = {"op": "infer", "calls": [{"interface": "tensors", "answer": "tensors"}]}
ARRAY = {"name": "y", "dtype": "float32", "shape": [2], "buffer": 0}


def results(*found: Any, buffers: Any = (8,), **more: Any) -> dict[str, Any]:
    return {"op": "results", "results": list(found), **TIMES, "buffers": list(buffers), **more}


@pytest.mark.parametrize(("asked", "header", "buffers"), EXCHANGES)
def test_frames_that_instances_send_are_accepted(asked: dict[str, Any] | None, header: dict[str, Any], buffers: list[bytes]) -> None:
    whole = {**header, "buffers": [len(each) for each in buffers]}
    if asked is None:
        check_side_frame(whole)
    else:
        check_answer(asked, whole)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ({"op": "pong", "buffers": []}, "answers one that expects results"),
        ({"op": ["results"], "buffers": []}, "answers one that expects results"),
        ({"op": "results", "buffers": []}, "missing required field"),
        (results(buffers=[]), "0 results for 1 calls"),
        (results({}), "not exactly one of"),
        (results({"json": 0, "error": {"code": "", "message": "", "detail": ""}}), "not exactly one of"),
        (results({"json": 0}), "was not requested"),
        (results({"later": True}), "which its module cannot do"),
        (results({"error": "no"}), "Expected `object`"),
        (results({"error": {"code": 1, "message": "", "detail": ""}}), "Expected `str`"),
        (results({"outputs": [{**ARRAY, "buffer": 1}]}), "without its buffer"),
        (results({"outputs": [{**ARRAY, "buffer": -1}]}), ">= 0"),
        (results({"outputs": [{**ARRAY, "buffer": True}]}), "Expected `int`"),
        (results({"outputs": [{**ARRAY, "dtype": "object"}]}), "of an unknown dtype"),
        (results({"outputs": [{**ARRAY, "shape": [3]}]}), "which does not fit 8 bytes"),
        (results({"outputs": [{**ARRAY, "shape": [-2, -1]}]}), ">= 0"),
        (results({"outputs": [{**ARRAY, "dtype": "bytes", "shape": [1 << 40]}]}), "which does not fit 8 bytes"),
        (results({"outputs": [ARRAY]}, buffers=[[0, 8]]), "outside of the shared memory"),
        (
            results({"outputs": [ARRAY]}, buffers=[[REQUESTS_BYTES, 8], [REQUESTS_BYTES, RESPONSE_BUFFER_BYTES]]),
            "outside of the shared memory",
        ),
        (results({"outputs": [ARRAY]}, took_s=float("nan")), "took_s"),
        (results({"outputs": [ARRAY]}, took_s="1"), "took_s"),
        (results({"outputs": [ARRAY]}, times=[[0, 0.1]]), "times"),
        (results({"outputs": [ARRAY]}, times=[[1]]), "times"),
        (results({"outputs": [ARRAY], "parameters": {"a": []}}), "parameters"),
    ],
)
def test_a_frame_that_does_not_answer_the_request_is_refused(header: dict[str, Any], reason: str) -> None:
    with pytest.raises(frames.WireError, match=reason):
        check_answer(INFER, header)


@pytest.mark.parametrize(
    "header",
    [
        {"op": "results", "key": 1},
        {"op": "response", "final": True},
        {"op": "response", "key": "1", "final": True},
        {"op": "response", "key": 1, "final": True, "outputs": [{**ARRAY, "buffer": 3}]},
        {"op": "taken", "key": 1, "count": -1},
        {"op": "call", "key": 1},
        {"op": "ask", "key": 1, "what": "load", "arguments": []},
        {"op": "drop", "key": 0},
    ],
)
def test_a_malformed_frame_of_the_second_socket_is_refused(header: dict[str, Any]) -> None:
    with pytest.raises(frames.WireError):
        check_side_frame({**header, "buffers": [8]})


async def answered_by(raw: bytes, asked: dict[str, Any] | None = INFER) -> Ends:
    ends = Ends(ARENA.fd)
    await asyncio.wait_for(ends.send(asked, raw), 20)
    return ends


@pytest.mark.parametrize("payload_bytes", [3 << 30, 64 << 30])
def test_announced_bytes_take_no_memory_and_a_header_is_checked_before_its_payload_arrives(payload_bytes: int) -> None:
    raw = frames.HEAD.pack(b"HUB1", 100, payload_bytes) + b"x" * 100
    ends = asyncio.run(answered_by(raw))
    assert ends.outcomes == ["died"]
    assert "invalid header" in ends.broken[0]


def test_a_large_payload_is_read_as_it_arrives() -> None:
    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        broken: list[str] = []
        loop = asyncio.get_running_loop()
        _, end = await loop.create_unix_connection(lambda: Connection(None, lambda _: None, broken.append, lambda _: None), sock=ours)
        end.exchange(INFER, (), 60.0, lambda _: None)
        text = json.dumps(results({"outputs": [{**ARRAY, "shape": [1 << 32], "dtype": "uint8"}]}, buffers=[1 << 32])).encode()
        before = resident_mb()
        await loop.sock_sendall(theirs, frames.HEAD.pack(b"HUB1", len(text), 1 << 32) + text + bytes(1 << 20))
        await asyncio.sleep(0.05)
        assert end.stalled_s > 0
        assert not broken
        assert resident_mb() - before < 100
        end.close()
        theirs.close()

    asyncio.run(scenario())


def resident_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_a_frame_that_answers_nothing_breaks_the_connection() -> None:
    text = json.dumps({"op": "pong", "buffers": []}).encode()
    frame = frames.HEAD.pack(b"HUB1", len(text), 0) + text
    ends = asyncio.run(answered_by(frame + frame, {"op": "ping"}))
    assert ends.outcomes == ["frame"]
    assert ends.broken == ["a frame answers none that was sent"]


@pytest.mark.parametrize("key", [2, 1 << 40])
def test_a_response_to_an_unknown_request_breaks_the_second_socket(key: int) -> None:
    text = json.dumps({"op": "response", "key": key, "final": True, "buffers": []}).encode()
    ends = asyncio.run(answered_by(frames.HEAD.pack(b"HUB1", len(text), 0) + text, None))
    assert ends.outcomes == ["died"]
    assert "the unknown key" in ends.broken[0]


@given(st.integers(0, len(EXCHANGES) - 1), st.integers(0, 1 << 60))
def test_any_frame_answers_each_request_once_and_no_failure_goes_unnoticed(number: int, seed: int) -> None:
    errors: list[str] = []

    async def scenario() -> None:
        watch_errors(asyncio.get_running_loop(), errors)
        ends = await asyncio.wait_for(exchange(number, ARENA.fd, random.Random(seed)), 20)
        assert len(ends.outcomes) == 1

    logged: list[logging.LogRecord] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = logged.append  # type: ignore[method-assign]  # a handler of a line
    logging.getLogger("hubserve").addHandler(handler)
    try:
        asyncio.run(scenario())
    finally:
        logging.getLogger("hubserve").removeHandler(handler)
    assert not errors
    assert not [each.getMessage() for each in logged]

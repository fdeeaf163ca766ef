"""Decoupled models: streams of responses, and clients that leave them."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from hubserve.errors import (
    DeadlineExceeded,
    HubError,
    InvalidInput,
    ModuleFailed,
)
from tests.behaviours.python_backend.planes import (
    ASYNC,
    REPEAT,
    SUM,
    collect,
    counted,
    in_loop,
    request,
    serving,
    sum_of,
    tensors_of,
    until,
)


@pytest.mark.parametrize("how", ["", "thread", "final"])
@in_loop
async def test_a_decoupled_model_answers_as_often_as_it_likes(how: str) -> None:
    async with serving(REPEAT) as plane:
        assert await collect(plane, counted(5, how)) == [0, 1, 2, 3, 4]
        streams = await asyncio.gather(*(collect(plane, counted(count, how)) for count in (3, 1, 70)))
        assert streams == [[0, 1, 2], [0], list(range(70))]


@in_loop
async def test_a_decoupled_model_may_answer_not_at_all_and_the_last_response_says_so() -> None:
    async with serving(REPEAT) as plane:
        assert await collect(plane, counted(0)) == []
        assert await collect(plane, counted(3, "forget")) == []
        assert [response.final async for response in plane.stream(counted(2, "final"))] == [False, True]
        assert [response.final async for response in plane.stream(counted(2))] == [False, False]


@in_loop
async def test_a_decoupled_model_is_asked_by_a_stream_alone_and_others_stream_one_response() -> None:
    async with serving(REPEAT, SUM) as plane:
        with pytest.raises(InvalidInput, match="is decoupled"):
            await plane.infer(counted(1))
        assert [float(tensors_of(each)["SUM"][0, 0]) async for each in plane.stream(sum_of([2]))] == [2.0]


@pytest.mark.parametrize(
    ("how", "error", "before"),
    [
        ("raise", "execute failed", 0),
        ("return", "must return None", 0),
        ("error", "two is too many", 2),
        ("die", "exited with status 4", 2),
    ],
)
@in_loop
async def test_a_stream_ends_with_the_error_of_its_model(how: str, error: str, before: int) -> None:
    async with serving(REPEAT) as plane:
        got = []

        async def listen() -> None:
            async for response in plane.stream(counted(5, how)):
                got.append(response)

        with pytest.raises(HubError, match=error):
            await listen()
        assert len(got) == before
        await until(lambda: plane.get(REPEAT).ready)
        assert await collect(plane, counted(1)) == [0]


@in_loop
async def test_a_client_that_reads_nothing_holds_its_model_up_and_not_the_memory(tmp_path: Path) -> None:
    progress = tmp_path / "progress"
    async with serving(REPEAT) as plane:
        large = counted(200, "", size=250_000, parameters={"progress": str(progress)})
        stream = plane.stream(large)
        assert (await anext(stream)).tensors is not None
        await until(progress.exists)
        await asyncio.sleep(0.5)
        await until(progress.read_text)  # it is written anew each time
        assert int(progress.read_text() or 0) < 20
        assert len([each async for each in stream]) == 199


@in_loop
async def test_a_client_that_leaves_is_noticed_by_the_model(tmp_path: Path) -> None:
    async with serving(REPEAT) as plane:
        told = tmp_path / "told"
        stream = plane.stream(counted(100_000, "slow", parameters={"tell": str(told)}))
        await anext(stream)
        await stream.aclose()
        await until(told.exists)
        assert await collect(plane, counted(1)) == [0]


@in_loop
async def test_a_stream_is_given_up_when_its_time_is_over(tmp_path: Path) -> None:
    async with serving(REPEAT) as plane:
        told = tmp_path / "told"
        with pytest.raises(DeadlineExceeded):
            await collect(plane, counted(100_000, "thread", deadline_s=2, parameters={"tell": str(told)}))
        await until(told.exists)


@in_loop
async def test_async_execute_of_a_decoupled_model_takes_the_next_request_while_it_waits() -> None:
    async with serving(ASYNC) as plane:

        async def wait(seconds: float) -> int:
            asked = request(ASYNC, {"WAIT": np.array([seconds], np.float32)})
            (running,) = [int(tensors_of(each)["RUNNING"][0]) async for each in plane.stream(asked)]
            return running

        assert max(await asyncio.gather(*(wait(1.0) for _ in range(4)))) == 4
        with pytest.raises(ModuleFailed, match="time runs forwards"):
            await wait(-1)

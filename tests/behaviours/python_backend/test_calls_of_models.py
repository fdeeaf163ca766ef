"""Models that call other models."""

import asyncio
from typing import Any

import pytest

from hubserve.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidInput,
)
from tests.behaviours.python_backend.planes import BLS, REPEAT, SUM, collect, counted, in_loop, planned, serving, until


@in_loop
async def test_models_call_one_another() -> None:
    async with serving(BLS, SUM, REPEAT, **{BLS: 2}) as plane:
        assert await planned(plane, {"call": "sum", "values": [1, 2]}) == [3.0]
        assert await planned(plane, {"thread": {"call": "sum", "values": [4, 2]}}) == [6.0]
        assert await planned(plane, {"all": {"call": "repeat", "count": 40}}) == [[number] for number in range(40)]
        assert await planned(plane, {"first": {"call": "repeat", "count": 100_000}}) == [0]
        assert await planned(plane, {"async": [{"call": "sum", "values": [each]} for each in range(20)]}) == [
            [float(each)] for each in range(20)
        ]
        many = {"async": [{"call": "repeat", "count": each} for each in (2, 0)], "decoupled": True}
        assert await planned(plane, many) == [[[0], [1]], []]
        assert await planned(plane, {"call": BLS, "plan": {"call": "sum", "values": [5]}}) == [5.0]
        assert await planned(plane, {"ready": [SUM, "nobody"]}) == [True, False]


@in_loop
async def test_a_call_that_fails_is_an_error_that_the_model_can_read() -> None:
    async with serving(BLS, SUM, REPEAT) as plane:
        assert await planned(plane, {"call": "sum", "values": [-1]}) == {"error": "below 0", "code": 3}
        assert (await planned(plane, {"call": "nobody", "plan": {}}))["code"] == 2
        assert "is decoupled" in (await planned(plane, {"call": "repeat", "count": 1}))["error"]
        slow = {"call": "sum", "values": [1], "parameters": {"what": "sleep"}, "timeout": 50_000}
        assert "in time" in (await planned(plane, slow))["error"]
        assert "only while the model is served" in await planned(plane, {"early": True})
        assert "--model-control explicit" in await planned(plane, {"load": "other"})


@in_loop
async def test_calls_that_would_wait_for_one_another_for_ever_are_refused_at_once() -> None:
    async with serving(BLS, SUM, **{BLS: 2}) as plane:

        def nested(depth: int) -> dict[str, Any]:
            return {"call": BLS, "plan": nested(depth - 1), "sleep": 0.05} if depth else {"call": "sum", "values": [1]}

        assert await planned(plane, nested(1)) == [1.0]
        assert "each of its instances waits" in (await planned(plane, nested(2)))["error"]
        both = await asyncio.gather(*(planned(plane, nested(1)) for _ in range(6)))
        assert [1.0] in both
        assert all(each == [1.0] or "each of its instances waits" in each["error"] for each in both)
        assert await planned(plane, nested(0)) == [1.0]


@in_loop
async def test_a_call_is_given_up_with_the_request_that_it_is_made_for() -> None:
    async with serving(BLS, SUM) as plane:
        inner = {"call": "sum", "values": [1], "parameters": {"what": "sleep"}}
        for _ in range(2):
            with pytest.raises(DeadlineExceeded):
                await planned(plane, inner, deadline_s=0.1)
        task = asyncio.create_task(planned(plane, {"all": {"call": "sum", "values": [1], "parameters": {"what": "sleep"}}}))
        await asyncio.sleep(0.05)
        task.cancel()
        assert await planned(plane, {"call": "sum", "values": [2]}) == [2.0]
        assert not plane.deadlocks._waits


def test_errors_of_models_keep_their_codes() -> None:
    from hubserve.kinds.triton.api.errors import TritonError

    assert isinstance(TritonError("gone", TritonError.CANCELLED).to_hub_error(), Cancelled)
    assert TritonError.from_hub_error(InvalidInput("no")).code() == TritonError.INVALID_ARG


@in_loop
async def test_clients_that_leave_at_any_moment_leave_nothing_behind() -> None:
    plans = {
        "call": {"call": "sum", "values": [1]},
        "many": {"all": {"call": "repeat", "count": 40}},
        "together": {"async": [{"call": "sum", "values": [number]} for number in range(4)]},
    }
    async with serving(BLS, SUM, REPEAT) as plane:
        for round_ in range(40):
            asked = [asyncio.create_task(planned(plane, plan)) for plan in plans.values()]
            asked.append(asyncio.create_task(collect(plane, counted(50, "thread"))))
            await asyncio.sleep(round_ * 0.0005)
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        assert await planned(plane, plans["together"]) == [[0.0], [1.0], [2.0], [3.0]]
        channels = [slot.instance.side_channel for module in plane for slot in module.pool.slots if slot.instance]
        await until(
            lambda: not any(channel.open or channel.executing or channel.waits or channel._calls for channel in channels if channel)
        )
        assert not plane.deadlocks._waits

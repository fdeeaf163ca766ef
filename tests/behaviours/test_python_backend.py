"""Models of Triton's Python backend, in real instances, asked through the data plane."""

import asyncio
import functools
import json
import shutil
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubserve.errors import (
    Cancelled,
    DeadlineExceeded,
    HubError,
    InstanceDied,
    InvalidInput,
    LoadFailed,
    ModuleFailed,
)
from hubserve.gateway.dataplane import DataPlane, ModulePlan
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.gateway.scheduling.batcher import BatchSettings
from hubserve.gateway.triton_deployment import plan_model
from hubserve.kinds.triton.model_folder import open_model
from hubserve.settings import ServerSettings
from hubserve.types import InferRequest, InferResponse, SequencePart
from tests.conftest import MODULES

MODELS = MODULES / "triton"
SUM, REPEAT, BLS, COMPLETED, ASYNC, AGAIN = "pb_sum", "pb_repeat", "pb_bls", "pb_completed", "pb_async", "pb_again"


def plan_of(folder: Path, instances: int = 1, name: str = "", **batching: Any) -> ModulePlan:
    model = open_model(folder, name)
    specs = [
        InstanceSpec(
            module=model.name,
            kind="triton",
            folder=folder,
            import_name=model.name,
            init_args={"config": model.config, "version": "1", "instance": {"index": index, "kind": "CPU", "device_id": 0}},
            load_timeout_s=60,
        )
        for index in range(instances)
    ]
    return ModulePlan(model.info(), specs, batching=BatchSettings(merge="dynamic_batching" in model.config, **batching))


@asynccontextmanager
async def serving(*names: str, **counts: int) -> AsyncIterator[DataPlane]:
    plane = DataPlane([plan_of(MODELS / name, counts.get(name, 1)) for name in names])
    await plane.start()
    try:
        for module in plane:
            assert not module.load_error, module.load_error
        yield plane
    finally:
        await plane.stop(5)


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **fixtures: Any) -> None:
        asyncio.run(test(*args, **fixtures))

    return run


@pytest.fixture(autouse=True)
def _home(home: Path) -> None:
    """Each test has a home of its own."""


def request(model: str, tensors: dict[str, Any], deadline_s: float = 20, **options: Any) -> InferRequest:
    arrays = {name: array if isinstance(array, np.ndarray) else np.array(array) for name, array in tensors.items()}
    return InferRequest(model, tensors=arrays, wants_json=False, deadline=time.monotonic() + deadline_s, **options)


def sum_of(values: list[Any], what: str = "", **options: Any) -> InferRequest:
    parameters = {**options.pop("parameters", {}), **({"what": what} if what else {})}
    return request(SUM, {"A": np.array([values], np.float32)}, parameters=parameters, **options)


def tensors_of(response: InferResponse) -> dict[str, np.ndarray]:
    assert response.tensors is not None
    return response.tensors


def seen(response: InferResponse) -> dict[str, Any]:
    described: dict[str, Any] = json.loads(tensors_of(response)["SEEN"].ravel()[0])
    return described


def counted(count: int, how: str = "", size: int = 0, **options: Any) -> InferRequest:
    tensors = {"COUNT": np.array([count], np.int32), **({"SIZE": np.array([size], np.int32)} if size else {})}
    return request(REPEAT, tensors, parameters={"how": how, **options.pop("parameters", {})}, **options)


async def collect(plane: DataPlane, asked: InferRequest) -> list[int]:
    return [int(tensors_of(response)["OUT"][0]) async for response in plane.stream(asked)]


async def planned(plane: DataPlane, plan: dict[str, Any], model: str = BLS, **options: Any) -> Any:
    text = np.array([json.dumps(plan).encode()], object)
    response = await plane.infer(request(model, {"PLAN": text}, **options))
    return json.loads(tensors_of(response)["RESULT"][0])


async def until(condition: Callable[[], Any], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        await asyncio.sleep(0.02)


# --- requests and responses ---


@in_loop
async def test_a_model_sees_what_the_client_sent_and_its_server_s_arguments() -> None:
    async with serving(SUM) as plane:
        asked = sum_of([1, 2], id="seven", parameters={"colour": "red", "timeout": 5_000_000}, sequence=SequencePart(9, start=True))
        response = await plane.infer(asked)
        assert tensors_of(response)["SUM"].tolist() == [[3.0]]
        assert response.parameters == {"count": 2}
        told = seen(response)
        expected = {"id": "seven", "parameters": {"colour": "red"}, "timeout": 5_000_000, "correlation_id": 9, "flags": 1, "unit": "m"}
        assert {name: told[name] for name in expected} == expected
        assert told["args"] == {
            "model_instance_kind": "CPU",
            "model_instance_name": "pb_sum_0_0",
            "model_instance_device_id": "0",
            "model_repository": str(MODELS / SUM),
            "model_version": "1",
            "model_name": "pb_sum",
        }


@in_loop
async def test_requests_are_given_together_though_an_input_is_ragged_and_each_gets_its_own_answer() -> None:
    async with serving(SUM) as plane:
        asked = [plane.infer(sum_of([9], "sleep"))] + [plane.infer(sum_of([1.0] * length)) for length in (1, 2, 3, 4)]
        first, *rest = await asyncio.gather(*asked)
        assert [float(tensors_of(each)["SUM"][0, 0]) for each in (first, *rest)] == [9, 1, 2, 3, 4]
        assert [seen(each)["together"] for each in (first, *rest)] == [5] * 5


@in_loop
async def test_an_optional_input_may_be_left_out_and_only_outputs_that_are_wanted_come() -> None:
    async with serving(SUM) as plane:
        both = {"A": np.ones((2, 3), np.float32), "B": np.full((2, 1), 5, np.float32)}
        response = await plane.infer(request(SUM, both, outputs=["SUM"]))
        assert list(tensors_of(response)) == ["SUM"]
        assert tensors_of(response)["SUM"].tolist() == [[8.0], [8.0]]


@in_loop
async def test_what_a_model_keeps_does_not_change_under_it() -> None:
    async with serving(SUM) as plane:
        large = np.arange(40_000, dtype=np.float32)[None]  # lies in shared memory on its way
        await plane.infer(request(SUM, {"A": large.copy()}, parameters={"what": "keep"}))
        await plane.infer(request(SUM, {"A": large * 0 + 7}))
        assert seen(await plane.infer(sum_of([0])))["earlier"] == [large.tolist()]


@pytest.mark.parametrize(
    ("tensors", "text"),
    [
        ({}, "expected 2 inputs but got 0 inputs"),
        ({"A": np.ones((1, 1), np.float32), "C": np.ones((1, 1))}, "unexpected inference input 'C'"),
        ({"A": np.ones((1, 1), np.float64)}, "must be float32, got float64"),
        ({"A": np.ones((9, 1), np.float32)}, "batch-size must be <= 8"),
        ({"A": np.ones((0, 1), np.float32)}, "the batch is empty"),
        ({"A": np.ones((2, 1), np.float32), "B": np.ones((1, 1), np.float32)}, "same number of items"),
    ],
)
@in_loop
async def test_a_request_that_does_not_fit_is_refused(tensors: dict[str, Any], text: str) -> None:
    async with serving(SUM) as plane:
        with pytest.raises(InvalidInput, match=text):
            await plane.infer(request(SUM, tensors))


# --- what goes wrong ---


@in_loop
async def test_an_error_is_for_its_request_alone_and_an_exception_for_the_one_that_raises_it() -> None:
    async with serving(SUM) as plane:
        values: list[list[float]] = [[1], [-1], [2], [float("nan")], [3]]
        blocker = asyncio.create_task(plane.infer(sum_of([0], "sleep")))
        answers = await asyncio.gather(*(plane.infer(sum_of(each)) for each in values), return_exceptions=True)
        await blocker
        assert [type(each).__name__ for each in answers] == [
            "InferResponse",
            "InvalidInput",
            "InferResponse",
            "ModuleFailed",
            "InferResponse",
        ]
        assert str(answers[1]) == "below 0"
        assert str(answers[3]) == "there is a NaN in the batch"


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("short", r"was given 1 requests and returned 0 responses"),
        ("none", "response 1 of 1 that execute.. returned is None"),
        ("wrong", "is a str; return an InferenceResponse"),
        ("missing", r"lacks the outputs \['SEEN'\]"),
        ("unknown", "an output 'OTHER', which its configuration does not have"),
        ("numbers", "holds a int; put bytes or str into it"),
    ],
)
@in_loop
async def test_answers_that_are_none_are_told_to_the_client_and_the_model_lives_on(what: str, text: str) -> None:
    async with serving(SUM) as plane:
        with pytest.raises(ModuleFailed, match=text):
            await plane.infer(sum_of([1], what, outputs=["SUM", "SEEN"]))
        assert tensors_of(await plane.infer(sum_of([4])))["SUM"].tolist() == [[4.0]]


@in_loop
async def test_an_instance_that_dies_fails_the_request_that_killed_it_and_is_replaced() -> None:
    async with serving(SUM) as plane:
        with pytest.raises(InstanceDied):
            await plane.infer(sum_of([1], "die"))
        await until(lambda: plane.get(SUM).ready)
        assert tensors_of(await plane.infer(sum_of([4])))["SUM"].tolist() == [[4.0]]


@in_loop
async def test_a_model_that_cannot_be_initialized_says_where_it_failed(tmp_path: Path) -> None:
    (tmp_path / "bad" / "1").mkdir(parents=True)
    (tmp_path / "bad" / "config.pbtxt").write_text((MODELS / SUM / "config.pbtxt").read_text().replace("pb_sum", "bad"))
    (tmp_path / "bad" / "1" / "model.py").write_text(
        "class TritonPythonModel:\n    def execute(self, r): ...\n    def initialize(self, a): 1 / 0\n"
    )
    plane = DataPlane([plan_of(tmp_path / "bad")])
    await plane.start()
    try:
        with pytest.raises(LoadFailed, match=r"initialize\(\) of .*model.py' failed: ZeroDivisionError: division by zero \(at .*line 3\)"):
            await plane.get("bad").loaded()
    finally:
        await plane.stop(1)


@in_loop
async def test_a_model_may_complete_its_configuration_and_send_its_one_response() -> None:
    async with serving(COMPLETED) as plane:
        described = plane.get(COMPLETED).description
        assert described.config is not None
        assert described.config["max_batch_size"] == 4
        assert described.config["input"] == [{"name": "IN", "data_type": "TYPE_INT64", "dims": [2]}]
        response = await plane.infer(request(COMPLETED, {"IN": np.array([[3, 4]])}))
        assert tensors_of(response)["OUT"].tolist() == [[6, 8]]


@in_loop
async def test_what_a_model_says_of_its_batches_itself_counts() -> None:
    plan = plan_of(MODELS / COMPLETED)
    assert not plan.batching.merge
    plane = DataPlane([plan])
    await plane.start()
    try:
        assert plane.get(COMPLETED).batcher.settings.merge
        asked = [request(COMPLETED, {"IN": np.array([[number, 1]])}) for number in range(30)]
        answers = await asyncio.gather(*(plane.infer(each) for each in asked))
        assert [int(tensors_of(each)["OUT"][0, 0]) for each in answers] == [2 * number for number in range(30)]
        assert max(size for size, _ in plane.get(COMPLETED).statistics.by_batch_size()) == 4
    finally:
        await plane.stop(5)


@in_loop
async def test_an_output_of_another_datatype_is_given_as_it_is() -> None:
    async with serving(SUM) as plane:
        assert tensors_of(await plane.infer(sum_of([1], "float64")))["SUM"].dtype == np.float64


@in_loop
async def test_a_model_may_be_given_a_request_again_and_again() -> None:
    async with serving(AGAIN) as plane:

        async def count(start: int) -> list[int]:
            asked = request(AGAIN, {"IN": np.array([[start]], np.int32)})
            return [int(tensors_of(each)["OUT"][0, 0]) async for each in plane.stream(asked)]

        assert await count(3) == [2, 1, 0]
        assert await asyncio.gather(count(4), count(2), count(1)) == [[3, 2, 1, 0], [1, 0], [0]]


@in_loop
async def test_a_model_is_finalized_when_the_server_stops(capfd: pytest.CaptureFixture[str]) -> None:
    async with serving(SUM):
        pass
    assert "pb_sum was finalized" in capfd.readouterr().err


# --- decoupled ---


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
        sent = int(progress.read_text())
        assert sent < 20
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
            await collect(plane, counted(100_000, "thread", deadline_s=0.5, parameters={"tell": str(told)}))
        await until(told.exists)


@in_loop
async def test_async_execute_of_a_decoupled_model_takes_the_next_request_while_it_waits() -> None:
    async with serving(ASYNC) as plane:

        async def wait(seconds: float) -> int:
            asked = request(ASYNC, {"WAIT": np.array([seconds], np.float32)})
            (running,) = [int(tensors_of(each)["RUNNING"][0]) async for each in plane.stream(asked)]
            return running

        assert max(await asyncio.gather(*(wait(0.3) for _ in range(4)))) == 4
        with pytest.raises(ModuleFailed, match="time runs forwards"):
            await wait(-1)


# --- calls of other models ---


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
        assert not plane.calls._waits


def test_errors_of_models_keep_their_codes() -> None:
    from hubserve.kinds.triton.api.errors import TritonError

    assert isinstance(TritonError("gone", TritonError.CANCELLED).to_hub_error(), Cancelled)
    assert TritonError.from_hub_error(InvalidInput("no")).code() == TritonError.INVALID_ARG


# --- environments ---


@in_loop
async def test_a_model_runs_in_the_environment_that_it_brings_along(tmp_path: Path) -> None:
    model = tmp_path / "in_env"
    shutil.copytree(MODELS / COMPLETED, model)
    (model / "env" / "bin").mkdir(parents=True)
    wrapper = model / "env" / "bin" / "python"
    wrapper.write_text(f'#!/bin/sh\nexport PACKED=2\nexec "{sys.executable}" "$@"\n')
    wrapper.chmod(0o755)
    with tarfile.open(model / "env.tar.gz", "w:gz") as tar:
        tar.add(model / "env", ".")
    code = (model / "1" / "model.py").read_text()
    (model / "1" / "model.py").write_text("import os\n" + code.replace("array * 2", 'array * int(os.environ["PACKED"])'))
    named = 'parameters { key: "EXECUTION_ENV_PATH" value { string_value: "$$TRITON_MODEL_DIRECTORY/env.tar.gz" } }'
    (model / "config.pbtxt").write_text(f'name: "in_env" backend: "python" {named}')
    plane = DataPlane(plan_model(model, ServerSettings(model_store=[str(tmp_path)])))
    await plane.start()
    try:
        response = await plane.infer(request("in_env", {"IN": np.array([[3, 4]])}))
        assert tensors_of(response)["OUT"].tolist() == [[6, 8]]
    finally:
        await plane.stop(5)


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
            lambda: not any(channel.open or channel.executing or channel.waits or channel._tasks for channel in channels if channel)
        )
        assert not plane.calls._waits

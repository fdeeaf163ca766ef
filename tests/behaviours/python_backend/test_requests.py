"""Requests and responses of models, and their configurations and environments."""

import asyncio
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from hubserve.gateway.dataplane import DataPlane
from hubserve.gateway.triton_deployment import plan_model
from hubserve.settings import ServerSettings
from hubserve.types import SequencePart
from tests.behaviours.python_backend.planes import (
    AGAIN,
    COMPLETED,
    MODELS,
    SUM,
    in_loop,
    plan_of,
    request,
    seen,
    serving,
    sum_of,
    tensors_of,
)


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
async def test_a_model_is_finalized_when_the_server_stops(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "hubserve")
    async with serving(SUM):
        pass
    assert "pb_sum was finalized" in caplog.messages


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

"""Requests that do not fit, and models that fail."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubserve.errors import (
    InstanceDied,
    InvalidInput,
    LoadFailed,
    ModuleFailed,
)
from hubserve.gateway.dataplane import DataPlane
from tests.behaviours.python_backend.planes import MODELS, SUM, in_loop, plan_of, request, serving, sum_of, tensors_of, until


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

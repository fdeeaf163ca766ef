"""Ensembles: when each step is computed, and what is reported when one fails."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubserve.errors import HubError, InvalidInput, LoadFailed, ModuleFailed
from hubserve.gateway.dataplane import DataPlane
from hubserve.gateway.triton_deployment import plan_stores
from hubserve.settings import parse_settings
from hubserve.types import InferRequest
from tests.triton_models import SCALE, tensor, write_scale

pytestmark = pytest.mark.usefixtures("home")

MEETING = """
import os, time
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.name = args["model_name"]

    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            if x[0, 0] < 0:
                raise ValueError("no negative numbers")
            open(os.path.join(FOLDER, self.name), "w").close()
            deadline = time.monotonic() + 120
            while not all(os.path.exists(os.path.join(FOLDER, each)) for each in ("left", "right")) and time.monotonic() < deadline:
                time.sleep(0.01)
            met = time.monotonic() < deadline
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("y", x if met else x * np.nan)]))
        return answers
"""


def step(model: str, takes: str, gives: str, version: int = -1, source: str = "x", result: str = "y") -> str:
    maps = f"input_map {{ key: '{source}' value: '{takes}' }} output_map {{ key: '{result}' value: '{gives}' }}"
    return f"{{ model_name: '{model}' model_version: {version} {maps} }}"


def ensemble(
    store: Path, name: str, *steps: str, outputs: tuple[str, ...] = ("out",), batch: int = 8, data_type: str = "TYPE_FP32"
) -> None:
    (store / name).mkdir(parents=True)
    listed = ", ".join(tensor(each, [4]) for each in outputs)
    head = f"platform: 'ensemble' max_batch_size: {batch} input [ {tensor('in', [4], data_type)} ] output [ {listed} ]"
    (store / name / "config.pbtxt").write_text(f"{head} ensemble_scheduling {{ step [ {', '.join(steps)} ] }}")


def python(store: Path, name: str, code: str) -> None:
    (store / name / "1").mkdir(parents=True)
    (store / name / "1" / "model.py").write_text(code)
    (store / name / "config.pbtxt").write_text(f"backend: 'python' {SCALE}")


def served(store: Path, use: Callable[[DataPlane], Awaitable[None]], **settings: Any) -> None:
    async def run() -> None:
        dataplane = DataPlane(plan_stores(parse_settings({"model_store": [str(store)], "workers": 1, **settings}, "test")))
        await dataplane.start()
        try:
            await use(dataplane)
        finally:
            await dataplane.stop(5)

    asyncio.run(run())


async def ask(dataplane: DataPlane, model: str, value: float = 1.0, **options: Any) -> dict[str, float]:
    array = np.full((2, 4), value, np.float32)
    answer = await dataplane.infer(InferRequest(model, tensors={"in": array}, wants_json=False, **options))
    assert answer.tensors is not None
    return {name: float(array[0, 0]) for name, array in answer.tensors.items()}


def test_steps_whose_inputs_are_there_are_computed_at_the_same_time(tmp_path: Path) -> None:
    store = tmp_path / "store"
    for name in ("left", "right"):
        python(store, name, MEETING.replace("FOLDER", repr(str(tmp_path))))
    ensemble(store, "both", step("left", "in", "l"), step("right", "in", "r"), outputs=("l", "r"))

    async def use(dataplane: DataPlane) -> None:
        assert await ask(dataplane, "both", 3.0) == {"l": 3.0, "r": 3.0}
        with pytest.raises(ModuleFailed, match=r"ensemble 'both', step [12] \(model '(left|right)'\): .*no negative numbers"):
            await ask(dataplane, "both", -1.0)
        assert await ask(dataplane, "both", 5.0) == {"l": 5.0, "r": 5.0}

    served(store, use)


def test_only_the_steps_of_the_outputs_that_are_asked_for_are_computed(tmp_path: Path) -> None:
    write_scale(tmp_path, "twice")
    write_scale(tmp_path, "thrice", factor=3.0)
    ensemble(tmp_path, "e", step("twice", "in", "a"), step("thrice", "in", "b"), step("twice", "a", "c"), outputs=("a", "b", "c"))

    async def use(dataplane: DataPlane) -> None:
        assert await ask(dataplane, "e") == {"a": 2.0, "b": 3.0, "c": 4.0}
        assert await ask(dataplane, "e", outputs=["c"]) == {"c": 4.0}
        assert (dataplane.get("thrice").requests, dataplane.get("twice").requests, dataplane.get("e").requests) == (1, 4, 2)
        with pytest.raises(InvalidInput, match="input 'in' must be float32"):
            await dataplane.infer(InferRequest("e", tensors={"in": np.ones((1, 4))}, wants_json=False))

    served(tmp_path, use)


def test_an_ensemble_of_ensembles_answers_and_is_ready_as_long_as_its_models_are(tmp_path: Path) -> None:
    write_scale(tmp_path, "twice")
    ensemble(tmp_path, "inner", step("twice", "in", "m"), step("twice", "m", "out"))
    ensemble(tmp_path, "outer", step("inner", "in", "m", source="in", result="out"), step("twice", "m", "out"))

    async def use(dataplane: DataPlane) -> None:
        assert await ask(dataplane, "outer") == {"out": 8.0}
        await dataplane.unload("twice")
        assert not dataplane.get("outer").ready
        with pytest.raises(HubError, match="module 'twice' is not served here"):
            await ask(dataplane, "outer")

    served(tmp_path, use)


def test_an_ensemble_whose_parts_do_not_fit_fails_to_load_with_the_reason(tmp_path: Path) -> None:
    write_scale(tmp_path, "twice")
    write_scale(tmp_path, "broken", "nonsense")
    ensemble(tmp_path, "absent", step("nobody", "in", "out"))
    ensemble(tmp_path, "version", step("twice", "in", "out", version=4))
    ensemble(tmp_path, "failed", step("broken", "in", "out"))
    ensemble(tmp_path, "input", step("twice", "in", "out", source="z"))
    ensemble(tmp_path, "output", step("twice", "in", "out", result="z"))
    ensemble(tmp_path, "datatype", step("twice", "in", "out"), data_type="TYPE_INT32")
    ensemble(tmp_path, "itself", step("itself", "in", "out", source="in", result="out"))
    ensemble(tmp_path, "one", step("other", "in", "out", source="in", result="out"))
    ensemble(tmp_path, "other", step("one", "in", "out", source="in", result="out"))
    reasons = {
        "absent": "needs the model of its step 1 (model 'nobody'): module 'nobody' is not served here",
        "version": "needs the model of its step 1 (model 'twice' version 4): module 'twice' version 4 is not served here",
        "failed": "ensemble 'failed', step 1 (model 'broken') could not be loaded: ",
        "input": "step 1 (model 'twice') has no input 'z'; it takes x",
        "output": "step 1 (model 'twice') has no output 'z'; it has y",
        "datatype": "tensor 'in' is int32 for the ensemble, and float32 for step 1 (model 'twice')",
        "itself": "step 1 (model 'itself') is part of itself: itself -> itself",
        "one": "is part of itself: ",
        "other": "is part of itself: ",
    }

    async def use(dataplane: DataPlane) -> None:
        for name, text in reasons.items():
            assert text in dataplane.get(name).load_error
            assert not dataplane.get(name).ready
            with pytest.raises(LoadFailed):
                await ask(dataplane, name)
        assert dataplane.get("twice").ready

    served(tmp_path, use)

"""Data planes that serve models, and requests to them."""

import asyncio
import functools
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hubserve.gateway.dataplane import DataPlane, ModulePlan
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.gateway.scheduling.batcher import BatchSettings
from hubserve.kinds.triton.model_folder import open_model
from hubserve.types import InferRequest, InferResponse
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


def request(model: str, tensors: dict[str, Any], deadline_s: float = 60, **options: Any) -> InferRequest:
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


async def until(condition: Callable[[], Any], timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        await asyncio.sleep(0.02)

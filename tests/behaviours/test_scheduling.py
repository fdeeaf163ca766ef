"""What is counted, put in order, kept apart and put together, with real instances."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubserve.errors import ConfigError, HubError, Unavailable
from hubserve.gateway.dataplane import DataPlane, ModulePlan
from hubserve.protocols.open_inference.core.catalog import ModelCatalog
from hubserve.server.deployment import make_plans
from hubserve.settings import parse_settings
from hubserve.types import InferRequest
from tests.conftest import MODULES

pytestmark = pytest.mark.usefixtures("home")


def plan_of(module: str, init_args: dict[str, Any] | None = None, **settings: Any) -> ModulePlan:
    """How a module of tests/modules is served by one instance, unless the settings say otherwise."""
    about = {"init_args": {"directory": str(MODULES / module), **(init_args or {})}, "workers": 1, **settings}
    (plan,) = make_plans(parse_settings({"modules_info": {module: about}}, "test"))
    return plan


@asynccontextmanager
async def served(plan: ModulePlan) -> AsyncIterator[DataPlane]:
    dataplane = DataPlane([plan])
    await dataplane.start()
    try:
        yield dataplane
    finally:
        await dataplane.stop(0)


def run(plan: ModulePlan, scenario: Callable[[DataPlane], Awaitable[None]]) -> None:
    """Serve a module in this process while the scenario runs."""

    async def serve() -> None:
        async with served(plan) as dataplane:
            await scenario(dataplane)

    asyncio.run(serve())


def numbers(*values: float, **options: Any) -> InferRequest:
    """One item for the doubler."""
    return InferRequest("doubler", tensors={"x": np.array([values], np.float32)}, wants_json=False, **options)


def counts(stats: dict[str, Any]) -> dict[str, int]:
    return {name: duration["count"] for name, duration in stats["inference_stats"].items()}


def test_every_request_is_counted_as_what_became_of_it() -> None:
    async def scenario(dataplane: DataPlane) -> None:
        catalog = ModelCatalog(dataplane, dataplane, parse_settings({"modules_info": {"doubler": {}}}, "test"))
        (before,) = catalog.statistics()["model_stats"]
        assert before["name"], before["version"] == ("doubler", "1.0.0")
        assert before["last_inference"] == before["execution_count"] == 0
        for _ in range(3):
            await dataplane.infer(numbers(1, 2))
        await asyncio.gather(*(dataplane.infer(numbers(1, 2)) for _ in range(6)))
        with pytest.raises(HubError, match="not a number"):
            await dataplane.infer(numbers(float("nan")))
        await dataplane.infer(InferRequest("doubler", arguments=b'{"numbers": [1, 2]}'))
        (stats,) = catalog.statistics("doubler", "1.0.0")["model_stats"]
        good = dict.fromkeys(("success", "queue", "compute_input", "compute_infer", "compute_output"), 10)
        assert counts(stats) == {**good, "fail": 1, "cache_hit": 0, "cache_miss": 0}
        assert stats["inference_count"] == 10
        assert stats["last_inference"] > 1.6e12
        assert stats["execution_count"] == sum(each["compute_infer"]["count"] for each in stats["batch_stats"])
        assert sum(each["batch_size"] * each["compute_infer"]["count"] for each in stats["batch_stats"]) == 10
        parts = [stats["inference_stats"][name]["ns"] for name in ("queue", "compute_input", "compute_infer", "compute_output")]
        # where the gateway is late to see an answer, the next batch seems to begin later than it did, and its parts are a little too long
        assert 0 < sum(parts) <= 1.5 * stats["inference_stats"]["success"]["ns"], (
            "the parts of a request's time are not more than the whole"
        )

    run(plan_of("doubler"), scenario)


def test_the_time_that_a_module_computes_is_told_from_waiting() -> None:
    async def scenario(dataplane: DataPlane) -> None:
        await asyncio.gather(*(dataplane.infer(numbers(each)) for each in range(3)))
        stats = ModelCatalog(dataplane, dataplane, parse_settings({"modules_info": {"doubler": {}}}, "test")).statistics("doubler")[
            "model_stats"
        ][0]
        assert stats["inference_stats"]["compute_infer"]["ns"] >= 3 * 50e6
        assert stats["inference_stats"]["queue"]["ns"] > 2 * 50e6, "the second waits for the first, the third for both"

    run(plan_of("doubler", {"delay_s": 0.05}, max_batch_size=1), scenario)


def test_warm_up_is_computed_before_the_module_is_ready_and_fails_its_load(tmp_path: Path) -> None:
    plan = plan_of("doubler")
    sample = {"name": "bad", "inputs": {"x": {"dtype": "float32", "shape": [3], "data": "file", "file": "absent"}}}
    (spec,) = plan.instances
    module = replace(plan, instances=[replace(spec, warm_up=[sample])])

    async def scenario(dataplane: DataPlane) -> None:
        assert "its warm-up sample 'bad' failed" in dataplane.get("doubler").load_error

    run(module, scenario)


def test_a_request_that_waits_for_too_long_is_refused_and_one_that_is_begun_is_not(tmp_path: Path) -> None:
    gate = tmp_path / "gate"

    async def scenario(dataplane: DataPlane) -> None:
        gate.touch()
        begun = asyncio.create_task(dataplane.infer(numbers(1)))
        await asyncio.sleep(0.05)
        with pytest.raises(Unavailable, match="Request timeout expired"):
            await dataplane.infer(numbers(2))
        gate.unlink()
        assert (await begun).tensors is not None
        (stats,) = [each.statistics for each in dataplane]
        assert (stats.success.count, stats.fail.count) == (1, 1)

    run(plan_of("doubler", {"gate": str(gate)}, max_batch_size=1, max_queue_wait_ms=20), scenario)


def test_answers_come_in_the_order_of_the_requests_where_that_is_set() -> None:
    async def scenario(dataplane: DataPlane) -> None:
        finished: list[str] = []

        async def ask(name: str, **arguments: Any) -> None:
            await dataplane.infer(InferRequest("faulty", arguments=json.dumps(arguments).encode()))
            finished.append(name)

        await asyncio.gather(ask("slow", how="sleep", text="0.3"), ask("quick"), ask("quick too"))
        assert finished == ["slow", "quick", "quick too"]
        pids = {slot.instance.pid for slot in dataplane.get("faulty").pool.slots if slot.instance}
        assert len(pids) == 2, "two instances computed at once"

    run(plan_of("faulty", workers=2, preserve_ordering=True), scenario)


def test_a_default_priority_that_does_not_exist_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ConfigError, match="default_priority_level is 3, but priority_levels is 2"):
        plan_of("doubler", priority_levels=2, default_priority_level=3)


def test_a_request_that_came_before_is_answered_without_computing_where_that_is_set() -> None:
    async def scenario(dataplane: DataPlane) -> None:
        first = await dataplane.infer(numbers(1, 2))
        again = await asyncio.gather(*(dataplane.infer(numbers(1, 2)) for _ in range(3)))
        other = await dataplane.infer(numbers(2, 2))
        assert first.tensors is not None
        assert other.tensors is not None
        assert all(each.tensors is not None and each.tensors["y"].tolist() == [[2.0, 4.0]] for each in again)
        assert other.tensors["y"].tolist() == [[4.0, 4.0]]
        for _ in range(2):
            with pytest.raises(HubError, match="not a number"):
                await dataplane.infer(numbers(float("nan")))
        counted = dataplane.get("doubler").statistics
        assert (counted.cache_hit.count, counted.cache_miss.count) == (3, 2)
        assert (counted.success.count, counted.fail.count, counted.inference_count) == (5, 2, 2)
        assert counted.queue.count == 5

    run(plan_of("doubler", response_cache=True), scenario)


def test_nothing_is_kept_unless_it_is_asked_for() -> None:
    async def scenario(dataplane: DataPlane) -> None:
        for _ in range(2):
            await dataplane.infer(numbers(1, 2))
        assert dataplane.get("doubler").statistics.inference_count == 2

    run(plan_of("doubler"), scenario)

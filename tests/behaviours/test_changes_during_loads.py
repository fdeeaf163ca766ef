"""A version that is still loading is abandoned when another one replaces it, it is unloaded, or the server stops."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from hubserve.errors import HubError
from hubserve.gateway.dataplane import DataPlane, ModulePlan
from hubserve.protocols.open_inference.core.catalog import ModelCatalog
from hubserve.server.deployment import make_plans
from hubserve.settings import parse_settings
from hubserve.types import InferRequest

pytestmark = pytest.mark.usefixtures("home")

SOURCE = """
import os, time
from hubserve.module import moduleinfo, serving

@moduleinfo(name="late", version="1.0.0")
class Late:
    def __init__(self, load_s=0.0, answer=""):
        time.sleep(load_s)
        self.answer = answer

    @serving
    def tell(self):
        return self.answer
"""
#: longer than any test waits
LONG_S = 90.0
PATIENCE_S = 30.0


@pytest.fixture
def plan(tmp_path: Path) -> Callable[..., ModulePlan]:
    """Return a function that makes a plan for the module with given settings."""
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "module.py").write_text(SOURCE)

    def function(**init_args: object) -> ModulePlan:
        about = {"init_args": {"directory": str(tmp_path / "late"), **init_args}, "workers": 2}
        (made,) = make_plans(parse_settings({"modules_info": {"late": about}}, "test"))
        return made

    return function


def instances() -> list[int]:
    found = [each for each in psutil.Process().children() if each.status() != psutil.STATUS_ZOMBIE]
    return [each.pid for each in found if any("hubserve.instance" in word for word in each.cmdline())]


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def ask(plane: DataPlane) -> str:
    answer = await asyncio.wait_for(plane.infer(InferRequest("late", arguments=b"{}")), PATIENCE_S)
    assert answer.json is not None
    return bytes(answer.json).decode()


def during_load(first: ModulePlan, scenario: Callable[[DataPlane, set[int]], Awaitable[None]]) -> None:
    """Run a scenario while the instances of a module load; no instance may remain afterwards."""

    async def run() -> None:
        assert not instances()
        plane = DataPlane([first], drain_s=PATIENCE_S)
        starting = asyncio.create_task(plane.start())
        await until(lambda: len(instances()) == 2)
        await scenario(plane, set(instances()))
        await plane.stop(0)
        await asyncio.wait_for(starting, PATIENCE_S)
        assert not instances()

    asyncio.run(run())


def test_what_replaces_a_loading_version_answers_those_who_waited_for_it(plan: Callable[..., ModulePlan]) -> None:
    async def scenario(plane: DataPlane, old: set[int]) -> None:
        catalog = ModelCatalog(plane, plane, parse_settings({"modules_info": {"late": {}}}, "test"))
        waiting, signature = asyncio.create_task(ask(plane)), asyncio.create_task(catalog.signature("late"))
        await asyncio.sleep(0)
        await plane.load(plan(answer="new"))
        assert await waiting == '"new"'
        assert (await signature).module is plane.get("late")
        assert await ask(plane) == '"new"'
        await until(lambda: len(instances()) == 2)
        assert not old & set(instances())

    during_load(plan(load_s=LONG_S), scenario)


def test_what_is_unloaded_while_it_loads_ends_and_says_so(plan: Callable[..., ModulePlan]) -> None:
    async def scenario(plane: DataPlane, _: set[int]) -> None:
        waiting = asyncio.create_task(ask(plane))
        await asyncio.sleep(0)
        await asyncio.wait_for(plane.unload("late"), PATIENCE_S)
        assert not instances()
        with pytest.raises(HubError, match="is not served here"):
            await waiting

    during_load(plan(load_s=LONG_S), scenario)


def test_a_server_that_stops_ends_what_loads_and_what_is_to_replace_it(plan: Callable[..., ModulePlan]) -> None:
    async def scenario(plane: DataPlane, _: set[int]) -> None:
        replacing = asyncio.create_task(plane.load(plan(load_s=LONG_S, answer="newer")))
        await until(lambda: len(instances()) == 4)
        await asyncio.wait_for(plane.stop(0), PATIENCE_S)
        with pytest.raises(HubError):
            await replacing
        assert not instances()

    during_load(plan(load_s=LONG_S), scenario)


def test_a_load_that_is_given_up_leaves_no_version_behind(plan: Callable[..., ModulePlan]) -> None:
    async def scenario(plane: DataPlane, old: set[int]) -> None:
        quick, slow = plan(answer="1"), plan(load_s=LONG_S)
        replacing = asyncio.create_task(plane.load(quick, replace(slow, info=slow.info._replace(version="2.0.0"))))
        await until(lambda: len(instances()) == 6)
        await asyncio.sleep(0.5)  # the quick one has loaded
        replacing.cancel()
        await asyncio.gather(replacing, return_exceptions=True)
        assert set(instances()) == old

    during_load(plan(load_s=LONG_S), scenario)


def test_a_version_that_is_replaced_while_an_instance_is_renewed_leaves_nothing(plan: Callable[..., ModulePlan], tmp_path: Path) -> None:
    async def run() -> None:
        plane = DataPlane([plan(answer="old")])
        await plane.start()
        try:
            (module,) = plane
            for slot in module.pool.slots:
                slot.spec = replace(slot.spec, init_args={**slot.spec.init_args, "load_s": LONG_S})
                slot.request_replacement("it is to be renewed", "test")
            await until(lambda: len(instances()) == 4)
            before = set(instances())
            await plane.load(plan(answer="new"))
            await until(lambda: not before & set(instances()))
            assert await ask(plane) == '"new"'
        finally:
            await plane.stop(0)

    asyncio.run(run())

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import TypeVar

import pytest

from hubserve.errors import Unavailable
from hubserve.gateway.dataplane import DataPlane
from hubserve.gateway.deadlock_detection import Caller, DeadlockDetector, Wait, current_depth, set_caller
from hubserve.gateway.instances.raw_requests import RawRequest, RequestChannel
from hubserve.gateway.instances.side_channel import SideChannel
from hubserve.gateway.queued_request import QueuedRequest

T = TypeVar("T")


class Model:
    """A model with one instance for each of its side channels."""

    def __init__(self, name: str, instances: int = 1) -> None:
        self.name = name
        models = DataPlane([]).model_access
        self.instances = [SideChannel(models, on_broken=pytest.fail, on_lost=lambda: None) for _ in range(instances)]

    def channels(self) -> Sequence[RequestChannel | None]:
        return self.instances


def queued() -> QueuedRequest:
    return QueuedRequest({}, [], 1, None, asyncio.get_running_loop().create_future(), raw=RawRequest())


def executing(channel: SideChannel) -> int:
    """Have an instance execute a request, and return its key."""
    return channel.begin(queued())


def called_by(channel: SideChannel, key: int, call: Callable[[], T], *, blocking: bool = True, halting: bool = False) -> T:
    """Make a call for a request of an instance."""

    def run() -> T:
        set_caller(Caller(channel, frozenset([key]), 1, blocking, halting))
        assert current_depth() == 1
        return call()

    return Context().run(run)


def test_requests_of_clients_are_not_tracked() -> None:
    async def scenario() -> None:
        assert current_depth() == 0
        assert DeadlockDetector().begin(Model("a"), queued()) is None

    asyncio.run(scenario())


def test_a_model_whose_only_instance_calls_itself_is_refused() -> None:
    async def scenario() -> None:
        deadlocks, a = DeadlockDetector(), Model("a")
        key = executing(a.instances[0])
        with pytest.raises(Unavailable, match="model 'a' cannot answer: each of its instances waits"):
            called_by(a.instances[0], key, lambda: deadlocks.begin(a, queued()))
        assert not a.instances[0].waits
        assert called_by(a.instances[0], key, lambda: deadlocks.begin(Model("b"), queued()))

    asyncio.run(scenario())


def test_a_second_instance_or_a_call_that_does_not_block_can_be_answered() -> None:
    async def scenario() -> None:
        deadlocks, two, one = DeadlockDetector(), Model("two", instances=2), Model("one")
        assert called_by(two.instances[0], executing(two.instances[0]), lambda: deadlocks.begin(two, queued()))
        assert called_by(one.instances[0], executing(one.instances[0]), lambda: deadlocks.begin(one, queued()), blocking=False)
        with pytest.raises(Unavailable):
            called_by(two.instances[1], executing(two.instances[1]), lambda: deadlocks.begin(two, queued()))

    asyncio.run(scenario())


@pytest.mark.parametrize("halting", [False, True])
def test_a_circle_of_several_models_is_refused_until_a_call_in_it_is_answered(halting: bool) -> None:
    async def scenario() -> None:
        deadlocks, models = DeadlockDetector(), [Model("a"), Model("b"), Model("c")]
        keys = [executing(each.instances[0]) for each in models]

        def call(caller: int, callee: int) -> Wait | None:
            channel = models[caller].instances[0]
            return called_by(channel, keys[caller], lambda: deadlocks.begin(models[callee], queued()), halting=halting)

        first, second = call(0, 1), call(1, 2)
        assert first
        assert second
        assert models[0].instances[0].is_blocked
        with pytest.raises(Unavailable):
            call(2, 0)
        deadlocks.end(first)
        assert not models[0].instances[0].is_blocked
        assert call(2, 0)

    asyncio.run(scenario())

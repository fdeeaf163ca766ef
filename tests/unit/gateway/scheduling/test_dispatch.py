"""Under any sequence of events, a waiting request goes to an idle instance, and nothing waits for ever."""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import HubError
from hubserve.gateway.deadlock_detection import Callee, Caller, Wait
from hubserve.gateway.instances.raw_requests import RawRequest
from hubserve.gateway.instances.side_channel import SideChannel
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.gateway.scheduling.batch_key import ONE_BY_ONE
from hubserve.gateway.scheduling.batcher import Batcher, BatchSettings
from hubserve.gateway.scheduling.latency_store import LatencyStore
from hubserve.gateway.scheduling.queue_policy import DELAY, REJECT, QueuePolicies, QueuePolicy
from hubserve.telemetry.request_record import RequestRecord
from hubserve.types import InferResponse
from hubserve.wire.model_access import ModelAccess

from .fake_instance import FakeInstance
from .simulation import Clock, Machine, SimulatedInstance, dispatcher_of, new_request, simulate, start

_LIMIT = 4


class Instance(FakeInstance):
    """An instance that answers, dies and is blocked on command."""

    def __init__(self, batcher: Batcher) -> None:
        super().__init__()
        self.batcher = batcher

    def give(self, batch: list[QueuedRequest], call_sizes: list[int]) -> None:
        assert self.is_alive
        assert not any(each.answer.done() for each in batch)
        super().give(batch, call_sizes)

    def answer(self) -> None:
        batch = self.waiting.popleft()
        for each in batch:
            if not each.answer.done():
                each.answer.set_result(InferResponse())
        self.batcher.on_batch_done(self)

    def die(self) -> None:
        """Die and be replaced: its requests are retried, each isolated."""
        self.batcher.remove_instance(self)
        batches, self.waiting = self.waiting, deque()
        self.is_alive = False
        for batch in batches:
            requests = [each for each in batch if not each.answer.done()]
            for each in requests:
                each.isolated = True
            self.batcher.requeue(requests)


class Dispatching:
    """A batcher, its instances, and all admitted requests."""

    def __init__(self, clock: Clock, settings: BatchSettings, count: int) -> None:
        latencies = LatencyStore(Path("nowhere"), "")
        latencies.limit = _LIMIT
        self.clock = clock
        self.batcher = Batcher("m", settings, latencies, schedule=asyncio.get_running_loop().call_soon)
        self.instances = [Instance(self.batcher) for _ in range(count)]
        self.requests: list[QueuedRequest] = []
        for instance in self.instances:
            self.batcher.add_instance(instance)

    def put(self, count: int, key: Hashable | None, priority: int, wait_s: float) -> None:
        answer = asyncio.get_running_loop().create_future()
        request = QueuedRequest({}, [], count, key, answer, priority=priority, deadline=self.clock.now + wait_s if wait_s else None)
        self.requests.append(request)
        self.batcher.put(request)

    def apply(self, what: str, number: int) -> None:
        """Apply an event to one of the instances or requests."""
        instance = self.instances[number % len(self.instances)]
        if what == "answer" and instance.waiting:
            instance.answer()
        elif what == "die":
            instance.die()
            self.instances[self.instances.index(instance)] = Instance(self.batcher)
            self.batcher.add_instance(self.instances[number % len(self.instances)])
        elif what == "cancel" and self.requests:
            self.requests[number % len(self.requests)].answer.cancel()

    def check(self) -> None:
        """Check that no request that could be computed waits beside an idle instance."""
        given_out = {id(request) for instance in self.instances for batch in instance.waiting for request in batch}
        now, delay_s = self.clock.now, self.batcher.settings.max_delay_s
        waiting = [request for request in self.requests if not request.answer.done() and id(request) not in given_out]
        ready = [
            request
            for request in waiting
            if (request.deadline is None or request.deadline > now + 0.01)
            and (not delay_s or request.isolated or request.key in (None, ONE_BY_ONE) or request.queued_at + delay_s < now - 0.01)
        ]
        assert not ready or all(instance.in_flight for instance in self.instances), "an instance is idle, and a request waits"


_waits = st.sampled_from([0.0, 0.001, 0.002, 0.003, 0.02, 5.0])
_keys = st.sampled_from(["a", "b", None, ONE_BY_ONE])
_puts = st.tuples(st.just("put"), st.tuples(st.integers(1, 3), _keys, st.integers(0, 1), _waits))
_others = st.tuples(st.sampled_from(["answer", "answer", "answer", "die", "cancel"]), st.integers(0, 50))
_pauses = st.tuples(st.just("pause"), st.sampled_from([0.0, 0.001, 0.005, 0.05]))
_policies = st.builds(
    lambda timeout_s, action: QueuePolicies(default=QueuePolicy(timeout_s=timeout_s, timeout_action=action)),
    st.sampled_from([0.0, 0.004]),
    st.sampled_from([REJECT, DELAY]),
)
_settings = st.builds(
    BatchSettings,
    max_queue_size=st.just(1000),
    preferred_sizes=st.sampled_from([(), (2,), (2, 4)]),
    max_delay_s=st.sampled_from([0.0, 0.002, 0.01]),
    merge=st.booleans(),
    policies=_policies,
)


@given(st.lists(st.one_of(_puts, _puts, _others, _pauses), max_size=40), _settings, st.integers(1, 3), st.sampled_from([0.0, 0.0004]))
def test_no_instance_is_idle_while_a_request_waits_that_it_could_compute(
    steps: list[tuple[str, Any]], settings: BatchSettings, count: int, tick_s: float
) -> None:
    async def scenario(clock: Clock) -> None:
        dispatching = Dispatching(clock, settings, count)
        for what, about in steps:
            if what == "put":
                dispatching.put(*about)
            elif what == "pause":
                await asyncio.sleep(about)
            else:
                dispatching.apply(what, about)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            dispatching.check()
        await asyncio.sleep(1.0)
        dispatching.check()
        while busy := [instance for instance in dispatching.instances if instance.waiting]:
            busy[0].answer()
            await asyncio.sleep(0.02)
            dispatching.check()
        assert len(dispatching.batcher) == 0
        assert all(request.answer.done() for request in dispatching.requests)
        for request in dispatching.requests:
            if not request.answer.cancelled():
                request.answer.exception()

    simulate(scenario, Clock(tick_s))


def test_a_deadline_that_passes_while_a_batch_is_made_does_not_stop_the_others() -> None:
    async def scenario(clock: Clock) -> None:
        dispatching = Dispatching(clock, BatchSettings(), 1)
        for number in range(1, 30):  # whenever it is looked at, it is in time at first, and late at the next look
            dispatching.put(1, "a", 0, number * clock.tick_s)
            dispatching.put(1, "b", 0, 0.0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            dispatching.check()
            while dispatching.instances[0].waiting:
                dispatching.instances[0].answer()
        for request in dispatching.requests:
            request.answer.exception()

    simulate(scenario, Clock(0.001))


@pytest.mark.parametrize("instances", [1, 3])
@pytest.mark.parametrize("call_s", [0.0005, 0.02], ids=["quick", "slow"])
@pytest.mark.parametrize("settings", [{}, {"max_delay_s": 0.001}, {"preferred_sizes": (4,)}], ids=["learned", "delay", "preferred"])
def test_everything_admitted_is_given_out_after_a_bounded_number_of_answers(
    instances: int, call_s: float, settings: dict[str, Any]
) -> None:
    """This includes requests for an idle instance only, beside requests that keep every instance busy."""

    async def scenario(clock: Clock) -> int:
        batcher, _ = start(lambda items: call_s * (1 + 0.1 * items), instances, limit=4, measured=(1, 2, 4), **settings)
        answers, over = 0, asyncio.Event()

        async def client() -> None:
            nonlocal answers
            while not over.is_set():
                request = new_request()
                batcher.put(request)
                await request.answer
                answers += 1
                assert answers < 20_000, "a request starves"

        clients = [asyncio.create_task(client()) for _ in range(16 * instances)]
        await asyncio.sleep(50 * call_s)
        before = answers
        retried, unmerged, other = new_request(isolated=True), new_request(key=None), new_request(key="other")
        batcher.requeue([retried])
        batcher.put(unmerged)
        batcher.put(other)
        done = asyncio.gather(retried.answer, unmerged.answer, other.answer)
        await asyncio.wait([asyncio.ensure_future(done), *clients], return_when=asyncio.FIRST_COMPLETED)
        taken = answers - before
        over.set()
        await asyncio.gather(done, *clients)
        return taken

    assert simulate(scenario) < 60 * instances


def test_an_instance_whose_model_still_calls_another_from_a_thread_is_given_the_next_batch() -> None:
    async def scenario(_: Clock) -> None:
        latencies = LatencyStore(Path("nowhere"), "")
        batcher = Batcher("m", BatchSettings(), latencies, schedule=asyncio.get_running_loop().call_soon)
        instance = SimulatedInstance(Machine(), lambda _: 0.2, single_call=True)
        channel = instance.side_channel = SideChannel(cast("Callable[[], ModelAccess]", None), on_broken=print, on_lost=print)
        batcher.add_instance(dispatcher_of(instance, batcher, latencies))
        first, second = (new_request(ONE_BY_ONE, raw=RawRequest()) for _ in range(2))
        for each in (first, second):
            each.call.update(inputs=[], request={})
        batcher.put(first)
        await asyncio.sleep(0.01)
        caller = Caller(channel, frozenset([first.raw.key]), 1, blocking=True)
        channel.waits.add(Wait(caller, cast("Callee", None), new_request()))
        batcher.put(second)
        await asyncio.wait_for(first.answer, 1.0)
        await asyncio.wait_for(second.answer, 1.0)

    simulate(scenario)


class Unreachable(SimulatedInstance):
    """An instance to which nothing can be sent."""

    def infer(self, header: dict[str, Any], _: Any, answered: Any) -> None:
        raise ValueError("it cannot be sent")

    def end(self, how: str) -> None:
        self.is_dead = True


def test_a_fault_of_the_server_is_logged_once_with_the_instance_and_the_requests(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(_: Clock) -> None:
        latencies = LatencyStore(Path("nowhere"), "")
        batcher = Batcher("m", BatchSettings(), latencies, schedule=asyncio.get_running_loop().call_soon)
        batcher.add_instance(dispatcher_of(Unreachable(Machine(), lambda _: 0.2, single_call=True), batcher, latencies))
        record = RequestRecord(0.0)
        record.accept_id("mine-1")
        work = new_request(record=record)
        batcher.put(work)
        with pytest.raises(HubError, match="the server failed; see the server log"):
            await asyncio.wait_for(work.answer, 1.0)

    simulate(scenario)
    (line,) = caplog.records
    assert line.exc_info is not None
    assert (line.module_name, line.instance, line.request_id) == ("simulated", "0", "mine-1")  # type: ignore[attr-defined]

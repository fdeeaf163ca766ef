import asyncio
import time
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import DeadlineExceeded, Overloaded, Unavailable
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.gateway.scheduling.batcher import Batcher, BatchSettings
from hubserve.gateway.scheduling.latency_store import LatencyStore
from hubserve.gateway.scheduling.queue_policy import DELAY, QueuePolicies, QueuePolicy
from hubserve.types import InferResponse
from tests.unit.gateway.scheduling.fake_instance import FakeInstance
from tests.unit.gateway.scheduling.simulation import Clock, simulate


def new_request(count: int = 1, key: Hashable | None = "a", **options: Any) -> QueuedRequest:
    return QueuedRequest({}, [], count, key, asyncio.get_running_loop().create_future(), **options)


def at_once(dispatch: Callable[[], None]) -> None:
    dispatch()


def make(max_queue_size: int = 10, limit: int = 1, schedule: Callable[[Callable[[], None]], Any] = at_once, **settings: Any) -> Batcher:
    """A batcher without latencies, so that it merges all it can."""
    latencies = LatencyStore(Path("nowhere"), "")
    latencies.limit = limit
    return Batcher("m", BatchSettings(max_queue_size, **settings), latencies, schedule=schedule)


class Instance(FakeInstance):
    """An instance that remembers what it was given and answers on command."""

    def __init__(self, batcher: Batcher) -> None:
        super().__init__()
        self.batcher = batcher

    def give(self, batch: list[QueuedRequest], call_sizes: list[int]) -> None:
        assert sum(call_sizes) == (sum(each.count for each in batch) if batch[0].key else 0)
        super().give(batch, call_sizes)

    def answer(self) -> None:
        for each in self.waiting.popleft():
            each.answer.set_result(InferResponse())
        self.batcher.on_batch_done(self)


@given(
    st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["a", "b", None]), st.booleans(), st.booleans()), max_size=30),
    st.integers(1, 8),
    st.integers(1, 3),
)
def test_every_request_is_sent_once_in_order_and_in_allowed_batches(
    arrivals: list[tuple[int, str | None, bool, bool]], limit: int, instance_count: int
) -> None:
    async def scenario() -> None:
        batcher = make(100, limit)
        requests = [new_request(count, key, isolated=isolated) for count, key, isolated, _ in arrivals]
        for each in requests:
            batcher.put(each)
        for each, (_, _, _, cancelled) in zip(requests, arrivals, strict=True):
            if cancelled:
                each.answer.cancel()
        instances = [Instance(batcher) for _ in range(instance_count)]
        for each in instances:
            batcher.add_instance(each)
        while busy := [each for each in instances if each.waiting]:
            busy[0].answer()
        batches = [batch for each in instances for batch in each.batches]
        for batch in batches:
            assert len({each.key for each in batch}) == 1
            assert len(batch) == 1 or (sum(each.count for each in batch) <= limit and batch[0].key is not None)
            assert len(batch) == 1 or not any(each.isolated for each in batch)
        live = [each for each, (_, _, _, cancelled) in zip(requests, arrivals, strict=True) if not cancelled]
        given_out = [each for batch in batches for each in batch]
        assert sorted(map(id, given_out)) == sorted(map(id, live))
        if instance_count == 1:
            for key in ("a", "b", None):
                mine = [each for each in given_out if each.key == key and not each.isolated]
                small = [each for each in live if each.key == key and not each.isolated]
                if all(each.count == 1 for each in small):
                    assert mine == small, "first come, first served among equals"

    asyncio.run(scenario())


def test_an_idle_instance_gets_a_new_request_immediately_and_by_itself() -> None:
    async def scenario() -> None:
        batcher = make(limit=8)
        instance = Instance(batcher)
        batcher.add_instance(instance)
        first = new_request()
        batcher.put(first)
        assert instance.batches == [[first]]

    asyncio.run(scenario())


def test_a_busy_instance_is_sent_ahead_only_what_cannot_grow() -> None:
    async def scenario() -> None:
        batcher = make(limit=3)
        instance = Instance(batcher)
        batcher.add_instance(instance)
        requests = [new_request() for _ in range(4)]
        batcher.put(requests[0])
        batcher.put(requests[1])
        batcher.put(requests[2])
        assert instance.batches == [requests[:1]], "two of three may still become three"
        batcher.put(requests[3])
        assert instance.batches == [requests[:1], requests[1:]], "a full batch is sent ahead"
        instance.answer()
        single, suspect = new_request(key=None), new_request(key=None, isolated=True)
        batcher.put(single)
        assert instance.batches[-1] == [single], "what is never merged is sent ahead"
        instance.answer()
        batcher.put(suspect)
        assert len(instance.batches) == 3, "what may end the instance waits until it is idle"
        instance.answer()
        assert instance.batches[-1] == [suspect]

    asyncio.run(scenario())


def test_idle_instances_come_before_busy_ones() -> None:
    async def scenario() -> None:
        batcher = make()
        first, second = Instance(batcher), Instance(batcher)
        batcher.add_instance(first)
        batcher.add_instance(second)
        for _ in range(2):
            batcher.put(new_request(key=None))
        assert [len(first.batches), len(second.batches)] == [1, 1]

    asyncio.run(scenario())


def test_an_instance_that_is_gone_is_given_nothing() -> None:
    async def scenario() -> None:
        batcher = make()
        gone, there = Instance(batcher), Instance(batcher)
        batcher.add_instance(gone)
        batcher.remove_instance(gone)
        one = new_request()
        batcher.put(one)
        assert len(batcher) == 1
        batcher.add_instance(there)
        assert (gone.batches, there.batches) == ([], [[one]])

    asyncio.run(scenario())


def test_a_full_queue_refuses_requests_until_clients_leave() -> None:
    async def scenario(_: Clock) -> None:
        batcher = make(2)
        first, second = new_request(), new_request()
        batcher.put(first)
        batcher.put(second)
        with pytest.raises(Overloaded, match="2 requests waiting"):
            batcher.put(new_request())
        first.answer.cancel()
        await asyncio.sleep(0.03)  # a full queue is not searched for every request that it refuses
        batcher.put(new_request())
        assert len(batcher) == 2

    simulate(scenario)


def test_a_request_past_its_deadline_is_failed_and_never_computed() -> None:
    async def scenario() -> None:
        batcher = make()
        late, on_time = new_request(deadline=time.monotonic() - 1), new_request(deadline=time.monotonic() + 60)
        batcher.put(late)
        batcher.put(on_time)
        instance = Instance(batcher)
        batcher.add_instance(instance)
        assert instance.batches == [[on_time]]
        with pytest.raises(DeadlineExceeded):
            await late.answer

    asyncio.run(scenario())


def test_requeued_requests_come_first() -> None:
    async def scenario() -> None:
        batcher = make()
        waiting, returned = new_request(key="b"), new_request(key="a")
        batcher.put(waiting)
        batcher.requeue([returned])
        instance = Instance(batcher)
        batcher.add_instance(instance)
        instance.answer()
        assert instance.batches == [[returned], [waiting]]

    asyncio.run(scenario())


def given_out(batcher: Batcher, requests: list[QueuedRequest]) -> list[int]:
    """The sizes of the batches that one instance is given, when everything waits already."""
    for each in requests:
        batcher.put(each)
    instance = Instance(batcher)
    batcher.add_instance(instance)
    while instance.waiting:
        instance.answer()
    return [sum(each.count for each in batch) for batch in instance.batches]


def test_requests_are_merged_only_as_far_as_it_helps() -> None:
    async def scenario() -> None:
        batcher = make(100, limit=16)
        times = batcher._latencies.of("a")
        for items in (1, 2, 4, 8, 16):
            for _ in range(9):
                times.observe(items, 0.01 + 0.001 * items if items <= 4 else 0.02 * items)
        assert given_out(batcher, [new_request() for _ in range(11)]) == [4, 4, 3]

    asyncio.run(scenario())


def test_preferred_sizes_are_kept_and_the_rest_goes_as_it_is() -> None:
    async def scenario() -> None:
        batcher = make(100, limit=16, preferred_sizes=[4, 8])
        assert given_out(batcher, [new_request() for _ in range(15)]) == [8, 4, 3]

    asyncio.run(scenario())


def test_greedy_instances_take_all_that_waits_whatever_it_costs() -> None:
    async def scenario() -> None:
        batcher = make(100, limit=4, greedy=True)
        for items in 9 * (1, 2, 4):
            batcher._latencies.of("a").adopt(items, items * items * 0.001)
        assert given_out(batcher, [new_request() for _ in range(7)]) == [4, 3]
        batcher = make(100, limit=4, greedy=True)
        first, second = Instance(batcher), Instance(batcher)
        requests = [new_request() for _ in range(4)]
        batcher._schedule = lambda _: None
        for each in requests:
            batcher.put(each)
        batcher._instances = [first, second]
        batcher.dispatch()
        assert [len(batch) for batch in [*first.batches, *second.batches]] == [2, 2], "idle instances share it"

    asyncio.run(scenario())


def test_with_a_delay_an_idle_instance_waits_for_a_full_batch_but_no_longer() -> None:
    async def scenario(_: Clock) -> None:
        batcher = make(100, limit=4, max_delay_s=0.05)
        instance = Instance(batcher)
        batcher.add_instance(instance)
        first = [new_request() for _ in range(2)]
        for each in first:
            batcher.put(each)
        assert instance.batches == []
        await asyncio.sleep(0.1)
        assert instance.batches == [first]
        instance.answer()
        full = [new_request() for _ in range(4)]
        for each in full:
            batcher.put(each)
        assert instance.batches[1:] == [full], "a full batch has nothing to wait for"
        instance.answer()
        unmerged = new_request(key=None)
        batcher.put(unmerged)
        assert instance.batches[2:] == [[unmerged]], "what is never merged has nothing to wait for"

    simulate(scenario)


def test_lower_priorities_go_first_and_are_not_merged_with_others() -> None:
    async def scenario() -> None:
        batcher = make(100, limit=8)
        late, usual, urgent = new_request(priority=1), new_request(), new_request(priority=-1)
        for each in (late, usual, urgent):
            batcher.put(each)
        instance = Instance(batcher)
        batcher.add_instance(instance)
        while instance.waiting:
            instance.answer()
        assert instance.batches == [[urgent], [usual], [late]]

    asyncio.run(scenario())


def test_a_batch_is_kept_small_enough_for_the_deadlines_in_it() -> None:
    async def scenario(_: Clock) -> None:
        batcher = make(100, limit=8)
        times = batcher._latencies.of("a")
        for items in (1, 2, 4, 8):
            for _ in range(9):
                times.observe(items, 10.0 + items)
        soon = time.monotonic() + 12.5
        assert given_out(batcher, [new_request(deadline=soon), *(new_request() for _ in range(5))]) == [2, 4]

    simulate(scenario)


def test_an_instance_that_is_about_to_finish_is_given_its_next_batch_before_it_has_and_only_one() -> None:
    async def scenario(_: Clock) -> None:
        batcher = make(100, limit=8)
        times = batcher._latencies.of("a")
        for items in (1, 2, 4, 8):
            for _ in range(9):
                times.observe(items, 0.05 + 0.001 * items)
        instance = Instance(batcher)
        batcher.add_instance(instance)
        first, waiting, suspect = new_request(), [new_request() for _ in range(3)], new_request(isolated=True)
        batcher.put(first)
        for each in waiting:
            batcher.put(each)
        assert instance.batches == [[first]], "three may become more"
        await asyncio.sleep(0.1)
        assert instance.batches == [[first], waiting]
        batcher.put(suspect)
        batcher.put(new_request())
        await asyncio.sleep(0.1)
        assert len(instance.batches) == 2, "what it computes has not ended yet"
        instance.answer()
        instance.answer()
        assert instance.batches[2] == [suspect]

    simulate(scenario)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3), st.sampled_from(["a", "b"])), max_size=25),
    st.integers(0, 4),
    st.booleans(),
)
def test_lower_priorities_come_first_and_each_has_its_bound(arrivals: list[tuple[int, int, str]], bound: int, merge: bool) -> None:
    policies = QueuePolicies(levels=4, default_level=2, default=QueuePolicy(max_queue_size=bound), by_level={1: QueuePolicy()})

    async def scenario() -> None:
        batcher = make(100, 4, policies=policies, merge=merge)
        admitted: list[QueuedRequest] = []
        for priority, count, key in arrivals:
            new = new_request(count, key, priority=policies.level_of(priority))
            full = bound and new.priority != 1 and sum(each.priority == new.priority for each in admitted) >= bound
            if full:
                with pytest.raises(Overloaded, match="maximum queue size"):
                    batcher.put(new)
            else:
                batcher.put(new)
                admitted.append(new)
        instance = Instance(batcher)
        batcher.add_instance(instance)
        while instance.waiting:
            instance.answer()
        given_out = [each for batch in instance.batches for each in batch]
        assert [each.priority for each in given_out] == sorted(each.priority for each in admitted)
        assert sorted(map(id, given_out)) == sorted(map(id, admitted))
        for level in range(1, 5):
            for key in ("a", "b"):
                assert [each for each in given_out if (each.priority, each.key) == (level, key)] == [
                    each for each in admitted if (each.priority, each.key) == (level, key)
                ], "first come, first served among equals"
        assert merge or all(len(batch) == 1 for batch in instance.batches)

    asyncio.run(scenario())


def test_requests_that_waited_too_long_are_refused_or_delayed_behind_their_priority() -> None:
    delay = QueuePolicy(timeout_s=0.02, timeout_action=DELAY, allow_timeout_override=True)
    policies = QueuePolicies(levels=3, default_level=2, default=delay, by_level={3: QueuePolicy(timeout_s=0.02)})

    async def scenario(_: Clock) -> None:
        batcher = make(100, 8, policies=policies)
        early = [new_request(priority=2), new_request(priority=3), new_request(priority=2)]
        for each in early:
            batcher.put(each)
        await asyncio.sleep(0.03)
        late = [new_request(priority=2), new_request(priority=3), new_request(priority=1)]
        for each in late:
            batcher.put(each)
        instance = Instance(batcher)
        batcher.add_instance(instance)
        while instance.waiting:
            instance.answer()
        assert instance.batches == [[late[2]], [late[0]], [early[0], early[2]], [late[1]]]
        with pytest.raises(Unavailable, match="Request timeout expired"):
            await early[1].answer

    simulate(scenario)


def test_a_request_may_ask_for_a_shorter_wait_than_the_default_but_not_for_a_longer_one() -> None:
    policy = QueuePolicy(timeout_s=2.0, allow_timeout_override=True)
    assert [policy.wait_s(asked) for asked in (0.0, 1.0, 3.0)] == [2.0, 1.0, 2.0]
    assert QueuePolicy(allow_timeout_override=True).wait_s(3.0) == 3.0
    assert QueuePolicy(timeout_s=2.0).wait_s(1.0) == 2.0
    assert QueuePolicy().wait_s(1.0) == 0.0


def test_requests_of_one_loop_iteration_are_sent_together_and_fill_no_queue_while_an_instance_is_idle() -> None:
    async def scenario() -> None:
        later: list[Callable[[], None]] = []
        batcher = make(2, limit=8, schedule=later.append)
        first, second = Instance(batcher), Instance(batcher)
        batcher.add_instance(first)
        together = [new_request(), new_request()]
        for each in together:
            batcher.put(each)
        assert (first.batches, len(later)) == ([], 1)
        later.pop()()
        assert first.batches == [together]
        batcher.add_instance(second)
        many = [new_request() for _ in range(3)]
        for each in many:
            batcher.put(each)  # the third finds the queue full, and an instance that has nothing to do
        assert second.batches == [many[:2]]
        assert len(later) == 1, "one look is enough for all"
        later.pop()()
        second.answer()
        assert second.batches == [many[:2], many[2:]]

    asyncio.run(scenario())

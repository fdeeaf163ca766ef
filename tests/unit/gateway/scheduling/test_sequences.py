"""Scheduling of sequences: which requests are sent to which instance, and when."""

import asyncio
from collections import deque
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import HubError
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.gateway.scheduling.batcher import BatchSettings
from hubserve.gateway.scheduling.latency_store import LatencyStore
from hubserve.gateway.scheduling.sequence_batcher import SequenceBatcher
from hubserve.gateway.scheduling.sequence_plan import DIRECT, OLDEST, SequencePlan
from hubserve.types import InferResponse, SequencePart
from hubserve.wire.frames import Frame
from tests.unit.gateway.scheduling.fake_instance import FakeInstance

NAMES = [1, 2, 3, "a", "b"]


class Instance(FakeInstance):
    """An instance that computes on command, and may die."""

    def __init__(self, queue: SequenceBatcher) -> None:
        super().__init__()
        self.queue = queue

    @property
    def is_open(self) -> bool:
        return self.is_alive and not self.waiting

    def give(self, batch: list[QueuedRequest], call_sizes: list[int]) -> None:
        assert self.is_open
        assert sum(call_sizes) == len(batch)
        super().give(batch, call_sizes)

    def answer(self) -> None:
        if not self.waiting:
            return
        batch = self.waiting.popleft()
        for request in batch:
            if request.sequence is not None:
                request.sequence.on_computed(request, {"outputs": []}, Frame({}, []))
        self.queue.on_batch_done(self)
        for request in batch:
            if not request.answer.done():
                request.answer.set_result(InferResponse())

    def die(self) -> None:
        self.is_alive = False
        batches, self.waiting = self.waiting, deque()
        self.queue.requeue([request for batch in batches for request in batch])
        self.queue.remove_instance(self)


events = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(NAMES), st.sampled_from(["", "start", "end", "both"])),
    st.tuples(st.just("answer"), st.integers(0, 2), st.just("")),
    st.tuples(st.just("leave"), st.integers(0, 40), st.just("")),
    st.tuples(st.just("die"), st.integers(0, 2), st.just("")),
)


@given(st.lists(events, max_size=60), st.sampled_from([DIRECT, OLDEST]), st.integers(1, 3), st.integers(1, 4))
def test_under_any_events_a_sequence_is_computed_in_order_in_one_slot_and_every_request_is_answered(
    happens: list[tuple[str, Any, str]], strategy: str, slots: int, limit: int
) -> None:
    async def scenario() -> None:
        latencies = LatencyStore(Path("nowhere"), "")
        latencies.limit = limit
        queue = SequenceBatcher("m", BatchSettings(100), SequencePlan(strategy, 60.0, slots), latencies)
        instances = [Instance(queue) for _ in range(2)]
        for each in instances:
            queue.add_instance(each)
        requests: list[QueuedRequest] = []
        for what, which, how in happens:
            if what == "ask":
                part = SequencePart(which, how in ("start", "both"), how in ("end", "both"))
                request = QueuedRequest({"inputs": []}, [], 1, "form", asyncio.get_running_loop().create_future(), part=part)
                try:
                    queue.put(request)
                except HubError:
                    continue
                requests.append(request)
            elif what == "answer":
                instances[which % len(instances)].answer()
            elif what == "leave" and which < len(requests):
                requests[which].answer.cancel()
            elif what == "die":
                instances[which % len(instances)].die()
                instances[which % len(instances)] = fresh = Instance(queue)
                queue.add_instance(fresh)
            check(instances, strategy, slots, limit)
            await asyncio.sleep(0)
        for _ in range(2 * len(requests) + 2):
            for each in instances:
                each.answer()
        waiting = [request for request in requests if not request.answer.done()]
        held = {part.id for request in requests if (part := request.part)}
        assert not waiting or len(held) > slots, "only sequences without a slot wait for others to end"
        for request in requests:
            if request.answer.done() and not request.answer.cancelled():
                request.answer.exception()

    asyncio.run(scenario())


def check(instances: list[Instance], strategy: str, slots: int, limit: int) -> None:
    for instance in instances:
        computed = [request for batch in instance.batches for request in batch if not request.filler]
        assert len(computed) == len(set(map(id, computed))), "nothing is computed twice"
        by_sequence: dict[int, list[QueuedRequest]] = {}
        for request in computed:
            by_sequence.setdefault(id(request.sequence), []).append(request)
        for mine in by_sequence.values():
            assert [each.number for each in mine] == sorted(each.number for each in mine)
            assert mine[0].part is not None
            assert mine[0].part.start, "no sequence begins in its middle"
        for batch in instance.batches:
            sequences = [request.sequence for request in batch if not request.filler]
            assert len(sequences) == len(set(sequences)) <= min(limit, slots)
            assert not batch[-1].filler
            assert strategy == DIRECT or not any(request.filler for request in batch)
        if strategy == DIRECT:
            for mine in by_sequence.values():
                positions = {batch.index(request) for request in mine for batch in instance.batches if request in batch}
                assert len(positions) == 1, "a sequence keeps its slot"
    both = [{id(request.sequence) for batch in each.batches for request in batch if not request.filler} for each in instances]
    assert not both[0] & both[1], "no sequence is computed by two instances"


def test_a_request_that_the_module_wants_to_have_again_comes_before_the_rest_of_its_sequence() -> None:
    async def scenario() -> None:
        latencies = LatencyStore(Path("nowhere"), "")
        queue = SequenceBatcher("m", BatchSettings(100), SequencePlan(OLDEST, 60.0, 1), latencies)
        instance = Instance(queue)
        queue.add_instance(instance)
        requests = []
        for index in range(2):
            part = SequencePart(1, start=not index, end=bool(index))
            requests.append(QueuedRequest({"inputs": []}, [], 1, "form", asyncio.get_running_loop().create_future(), part=part))
            queue.put(requests[-1])
        (batch,) = instance.waiting
        instance.waiting.clear()
        batch[0].sequence.on_computed(batch[0], {"later": True}, Frame({}, []))
        queue.on_batch_done(instance)
        queue.requeue(batch)
        instance.answer()
        instance.answer()
        assert [request for batch in instance.batches for request in batch] == [requests[0], requests[0], requests[1]]
        assert all(request.answer.done() for request in requests)

    asyncio.run(scenario())

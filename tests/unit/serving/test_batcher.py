import asyncio
import time
from collections.abc import Hashable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import DeadlineExceeded, Overloaded
from hubserve.serving.batcher import Batcher, Work
from hubserve.types import InferResponse


def work(count: int = 1, key: Hashable | None = "a", **options: object) -> Work:
    return Work({}, [], count, key, asyncio.get_running_loop().create_future(), **options)  # type: ignore[arg-type]


@given(
    st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["a", "b", None]), st.booleans(), st.booleans()), max_size=30),
    st.integers(1, 8),
)
def test_whatever_is_queued_is_taken_once_in_order_and_in_allowed_batches(
    arrivals: list[tuple[int, str | None, bool, bool]], limit: int
) -> None:
    async def scenario() -> None:
        batcher = Batcher("m", 100)
        batcher.max_batch_size = limit
        works = [work(count, key, alone=alone) for count, key, alone, _ in arrivals]
        for each in works:
            batcher.put(each)
        for each, (_, _, _, cancelled) in zip(works, arrivals, strict=True):
            if cancelled:
                each.answer.cancel()
        taken = []
        while any(not each.answer.done() for each in works):
            batch = await asyncio.wait_for(batcher.take(), 1)
            assert len({each.key for each in batch}) == 1
            assert len(batch) == 1 or (sum(each.count for each in batch) <= limit and batch[0].key is not None)
            assert len(batch) == 1 or not any(each.alone for each in batch)
            for each in batch:
                each.answer.set_result(InferResponse())
            taken += batch
        live = [each for each, (_, _, _, cancelled) in zip(works, arrivals, strict=True) if not cancelled]
        assert sorted(map(id, taken)) == sorted(map(id, live))
        for key in ("a", "b", None):
            mine = [each for each in taken if each.key == key and not each.alone]
            small = [each for each in live if each.key == key and not each.alone]
            if all(each.count == 1 for each in small):
                assert mine == small, "first come, first served among equals"

    asyncio.run(scenario())


def test_a_free_instance_gets_new_work_at_once_and_alone() -> None:
    async def scenario() -> None:
        batcher = Batcher("m", 10)
        batcher.max_batch_size = 8
        waiter = batcher.take()
        first = work()
        batcher.put(first)
        assert waiter.done()
        assert waiter.result() == [first]

    asyncio.run(scenario())


def test_work_goes_past_an_instance_that_died_while_it_waited() -> None:
    async def scenario() -> None:
        batcher = Batcher("m", 10)
        dead, alive = batcher.take(), batcher.take()
        dead.cancel()
        one = work()
        batcher.put(one)
        assert (await alive) == [one]

    asyncio.run(scenario())


def test_a_full_queue_refuses_but_room_left_by_clients_that_went_away_is_used() -> None:
    async def scenario() -> None:
        batcher = Batcher("m", 2)
        first, second = work(), work()
        batcher.put(first)
        batcher.put(second)
        with pytest.raises(Overloaded, match="2 requests waiting"):
            batcher.put(work())
        first.answer.cancel()
        batcher.put(work())
        assert len(batcher) == 2

    asyncio.run(scenario())


def test_work_past_its_deadline_is_answered_and_never_computed() -> None:
    async def scenario() -> None:
        batcher = Batcher("m", 10)
        late, on_time = work(deadline=time.monotonic() - 1), work(deadline=time.monotonic() + 60)
        batcher.put(late)
        batcher.put(on_time)
        assert (await batcher.take()) == [on_time]
        with pytest.raises(DeadlineExceeded):
            await late.answer

    asyncio.run(scenario())


def test_work_that_is_put_back_comes_first() -> None:
    async def scenario() -> None:
        batcher = Batcher("m", 10)
        waiting, returned = work(key="b"), work(key="a")
        batcher.put(waiting)
        batcher.put_back([returned])
        assert (await batcher.take()) == [returned]
        assert (await batcher.take()) == [waiting]

    asyncio.run(scenario())

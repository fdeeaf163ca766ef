"""What is counted of a batch."""

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hubserve.gateway.queued_request import QueuedRequest
from hubserve.gateway.scheduling.batch_key import ONE_BY_ONE
from hubserve.gateway.statistics import ModuleStatistics

LOOP = asyncio.new_event_loop()  # runs nothing: futures need one


def batch_of(counts: list[int], key: Any = "form", queued_at: float = 0.0) -> list[QueuedRequest]:
    works = [QueuedRequest({}, [], count, key, asyncio.Future(loop=LOOP)) for count in counts]
    for work in works:
        work.queued_at = queued_at
    return works


def header(results: list[bool], **more: Any) -> dict[str, Any]:
    return {"results": [{"outputs": []} if good else {"error": {}} for good in results], "times": [], "took_s": 0.0, **more}


def test_a_batchs_time_is_divided_and_counted_for_each_request_and_once_for_the_batch() -> None:
    counted = ModuleStatistics()
    header_ = header([True, True], times=[(3, 0.5)], calls_s=0.5, took_s=0.625, prepare_s=0.125)
    counted.add_batch(batch_of([1, 2], queued_at=1.0), header_, begun_at=3.0, busy_s=1.0)
    assert (counted.inference_count, counted.execution_count) == (3, 1)
    assert (counted.queue.count, counted.queue.seconds) == (2, 4.0)
    each = counted.computed
    assert (each.compute_input.count, each.compute_input.seconds) == (2, 2 * (0.125 + 0.125))
    assert (each.compute_infer.count, each.compute_infer.seconds) == (2, 2 * 0.5)
    assert (each.compute_output.count, each.compute_output.seconds) == (2, 2 * (0.125 + 0.125))
    ((size, execution),) = counted.by_batch_size()
    assert (size, execution.compute_infer.count, execution.compute_infer.ns) == (3, 1, 500_000_000)
    assert execution.compute_input.seconds + execution.compute_infer.seconds + execution.compute_output.seconds == 1.0
    assert counted.last_inference_ms > 0


def test_failed_requests_are_not_counted_as_computed() -> None:
    counted = ModuleStatistics()
    counted.add_batch(batch_of([2]), header([False], took_s=1.0), begun_at=1.0, busy_s=1.0)
    assert (counted.inference_count, counted.execution_count, counted.queue.count, counted.last_inference_ms) == (0, 0, 0, 0)
    counted.add_batch(batch_of([2, 1]), header([True, False], times=[(2, 0.5)], took_s=0.5), begun_at=1.0, busy_s=0.5)
    assert (counted.inference_count, counted.execution_count, counted.queue.count) == (2, 1, 1)


@given(
    st.lists(
        st.tuples(st.lists(st.tuples(st.integers(1, 8), st.booleans()), min_size=1, max_size=6), st.booleans(), st.floats(0, 10)),
        max_size=10,
    )
)
def test_the_sums_are_consistent_for_any_batches(batches: list[tuple[list[tuple[int, bool]], bool, float]]) -> None:
    counted = ModuleStatistics()
    for requests, one_by_one, seconds in batches:
        counts, results = [count for count, _ in requests], [good for _, good in requests]
        works = batch_of([1] * len(counts), ONE_BY_ONE) if one_by_one else batch_of(counts)
        times = [] if one_by_one else [(count, seconds) for count, good in requests if good]
        counted.add_batch(works, header(results, times=times, took_s=seconds * len(times), calls_s=seconds * len(times)), 1.0, seconds)
    good = [(count, one_by_one) for requests, one_by_one, _ in batches for count, good in requests if good]
    assert counted.inference_count == sum(1 if one_by_one else count for count, one_by_one in good)
    assert counted.queue.count == counted.computed.compute_infer.count == len(good)
    assert counted.execution_count == len(good) == sum(each.compute_infer.count for _, each in counted.by_batch_size())
    assert sum(size * each.compute_infer.count for size, each in counted.by_batch_size()) == counted.inference_count

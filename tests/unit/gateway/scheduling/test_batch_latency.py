import json
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.gateway.scheduling.batch_key import ONE_BY_ONE
from hubserve.gateway.scheduling.batch_latency import BatchLatency
from hubserve.gateway.scheduling.latency_store import LatencyStore

SIZES = (1, 2, 4, 8, 16, 32, 64)


def learned(seconds: Callable[[int], float], limit: int = 64, overhead_s: float = 0.0002) -> BatchLatency:
    times = BatchLatency(limit, overhead_s)
    for items in SIZES:
        if items <= limit:
            for _ in range(9):
                times.observe(items, seconds(items))
    return times


def test_where_a_call_has_a_fixed_cost_everything_is_merged() -> None:
    times = learned(lambda items: 0.010 + 0.001 * items)
    assert [times.batch_size(waiting) for waiting in (1, 2, 17, 40, 64, 100)] == [1, 2, 17, 40, 64, 64]
    assert times.call_sizes(100) == [64, 36]


def test_where_items_cost_the_same_alone_they_are_computed_alone() -> None:
    times = learned(lambda items: 0.010 * items)
    assert [times.batch_size(waiting) for waiting in (1, 2, 17, 100)] == [1, 1, 1, 1]
    assert times.call_sizes(5) == [1, 1, 1, 1, 1]


def test_where_calls_are_quick_requests_travel_together_to_save_the_way() -> None:
    times = learned(lambda items: 0.00002 * items)
    assert times.batch_size(40) == 40


def test_where_the_cost_per_item_rises_again_the_best_size_is_kept() -> None:
    times = learned(lambda items: 0.010 + 0.001 * items if items <= 8 else 0.005 * items)
    assert [times.batch_size(waiting) for waiting in (3, 8, 64)] == [3, 8, 8]
    assert times.call_sizes(20) == [8, 8, 4]


def test_nothing_known_means_everything_is_tried() -> None:
    times = BatchLatency(8)
    assert (times.batch_size(5), times.batch_size(50), times.estimate(3)) == (5, 8, None)
    assert times.call_sizes(20) == [8, 8, 4]
    times.observe(1, 0.01)
    assert times.batch_size(8) == 2, "what was never measured may be better, but is not tried at once by eight"


def test_the_first_call_of_a_size_does_not_count_for_long() -> None:
    times = BatchLatency(8)
    times.observe(8, 5.0)
    times.observe(8, 0.08)
    assert times.estimate(8) == pytest.approx(0.08)


def test_sizes_between_are_interpolated() -> None:
    times = learned(lambda items: 0.010 + 0.001 * items)
    assert times.estimate(24) == pytest.approx(0.034)
    assert times.estimate(64) == pytest.approx(0.074)


def test_a_lower_limit_is_kept_at_once() -> None:
    times = learned(lambda items: 0.010 + 0.001 * items)
    times.lower_limit(4)
    assert times.batch_size(64) == 4
    assert times.call_sizes(10) == [4, 4, 2]
    assert set(times.to_json()) == {"1", "2", "4"}


@given(
    st.dictionaries(st.integers(1, 32), st.floats(1e-6, 1.0), max_size=8),
    st.integers(1, 32),
    st.integers(1, 200),
)
def test_whatever_was_measured_the_plan_holds_all_items_within_the_limit(measured: dict[int, float], limit: int, items: int) -> None:
    times = BatchLatency(limit)
    for size, seconds in measured.items():
        times.observe(size, seconds)
        times.observe(size, seconds)
    sizes = times.call_sizes(items)
    assert sum(sizes) == items
    assert all(1 <= size <= limit for size in sizes)
    assert 1 <= times.batch_size(items) <= min(items, limit)


@given(st.floats(0, 0.1), st.floats(1e-5, 0.1), st.integers(1, 64))
def test_the_plan_is_never_much_worse_than_any_single_size(fixed_s: float, each_s: float, items: int) -> None:
    times = learned(lambda size: fixed_s + each_s * size)

    def cost(sizes: list[int]) -> float:
        return sum(fixed_s + each_s * size + 5e-5 for size in sizes)

    best = min(cost([size] * (items // size) + [items % size] * bool(items % size)) for size in range(1, items + 1))
    assert cost(times.call_sizes(items)) <= 1.051 * best


def test_latencies_are_read_back_by_the_next_start_and_by_no_other_engine(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "m.json"
    form = (("x", "float32", 3, 224, 224),)

    def opened(about: str) -> LatencyStore:
        made = LatencyStore(path, about)
        made.limit = 8
        made.load()
        return made

    first = opened("a")
    assert first.is_empty()
    first.save()
    assert not path.exists(), "nothing known is nothing to keep"
    for seconds in (9.0, 0.01, 0.012, 0.011):
        first.of(form).observe(1, seconds)
    first.of(form).observe(4, 0.04)
    first.save()
    again = opened("a")
    assert again.of(form).to_json() == {"1": statistics.median([10.0, 12.0, 11.0]), "4": 40.0}
    assert opened("b").is_empty()
    for damage in ("", "{", "[]", json.dumps({"schema": 1, "about": "a", "times": [{"form": [], "ms": {"x": 1}}]})):
        path.write_text(damage)
        assert opened("a").is_empty()


def test_a_store_that_cannot_be_written_is_only_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    store = LatencyStore(tmp_path / "file" / "m.json", "")
    store.limit = 2
    store.of("x").observe(1, 0.1)
    store.save()
    assert "cannot save" in caplog.text


def test_batch_keys_beyond_the_limit_replace_the_oldest(tmp_path: Path) -> None:
    store = LatencyStore(tmp_path / "m.json", "")
    for length in range(100):
        store.of(("x", length)).observe(1, 0.1)
    assert len(store.to_json()) == 64


def test_requests_that_are_answered_one_by_one_travel_together_only_while_they_are_quick() -> None:
    def together(seconds: float) -> list[int]:
        times = LatencyStore(Path("nowhere"), "").of(ONE_BY_ONE)
        for _ in range(9):
            times.observe(1, seconds)
        return [times.batch_size(waiting) for waiting in (1, 5, 100)]

    assert together(0.00002) == [1, 5, 16]
    assert together(0.0005) == [1, 4, 4]
    assert together(0.005) == [1, 1, 1]


def observe(times: BatchLatency, items: int, seconds: float, count: int = 9, shared: bool = False) -> None:
    for _ in range(count):
        times.observe(items, seconds, shared)


def test_idle_instances_share_unless_they_slow_each_other_down_too_much() -> None:
    apart, serial = BatchLatency(8), BatchLatency(8)
    for times, factor in ((apart, 1.1), (serial, 2.0)):
        observe(times, 8, 0.018)
        observe(times, 4, factor * 0.014, shared=True)
    assert apart.share(8, 2, exclusive=True) == 4
    assert serial.share(8, 2, exclusive=True) == 8
    assert serial.share(8, 2, exclusive=False) == 4, "an instance that is idle beside one that computes takes its part"
    assert BatchLatency(8).share(8, 3, exclusive=True) == 3, "where nothing is known they share"


def test_a_size_that_gained_nothing_is_not_tried_again_soon() -> None:
    times = BatchLatency(8)
    observe(times, 1, 0.01)
    assert times.batch_size(8) == 2
    times.observe(2, 0.02)
    assert [times.batch_size(8) for _ in range(20)] == [1] * 20
    observe(times, 1, 0.01, count=110)
    assert times.batch_size(8) == 2, "an engine prepares itself at the first call, so the second counts"
    times.observe(2, 0.02)
    observe(times, 1, 0.01, count=500)
    assert [times.batch_size(8) for _ in range(20)].count(1) == 20, "nothing says that four would be better than two"


def test_a_size_that_gains_is_followed_by_its_double() -> None:
    times = BatchLatency(32)
    observe(times, 1, 0.011)
    for size in (2, 4, 8, 16, 32):
        for _ in range(2):
            assert times.batch_size(64) == size
            times.observe(size, 0.010 + 0.001 * size)


def test_shared_latencies_are_read_back_too(tmp_path: Path) -> None:
    first, again = LatencyStore(tmp_path / "m.json", "a"), LatencyStore(tmp_path / "m.json", "a")
    first.limit = again.limit = 8
    observe(first.of("x"), 8, 0.018)
    observe(first.of("x"), 4, 0.028, shared=True)
    first.save()
    again.load()
    assert (again.of("x").to_json(), again.of("x").to_json(shared=True)) == ({"8": 18.0}, {"4": 28.0})
    assert again.of("x").share(8, 2, exclusive=True) == 8

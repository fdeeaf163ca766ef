"""Clients that each wait for their answer, simulated: throughput and tail latency."""

from collections.abc import Callable
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubserve.gateway.scheduling.batch_latency import BatchLatency

from .simulation import Measured, closed_loop

MEASURED = (1, 2, 4, 8)


def linear(items: int) -> float:
    return 0.010 * items


def like_a_gpu(items: int) -> float:
    return 0.010 + 0.001 * items


def of_a_cache(items: int) -> float:
    return 0.010 * items if items <= 4 else 0.014 * items


def mixed(items: int) -> float:
    return 0.003 + 0.007 * items


def contending(instances: int) -> float:
    return 1.1 if instances > 1 else 1.0


def one_takes_all(*args: Any, **options: Any) -> Measured:
    """Run the same loop with an idle instance taking all that waits, up to its batch size."""
    with mock.patch.object(BatchLatency, "share", lambda _self, waiting, _idle, _alone: waiting):
        return closed_loop(*args, **options)


@pytest.mark.parametrize("single_call", [False, True], ids=["measured", "unknown"])
@pytest.mark.parametrize("delay_s", [0.0, 0.002])
@pytest.mark.parametrize("clients", [8, 32])
def test_instances_that_cost_the_same_for_each_item_are_all_busy(single_call: bool, delay_s: float, clients: int) -> None:
    seen = closed_loop(
        linear,
        clients,
        2,
        measured=() if single_call else MEASURED,
        single_call=single_call,
        noise=0.1,
        slowdown=contending,
        max_delay_s=delay_s,
    )
    assert seen.per_second > 0.97 * 2 / 1.1 / 0.010


def test_a_closed_loop_does_not_stay_in_step_with_one_instance_while_the_other_is_idle() -> None:
    """Requests answered together arrive together: one instance must not repeatedly take all of them."""
    seen = closed_loop(mixed, 8, 2, single_call=True, noise=0.05, slowdown=contending, max_delay_s=0.002)
    four_each = 8 / (1.1 * mixed(4))
    assert seen.per_second > 0.85 * four_each
    assert seen.calls[8] < 0.05 * seen.calls.total()


def test_preferred_sizes_are_shared_where_a_smaller_one_fits() -> None:
    loop: dict[str, Any] = {"single_call": True, "noise": 0.05, "slowdown": contending, "max_delay_s": 0.002}
    shared = closed_loop(linear, 8, 2, preferred_sizes=(4, 8), **loop)
    kept = closed_loop(linear, 8, 2, preferred_sizes=(8,), **loop)
    assert shared.per_second > 0.9 * 2 / 1.1 / 0.010
    assert set(kept.calls) == {8}, "where there is one preferred size, idle instances do not divide it"


def test_instances_that_only_slow_each_other_down_leave_a_batch_whole() -> None:
    """Two instances on one GPU that computes for one at a time: two halves would take longer than the whole batch."""
    options: dict[str, Any] = {"single_call": True, "noise": 0.1, "slowdown": lambda instances: max(1, instances), "max_delay_s": 0.002}
    seen = closed_loop(like_a_gpu, 8, 2, warm_up_s=10.0, **options)
    assert seen.per_second > 0.9 * 8 / like_a_gpu(8)


_costs = st.sampled_from([linear, like_a_gpu, of_a_cache, mixed])


@settings(max_examples=10)
@given(
    _costs,
    st.integers(2, 16),
    st.integers(2, 4),
    st.sampled_from([{}, {"max_delay_s": 0.002}, {"preferred_sizes": (2, 4, 8), "max_delay_s": 0.002}]),
    st.booleans(),
    st.integers(0, 1000),
)
def test_sharing_never_costs_throughput(
    cost: Callable[[int], float], clients: int, instances: int, batching: dict[str, Any], single_call: bool, seed: int
) -> None:
    options: dict[str, Any] = {
        "measured": () if single_call else MEASURED,
        "single_call": single_call,
        "noise": 0.05,
        "slowdown": contending,
        **batching,
    }
    shared = closed_loop(cost, clients, instances, seed=seed, **options)
    assert shared.per_second > 0.85 * one_takes_all(cost, clients, instances, seed=seed, **options).per_second


@pytest.mark.parametrize("cost", [linear, of_a_cache])
@pytest.mark.parametrize("instances", [1, 2])
@pytest.mark.parametrize("noise", [0.02, 0.12])
def test_where_merging_gains_nothing_no_request_waits_for_others(cost: Callable[[int], float], instances: int, noise: float) -> None:
    for seed in range(3):
        seen = closed_loop(cost, 8, instances, measured=MEASURED, noise=noise, slowdown=contending, seed=seed)
        assert seen.latency_s(99) < 1.5 * seen.latency_s(50)
        assert seen.per_second > 0.95 * instances / cost(1) / contending(instances)
        merged = sum(size * count for size, count in seen.calls.items() if size > 1)
        assert merged < 0.3 * len(seen.latencies_s), "trying larger batches has a budget"


@settings(max_examples=8)
@given(st.sampled_from([like_a_gpu, mixed]), st.booleans(), st.sampled_from([8, 32]), st.integers(0, 1000))
def test_where_merging_gains_the_best_size_is_found_quickly(cost: Callable[[int], float], single_call: bool, limit: int, seed: int) -> None:
    seen = closed_loop(cost, 64, 1, limit=limit, measured=() if single_call else MEASURED, single_call=single_call, noise=0.1, seed=seed)
    assert seen.per_second > 0.8 * limit / cost(limit)

"""Quantiles of the last minute."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.telemetry.summary import QUANTILES, Summary


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_quantiles_are_those_of_the_values(values: list[float]) -> None:
    summary = Summary()
    for value in values:
        summary.add(value, 5.0)
    expected = np.quantile(values, QUANTILES, method="inverted_cdf")
    assert [value for _, value in summary.quantiles(6.0)] == pytest.approx(list(expected))
    assert (summary.count, summary.total) == (len(values), pytest.approx(sum(values)))


def test_values_leave_after_a_minute_and_count_and_sum_stay() -> None:
    summary = Summary()
    for at in range(0, 120, 10):
        summary.add(float(at), float(at))
    assert dict(summary.quantiles(119.0, [0.0, 1.0])) == {0.0: 60.0, 1.0: 110.0}
    assert (summary.count, summary.total) == (12, 660)
    assert all(math.isnan(value) for _, value in summary.quantiles(1000.0))


def test_many_values_take_little_memory_and_keep_their_weight() -> None:
    summary = Summary()
    for value in range(50_000):
        summary.add(value / 50_000, 1.0)
    for _ in range(50_000):
        summary.add(2.0, 13.0)
    found = dict(summary.quantiles(14.0, [0.25, 0.49, 0.51]))
    assert found[0.25] == pytest.approx(0.5, abs=0.1)
    assert found[0.49] < 1.1
    assert found[0.51] > 0.9
    assert sum(len(values) for _, _, values in summary._slices) + len(summary._current) <= 2000

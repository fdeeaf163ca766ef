"""Buckets of the time until the first response, as a model's configuration asks for them."""

from typing import Any

import pytest

from hubserve.errors import LoadFailed
from hubserve.gateway.first_responses import FAMILY, first_response_histogram


def bounds(config: dict[str, Any] | None) -> list[str]:
    return [bound for bound, _ in first_response_histogram("m", config).cumulative()]


def control(family: str, *buckets: float) -> dict[str, Any]:
    return {"metric_identifier": {"family": family}, "histogram_options": {"buckets": list(buckets)}}


@pytest.mark.parametrize("config", [None, {}, {"model_metrics": {}}, {"model_metrics": {"metric_control": [control("other", 1), {}]}}])
def test_a_model_that_asks_for_none_has_tritons(config: dict[str, Any] | None) -> None:
    assert bounds(config) == ["100.0", "500.0", "2000.0", "5000.0", "+Inf"]


def test_a_model_may_have_buckets_of_its_own() -> None:
    assert bounds({"model_metrics": {"metric_control": [control("other", 7), control(FAMILY, -1, 0, 2.5)]}}) == [
        "-1.0",
        "0.0",
        "2.5",
        "+Inf",
    ]


@pytest.mark.parametrize("buckets", [(2, 1), (1, 1)])
def test_buckets_that_do_not_ascend_are_refused(buckets: tuple[float, ...]) -> None:
    with pytest.raises(LoadFailed, match="must ascend"):
        first_response_histogram("m", {"model_metrics": {"metric_control": [control(FAMILY, *buckets)]}})

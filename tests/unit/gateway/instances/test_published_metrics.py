"""Metrics of modules: what the gateway keeps, sums and refuses."""

import asyncio
from typing import Any

import pytest

from hubserve.gateway.instances.frame_checks import check_side_frame
from hubserve.gateway.instances.published_metrics import InstanceMetrics, ModuleMetrics, Point, merged
from hubserve.wire import model_metrics as limits
from hubserve.wire.frames import WireError

SERIES: dict[str, Any] = {"labels": {"a": "1"}, "value": 2.0}
SIZES: dict[str, Any] = {"labels": {}, "value": 2.0, "buckets": [1.0, 2.0], "counts": [0, 1, 0]}


def family(*series: dict[str, Any], kind: str = "counter", **changed: Any) -> dict[str, Any]:
    return {"name": "done", "description": "how many", "kind": kind, "series": list(series), **changed}


def instance(*families: dict[str, Any]) -> InstanceMetrics:
    metrics = InstanceMetrics(lambda: None)
    metrics.apply(list(families))
    return metrics


@pytest.mark.parametrize(
    "wrong",
    [
        family(SERIES, name="größe"),
        family(SERIES, name="done\n"),
        family(SERIES, name="nv_inference_count"),
        family(SERIES, name="process_cpu_seconds"),
        family(SERIES, name=1),
        family(SERIES, kind="summary"),
        family(SERIES, description="x" * 1001),
        family(SERIES, description="a\nb"),
        family({**SERIES, "labels": {"a b": "1"}}),
        family({**SERIES, "labels": {"__a": "1"}}),
        family({**SERIES, "labels": {"a\n": "1"}}),
        family({**SERIES, "labels": {"a": 1}}),
        family({**SERIES, "labels": {"a": "x" * 257}}),
        family({**SERIES, "labels": {"a": "\ud800"}}),
        family({**SERIES, "labels": {"a": "\r"}}),
        family({**SERIES, "labels": {f"a{each}": "" for each in range(17)}}),
        family({**SERIES, "value": "2"}),
        family({**SERIES, "counts": [1]}),
        family(SIZES),
        family(SERIES, kind="histogram"),
        family({**SIZES, "labels": {"le": "1"}}, kind="histogram"),
        family({**SIZES, "counts": [0, 1]}, kind="histogram"),
        family({**SIZES, "counts": [0, -1, 0]}, kind="histogram"),
        family({**SIZES, "buckets": [2.0, 1.0]}, kind="histogram"),
        family({**SIZES, "buckets": [1.0, float("nan")]}, kind="histogram"),
        family({**SIZES, "buckets": [1.0, float("inf")]}, kind="histogram"),
        family(*[SERIES] * (limits.MAX_SERIES + 1)),
    ],
)
def test_what_cannot_be_published_is_refused(wrong: dict[str, Any]) -> None:
    check_side_frame({"op": "metrics", "families": [family(SERIES), family(SIZES, kind="histogram")], "buffers": []})
    with pytest.raises(WireError):
        check_side_frame({"op": "metrics", "families": [family(SERIES), wrong], "buffers": []})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (family(SERIES), family(SERIES, kind="gauge")),
        (family(SERIES), family({**SERIES, "value": 1.0})),
        (family(SERIES), family({**SERIES, "value": float("nan")})),
        (family(), family({**SERIES, "value": -1.0})),
        (family(SIZES, kind="histogram"), family({**SIZES, "counts": [0, 0, 1]}, kind="histogram")),
        (family(SIZES, kind="histogram"), family({**SIZES, "buckets": [1.0, 3.0]}, kind="histogram")),
    ],
)
def test_what_contradicts_earlier_values_is_refused(first: dict[str, Any], second: dict[str, Any]) -> None:
    metrics = instance(first)
    with pytest.raises(WireError, match="done"):
        metrics.apply([second])


@pytest.mark.parametrize("more", ["series", "families", "numbers"])
def test_series_are_bounded_over_all_frames(more: str) -> None:
    metrics = instance()
    wide = {"buckets": [float(each) for each in range(100)], "counts": [0] * 101}

    def publish_another(number: int) -> None:
        labels = {"a": str(number)}
        if more == "numbers":
            metrics.apply([family({"labels": labels, "value": 0.0, **wide}, kind="histogram")])
        elif more == "families":
            metrics.apply([family(name=f"done{number}")])
        else:
            metrics.apply([family({"labels": labels, "value": 0.0})])

    def publish_without_end() -> None:
        for number in range(limits.MAX_SERIES + 1):
            publish_another(number)

    with pytest.raises(WireError, match="too many"):
        publish_without_end()
    assert len(metrics.series) <= limits.MAX_SERIES + 1


def test_counts_of_ended_instances_are_kept_within_bounds_and_their_gauges_are_not() -> None:
    module = ModuleMetrics("m")
    for number in range(3):
        series = [{"labels": {"instance": f"{number}-{each}"}, "value": 1.0} for each in range(400)]
        ended = instance(family(SERIES, *series), family({"labels": {}, "value": 7.0}, name="level", kind="gauge"))
        module.add(ended)
        ended.end()
        ended.end()
    points = dict(module.points())
    assert len(points) == limits.MAX_SERIES
    assert points["done", (("a", "1"),)].value == 6
    assert not [name for name, _ in points if name == "level"]


def test_an_instance_that_ended_before_it_was_added_counts_once() -> None:
    module, ended = ModuleMetrics("m"), instance(family(SERIES))
    ended.end()
    module.add(ended)
    assert [point.value for _, point in module.points()] == [2]
    assert not module.live()


def test_histograms_with_other_buckets_are_left_out() -> None:
    one, other = Point("histogram", "", 3.0, (1.0,), (1, 2)), Point("histogram", "", 5.0, (2.0,), (3, 4))
    assert merged([one, other, one]) == Point("histogram", "", 6.0, (1.0,), (2, 4))


def test_of_gauges_the_one_set_last_counts() -> None:
    added, early, late = (
        Point("gauge", "", 1.0, at=9.0),
        Point("gauge", "", 2.0, was_set=True, at=1.0),
        Point("gauge", "", 3.0, was_set=True, at=2.0),
    )
    assert merged([added, late, early]).value == 3
    assert merged([added, added]).value == 2


def test_one_that_is_asked_answers_once_it_has_published_or_ended() -> None:
    async def scenario() -> None:
        asked: list[int] = []
        metrics = InstanceMetrics(lambda: asked.append(1))
        first = metrics.ask()
        assert metrics.ask() is first
        assert (metrics.is_asked, len(asked)) == (True, 1)
        metrics.apply([])
        await asyncio.wait_for(first, 5)
        assert not metrics.is_asked
        second = metrics.ask()
        metrics.end()
        await asyncio.wait_for(second, 5)

    asyncio.run(scenario())

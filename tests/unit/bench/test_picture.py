"""The chart: an XML document with every point in its place."""

from typing import Any
from xml.etree import ElementTree

import pytest

from hubserve.bench.picture import draw, linear_ticks, log_ticks

SVG = "{http://www.w3.org/2000/svg}"


def step(batch_size: int, connections: int, items_per_s: float, p50: float | None, p99: float | None) -> dict[str, Any]:
    return {"batch_size": batch_size, "connections": connections, "items_per_s": items_per_s, "latency_ms": {"p50": p50, "p99": p99}}


def document(*steps: dict[str, Any]) -> dict[str, Any]:
    return {
        "module": "a<b>&c",
        "version": "1.0.0",
        "engine": None,
        "instances": 1,
        "payloads": [{"kind": "json"}],
        "settings": {"loop": "closed"},
        "steps": list(steps),
    }


def test_a_chart_is_well_formed_and_has_two_lines_for_each_batch_size() -> None:
    steps = [step(1, 1, 80, 11, 20), step(1, 4, 95, 40, 60), step(8, 1, 90, 100, 150), step(8, 4, 90, None, None)]
    root = ElementTree.fromstring(draw(document(*steps)))
    assert "a<b>&c 1.0.0" in "".join(root.itertext())
    lines = [each.attrib["points"].split() for each in root.iter(f"{SVG}polyline")]
    assert [len(each) for each in lines] == [2, 2, 1, 1]
    circles = [(float(each.attrib["cx"]), float(each.attrib["cy"])) for each in root.iter(f"{SVG}circle")]
    width, height = (float(root.attrib[key]) for key in ("width", "height"))
    assert len(circles) == 6
    assert all(0 < left < width and 0 < top < height for left, top in circles)
    assert circles[0][0] < circles[1][0]  # more items a second: further right
    assert circles[0][1] > circles[2][1]  # p99 is above p50


def test_nothing_measured_is_an_empty_chart() -> None:
    root = ElementTree.fromstring(draw(document()))
    assert [*root.iter(f"{SVG}circle")] == []


@pytest.mark.parametrize("high", [0.003, 0.9, 1.0, 7.3, 99.9, 100.0, 2_345_678.0])
def test_linear_ticks_reach_over_the_highest_value(high: float) -> None:
    ticks = linear_ticks(high)
    assert ticks[0] == 0
    assert high <= ticks[-1] * 1.000001
    assert ticks[-2] < high
    assert 3 <= len(ticks) <= 11


@pytest.mark.parametrize(
    ("low", "high", "ticks"), [(3, 40, [2, 5, 10, 20, 50]), (1, 1, [1, 2]), (0.25, 0.3, [0.2, 0.5]), (10, 20, [10, 20])]
)
def test_log_ticks_enclose_all_values(low: float, high: float, ticks: list[float]) -> None:
    assert log_ticks(low, high) == pytest.approx(ticks)

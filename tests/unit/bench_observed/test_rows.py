"""Medians, ratios and promises of ``bench/observability.py``; its servers and loads are run by itself."""

from typing import Any

import pytest

from bench.observability import broken_promises, rows
from bench.observed.asking import Seen
from bench.observed.variants import VARIANTS, Place
from hubserve.settings import parse_settings


def seen(per_s: float, processor_us: float) -> Seen:
    return Seen(per_s, 1.0, 2.0, processor_us)


def test_medians_and_ratios_are_those_of_rounds() -> None:
    bare = [seen(100, 50), seen(1000, 100), seen(1100, 110)]
    every = [seen(50, 100), seen(450, 150), seen(440, 330)]
    both = rows({("a", "bare"): bare, ("a", "all"): every, ("b", "bare"): [seen(10, 1)]})
    assert [(row["task"], row["variant"], row["per_s"]) for row in both] == [("a", "bare", 1000), ("a", "all", 440), ("b", "bare", 10)]
    assert [(row["kept"], row["processor_ratio"]) for row in both] == [(1, 1), (0.45, 2), (1, 1)]


@pytest.mark.parametrize(
    ("task", "per_s", "processor_us", "is_broken"),
    [
        ("do-nothing, /predict, 1 in flight", 80, 120, False),
        ("do-nothing, /predict, 1 in flight", 70, 120, True),
        ("do-nothing, gRPC, 1 in flight", 100, 140, True),
        ("do-nothing, gRPC, 8 in flight", 100, 140, False),
        ("classifier, gRPC, 4 in flight", 99, 140, False),
        ("classifier, gRPC, 4 in flight", 97, 100, True),
    ],
)
def test_a_promise_is_broken_by_requests_that_cost_too_much(task: str, per_s: float, processor_us: float, is_broken: bool) -> None:
    measured = {(task, name): [each] for name, each in (("bare", seen(100, 100)), ("all", seen(per_s, processor_us)), ("tls", seen(1, 1)))}
    broken = broken_promises(rows(measured))
    assert [each.startswith(f"{task}: ") for each in broken] == [True] * is_broken


@pytest.mark.parametrize("name", VARIANTS)
def test_the_settings_of_each_variant_exist(name: str, tmp_path: Any) -> None:
    place = Place(tmp_path, "http://127.0.0.1:4318", "keys.json", "server.pem", "server.key")
    parse_settings({"modules_info": {"m": {}}, "grpc_port": 1, "metrics": False, **VARIANTS[name].settings(place)}, "test")

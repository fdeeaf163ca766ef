"""The document and the table, from rounds whose figures are known."""

import json
from typing import Any

import pytest

from hubserve.bench import report
from hubserve.bench.load import Pattern, Timing
from hubserve.bench.loops import ServerAddress
from hubserve.bench.payloads import Payload
from hubserve.bench.processes import Usage
from hubserve.bench.recorder import Counted
from hubserve.bench.sweep import Measured, Round, Settings, Step
from hubserve.bench.target import Target

STATUS = {"name": "toy", "version": "1.0.0", "engine": {"name": "paddle"}, "instances": [{"pid": 7}, {"pid": None}]}
TARGET = Target(ServerAddress("127.0.0.1", 80), "0.1.0", STATUS, 1)


def one(answered: int, latencies_s: list[float], share: float = 0.1, usage: Usage | None = None, **failures: int) -> Round:
    return Round(Counted(2.0, answered, latencies_s, {key: (count, f"why {key}") for key, count in failures.items()}, share), usage)


def document(measured: Measured, *patterns: Pattern, sizes: tuple[int, ...] = (1,)) -> dict[str, Any]:
    payloads = [Payload("raw", size, b"", 100 * size) for size in sizes]
    made = report.make_document(TARGET, payloads, Settings(patterns, 3, Timing(1.0, 2.0, 30.0)), measured)
    json.dumps(made, allow_nan=False)
    return made


def test_a_steps_figures_are_medians_its_errors_sums_and_its_maximum_the_highest() -> None:
    pattern = Pattern(connections=4)
    rounds = [
        one(20, [0.001, 0.002], usage=Usage(0.5, 10_000_000), timeout=1),
        one(40, [0.004, 0.009], usage=Usage(2.0, 20_000_000)),
        one(30, [0.002, 0.003], usage=Usage(3.0, 30_000_000), timeout=2, refused=1),
    ]
    made = document(Measured(rounds={Step(8, pattern): rounds}, raw={8: [100.0, 150.0, 200.0]}), pattern, sizes=(8,))
    (step,) = made["steps"]
    assert (step["requests_per_s"], step["items_per_s"], step["share_of_raw"]) == (15.0, 120.0, 0.8)
    assert step["latency_ms"] == pytest.approx({"p50": 2.0, "p90": 3.0, "p99": 3.0, "max": 9.0})
    assert step["cpu_s_per_1000_requests"] == pytest.approx(50.0)
    assert step["resident_mb"] == 30.0
    assert [(each["status"], each["count"]) for each in step["errors"]] == [("timeout", 3), ("refused", 1)]
    titles, rows = report.table(made)
    assert titles == ["batch", "conns", "req/s", "items/s", "p50", "p90", "p99", "max", "errors", "cpu s", "MB", "of raw"]
    assert rows == [["8", "4", "15.00", "120.0", "2.00", "3.00", "3.00", "9.00", "4", "50.00", "30", "0.80"]]
    assert "3 errors at batch 8, 4 connections: timeout: why timeout" in report.footnotes(made)
    assert "median of 3 rounds of 2 s" in report.heading(made)


def test_what_is_not_known_is_a_dash_and_says_why() -> None:
    pattern = Pattern(rate_per_s=5.0)
    made = document(Measured(rounds={Step(1, pattern): [one(0, [])]}, raw_left_out="it is far away"), pattern)
    titles, rows = report.table(made)
    assert titles == ["rate/s", "req/s", "p50", "p90", "p99", "max", "cpu s", "MB"]
    assert rows == [["5", "0.00", "-", "-", "-", "-", "-", "-"]]
    notes = report.footnotes(made)
    assert "raw is left out: it is far away" in notes
    assert any("give more --seconds" in each for each in notes)


@pytest.mark.parametrize(("share", "reported"), [(0.5, False), (0.93, True)])
def test_a_client_that_is_the_bottleneck_is_reported(share: float, reported: bool) -> None:
    pattern = Pattern(connections=1)
    made = document(Measured(rounds={Step(1, pattern): [one(9, [0.1], share)]}), pattern)
    assert any("this client itself used 93% of its core" in each for each in report.footnotes(made)) == reported
    assert (made["notes"] != []) == reported

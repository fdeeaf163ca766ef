"""The stress programs: they run, they count every request, and they tell a wrong answer from a right one."""

import asyncio
import itertools
import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from bench.stress.calls import Call, expecting, post_array, post_json
from bench.stress.client import Client, Tally, closed_loop, open_loop
from bench.stress.report import growth_promise, percentile, print_report
from bench.stress.rude import GARBAGE
from tests.conftest import ROOT, Server, Start, toy


def stress(program: str, *options: str) -> dict[str, Any]:
    """What a program found. Its status is not looked at: it depends on times and memory, which a test machine does not promise."""
    command = [sys.executable, str(ROOT / "bench" / f"{program}.py"), *options, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def found(report: dict[str, Any], promise: str) -> bool | None:
    return next(each["held"] for each in report["promises"] if promise in each["text"])


@pytest.mark.slow
def test_batching_answers_every_request_with_its_own_double() -> None:
    report = stress("batching", "--rates", "100", "--rounds", "1", "--seconds", "1")
    (row,) = report["rows"]
    assert row["sent"] == row["right"] > 50
    assert (report["failures"], found(report, "none lost")) == ([], True)


@pytest.mark.slow
def test_soak_sends_exactly_what_it_is_told_and_leaves_no_descriptor_behind() -> None:
    report = stress("soak", "--small", "300", "--large", "20")
    (row,) = report["rows"]
    assert (row["sent"], row["right"], report["failures"]) == (320, 320, [])
    assert found(report, "as many descriptors")
    assert found(report, "no instance was replaced")
    assert report["samples"]


@pytest.mark.slow
def test_an_overloaded_module_answers_or_refuses_and_loses_nothing() -> None:
    report = stress("overload", "--seconds", "1", "--look-seconds", "0.3", "--times", "4")
    assert found(report, "answered right, or refused")
    assert report["failures"] == []
    overload = next(row for row in report["rows"] if row["load"] == "4 times that")
    assert overload["sent"] == overload["right"] + overload["refused"]
    assert overload["refused"] > 0


@pytest.mark.slow
def test_chaos_loses_no_answer_while_instances_are_killed_and_clients_send_garbage() -> None:
    options = ["--minutes", "0.1", "--load", "0.2", "--look-seconds", "0.5", "--without", "hang,leak,install,reload,swap,announce,reader"]
    report = stress("chaos", *options)
    assert found(report, "no failed or wrong answer"), report["failures"]
    assert found(report, "no unexpected error")
    assert found(report, "a request that raises gets its error")
    assert found(report, "garbage of 50 clients")
    assert found(report, "every module answers 2 s after the last fault")
    carried_out = {event["part"] for event in report["events"] if not event["failed"]}
    assert carried_out >= {"kill", "deep", "fork", "descriptors", "frames"}
    assert sum(report["rude_clients"].values()) > len(GARBAGE)


def numbers(factor: float) -> list[Call]:
    """Requests for 1.0 and 2.0, the second of which is expected to be multiplied by ``factor``."""
    raw = [post_array("doubler", np.full((1, 1), value, np.float32)) for value in (1, 2)]
    return [
        Call(raw[0], expecting(lambda results: results["y"] == [[2.0]])),
        Call(raw[1], expecting(lambda results: results["y"] == [[2.0 * factor]])),
    ]


def ask(port: int, calls: list[Call], count: int, rate_per_s: float = 0.0) -> Tally:
    async def run() -> Tally:
        async with Client(port, max_connections=4) as client:
            some = itertools.islice(itertools.cycle(calls), count)
            return await (open_loop(client, some, rate_per_s, 60) if rate_per_s else closed_loop(client, some, 3))

    return asyncio.run(run())


@pytest.mark.parametrize("rate_per_s", [0.0, 200.0], ids=["closed loop", "open loop"])
def test_a_wrong_answer_is_a_failure_that_tells_its_time_status_and_text(toys: Server, rate_per_s: float) -> None:
    right = ask(toys.port, numbers(2.0), 20, rate_per_s)
    assert (right.sent, right.right, right.failures, right.lost) == (20, 20, [], 0)
    half_wrong = ask(toys.port, numbers(3.0), 20, rate_per_s)
    assert (half_wrong.sent, half_wrong.right, half_wrong.failure_count, half_wrong.lost) == (20, 10, 10, 0)
    assert half_wrong.failures[0].status == 200
    assert half_wrong.failures[0].text.startswith("wrong answer: {'y': [[4.0]]")


def test_a_refusal_is_a_failure_unless_it_is_allowed_and_so_is_a_server_that_is_gone(start: Start) -> None:
    server = start({"faulty": {**toy("faulty", delay_s=0.2), "max_queue_size": 1}})
    calls = [Call(post_json("faulty", {"text": "x"}), expecting(lambda results: results["text"] == "x"))]

    async def run(allow_refusals: bool) -> Tally:
        async with Client(server.port) as client:
            return await open_loop(client, itertools.islice(itertools.cycle(calls), 20), 200, 60, allow_refusals=allow_refusals)

    allowed, forbidden = asyncio.run(run(True)), asyncio.run(run(False))
    assert (allowed.failure_count, allowed.right + len(allowed.refused_s)) == (0, 20)
    assert {each.status for each in forbidden.failures} == {429}
    server.process.kill()
    server.process.wait()
    gone = ask(server.port, calls, 5)
    assert (gone.failure_count, gone.lost) == (5, 0)
    assert "cannot connect" in gone.failures[0].text


def test_an_open_loops_latency_counts_from_the_intended_arrival(start: Start) -> None:
    server = start({"faulty": toy("faulty", delay_s=0.1)})
    calls = [Call(post_json("faulty", {}), expecting(lambda _: True))]

    async def run() -> Tally:
        async with Client(server.port, max_connections=1) as client:  # so that requests wait in the client
            return await open_loop(client, itertools.islice(itertools.cycle(calls), 5), 1000, 60)

    tally = asyncio.run(run())
    assert tally.right == 5
    assert tally.late >= 4
    assert sorted(tally.latencies_s) == tally.latencies_s, "each waited for all before it"


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(each) for each in range(1, 201)]
    assert [percentile(values, percent) for percent in (0, 50, 99, 100)] == [1.0, 100.0, 198.0, 200.0]


@pytest.mark.parametrize(("last_mb", "held"), [([104.0], True), ([106.0, 106.0, 90.0], False), ([0.0], False)])
def test_memory_that_grows_breaks_the_promise_and_with_it_the_status(
    last_mb: list[float], held: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    promise = growth_promise("gateway", [100.0, 99.0, 101.0], last_mb)
    assert promise.held is held
    assert print_report("title", [{"figure": 1.0}], [promise], {"failures": [{"text": "why"}]}, as_json=False) == (0 if held else 1)
    printed = capsys.readouterr().out
    assert 'failed: {"text": "why"}' in printed
    assert ("NO" in printed) is not held

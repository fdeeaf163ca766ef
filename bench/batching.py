"""Latency of a module that is quicker per item in larger batches, as a GPU is, under requests that come at random moments.

The module sleeps 10 ms for each batch and 1 ms for each item in it. Every request holds one item, and its answer is checked.

    python bench/batching.py
    python bench/batching.py --sweep
"""

import argparse
import asyncio
import itertools
import statistics
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import uvloop
from stress.calls import Call, expecting, post_array
from stress.client import Client, Tally, open_loop
from stress.report import Promise, print_report
from stress.server import add_server_options, folder_of, running_server

#: requests/s -> the 99th percentile in ms that is promised
P99_LIMITS_MS = {400.0: 45.0, 650.0: 85.0}
SWEEP = "50,100,200,300,400,500,600,650,700,750"
_KINDS_OF_CALLS = 1024


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(description="p99 of a GPU-like module at Poisson rates; ends with 1 if a promise does not hold")
    parser.add_argument("--rates", default="400,650", help="requests/s (default %(default)s; these two have limits)")
    parser.add_argument("--sweep", action="store_const", const=SWEEP, dest="rates", help=f"the rates {SWEEP}")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, of which medians are taken (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="length of a round (default %(default)s)")
    add_server_options(parser)
    args = parser.parse_args()
    rates = [float(each) for each in args.rates.split(",")]
    modules = {"gpu_like": {"init_args": {"directory": folder_of("gpu_like")}, "workers": 1}}
    with running_server(modules, log=args.log, guarded=args.guarded) as server:
        tallies = uvloop.run(measure(server.port, rates, args.rounds, args.seconds))
    rows = [row(rate, tallies[rate]) for rate in rates]
    promises = [promise for rate in rates for promise in promises_for(rate, tallies[rate])]
    failures = [failure for each in tallies.values() for tally in each for failure in tally.failures]
    title = (
        f"gpu_like: 10 ms + 1 ms per item, one item in a request, Poisson arrivals, medians of {args.rounds} rounds of {args.seconds:g} s"
    )
    return print_report(title, rows, promises, {"failures": failures}, as_json=args.json)


async def measure(port: int, rates: list[float], rounds: int, seconds: float) -> dict[float, list[Tally]]:
    """Measure the rounds of each rate; the rates alternate."""
    tallies: dict[float, list[Tally]] = {rate: [] for rate in rates}
    async with Client(port) as client:
        await open_loop(client, calls(), min(rates), min(1.0, seconds))
        for number in range(rounds):
            for rate in rates:
                tallies[rate].append(await open_loop(client, calls(), rate, seconds, seed=number))
                await asyncio.sleep(0.2)
    return tallies


def calls() -> Iterator[Call]:
    """Yield requests of one item each without end; each has a different answer."""
    return itertools.cycle([_call(float(value)) for value in range(1, _KINDS_OF_CALLS + 1)])


def _call(value: float) -> Call:
    raw = post_array("gpu_like", np.full((1, 1), value, np.float32))
    return Call(raw, expecting(lambda results: len(results) == 1 and results[0][0] == 2 * value))


def row(rate: float, rounds: list[Tally]) -> dict[str, Any]:
    """Return the table row of a rate."""
    return {
        "requests/s": rate,
        "sent": sum(each.sent for each in rounds),
        "right": sum(each.right for each in rounds),
        "lost or wrong": lost(rounds),
        "p50, ms": statistics.median(each.latency_ms(50) for each in rounds),
        "p90, ms": statistics.median(each.latency_ms(90) for each in rounds),
        "p99, ms": statistics.median(each.latency_ms(99) for each in rounds),
        "sent late": sum(each.late for each in rounds),
    }


def lost(rounds: list[Tally]) -> int:
    """Count the requests without a correct answer."""
    return sum(each.failure_count + each.lost for each in rounds)


def promises_for(rate: float, rounds: list[Tally]) -> list[Promise]:
    """Return the promises for a rate: every answer is correct, and some rates have a latency limit."""
    kept = [
        Promise(f"{rate:g}/s: none lost, every answer right", f"{lost(rounds)} of {sum(each.sent for each in rounds)}", lost(rounds) == 0)
    ]
    limit_ms = P99_LIMITS_MS.get(rate)
    if limit_ms:
        p99_ms = statistics.median(each.latency_ms(99) for each in rounds)
        kept.append(Promise(f"{rate:g}/s: p99 under {limit_ms:g} ms", f"{p99_ms:.1f} ms", p99_ms < limit_ms))
    return kept


if __name__ == "__main__":
    sys.exit(main())

"""Ten times as many requests as a module can answer: what becomes of the admitted and of the refused ones, and what comes afterwards.

The module sleeps 5 ms in each call, has two instances, and its calls are not merged. First, full load is looked for: the fewest
connections in a closed loop that reach 98% of the best rate, so that no instance waits for its next request. Then the server is started
again with a queue as long as the promise allows, and overloaded.

    python bench/overload.py
"""

import argparse
import asyncio
import itertools
import math
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import uvloop
from stress.calls import Call, expecting, post_json
from stress.client import Client, Tally, closed_loop, open_loop
from stress.processes import MemoryLog, cpu_s
from stress.report import Promise, percentile, print_report
from stress.server import Server, add_server_options, folder_of, running_server

INSTANCES = 2
#: accepted requests' p99, as a multiple of that at full load
LIMIT_FACTOR = 3.0
#: what the queue alone may make of it; the rest is for a gateway that has ten times as many requests to read and refuse
QUEUE_FACTOR = 2.0
REFUSAL_LIMIT_MS = 20.0
MEMORY_FACTOR = 1.5
RECOVERY_S = 2.0
#: of the best rate: the module is saturated
_SATURATED = 0.98
#: of the rate at full load, for requests that come at random moments
_POISSON_SHARE = 0.95
#: of the rate at full load: full speed, as short stretches show it
_FULL_SPEED = 0.9
_TRIED_CONNECTIONS = (2, 3, 4, 6, 8, 12)
_AFTERWARDS_S = 3.0
_BUCKET_S = 0.5


class FullLoad(NamedTuple):
    """The module at its limit.

    Attributes:
        connections: requests in flight.
        rate_per_s: answers.
        p99_s: of their latency.
    """

    connections: int
    rate_per_s: float
    p99_s: float


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(description="a module under a multiple of its full load; ends with 1 if a promise does not hold")
    parser.add_argument("--seconds", type=float, default=60, help="length of the overload (default %(default)s)")
    parser.add_argument("--times", type=float, default=10, help="of full load (default %(default)s)")
    parser.add_argument("--delay-ms", type=float, default=5, help="that each call takes (default %(default)s)")
    parser.add_argument("--look-seconds", type=float, default=3, help="length of each look for full load (default %(default)s)")
    parser.add_argument(
        "--full-load",
        choices=("closed", "open"),
        default="closed",
        help="its p99: of the closed loop, or of Poisson arrivals at 95%% of its rate",
    )
    add_server_options(parser)
    args = parser.parse_args()
    with running_server(modules(args.delay_ms), guarded=args.guarded) as server:
        full, looks = uvloop.run(find_full_load(server.port, args.look_seconds, args.full_load))
    queue = queue_size(full, args.delay_ms / 1000)
    with running_server(modules(args.delay_ms, queue), log=args.log, guarded=args.guarded) as server:
        found = uvloop.run(overload(server, full, args.times, args.seconds))
    rows = [*looks, *found["rows"]]
    promises = judge(found, full)
    title = f"sleeper: {args.delay_ms:g} ms a call, {INSTANCES} instances, not merged; max_queue_size {queue}"
    details = {"failures": found["tally"].failures, "full_load": full._asdict(), "samples": found["memory"].to_json()}
    return print_report(title, rows, promises, details, as_json=args.json)


def modules(delay_ms: float, max_queue_size: int = 0) -> dict[str, Any]:
    """Return the config's ``modules_info``."""
    settings: dict[str, Any] = {"init_args": {"directory": folder_of("sleeper"), "delay_ms": delay_ms}, "workers": INSTANCES}
    if max_queue_size:
        settings["max_queue_size"] = max_queue_size
    return {"sleeper": settings}


def queue_size(full: FullLoad, delay_s: float) -> int:
    """Return the queue size at which the last waiting request is still in time.

    By Little's law a queue of n requests is a wait of n / rate. Wait and call together may take QUEUE_FACTOR times the p99 at full load,
    and besides the queue each instance may have been sent one request ahead of the one that it computes.
    """
    allowed_wait_s = QUEUE_FACTOR * full.p99_s - delay_s
    return max(1, math.floor(full.rate_per_s * allowed_wait_s) - INSTANCES)


def calls() -> Iterator[Call]:
    """Yield requests without end."""
    return itertools.cycle([_call(number) for number in range(1, 1025)])


def _call(number: int) -> Call:
    is_right = expecting(lambda results: results == 2 * number)
    return Call(post_json("sleeper", {"number": number}), is_right)


async def find_full_load(port: int, seconds: float, kind: str) -> tuple[FullLoad, list[dict[str, Any]]]:
    """Find the fewest connections that saturate the module; return a table row for each try, too."""
    tallies: dict[int, Tally] = {}
    async with Client(port) as client:
        await closed_loop(client, calls(), INSTANCES, 0.5)
        for connections in _TRIED_CONNECTIONS:
            tallies[connections] = await closed_loop(client, calls(), connections, seconds)
        rates = {connections: tally.rate_per_s(0, seconds) for connections, tally in tallies.items()}
        fewest = next(connections for connections in _TRIED_CONNECTIONS if rates[connections] >= _SATURATED * max(rates.values()))
        full = FullLoad(fewest, rates[fewest], tallies[fewest].latency_ms(99) / 1000)
        rows = [
            row(f"{connections} connections", tally, rates[connections]) for connections, tally in tallies.items() if connections <= fewest
        ]
        if kind == "open":
            tally = await open_loop(client, calls(), _POISSON_SHARE * full.rate_per_s, 3 * seconds)
            full = full._replace(p99_s=tally.latency_ms(99) / 1000)
            rows.append(row(f"Poisson at {_POISSON_SHARE:.0%}", tally, tally.rate_per_s(0, 3 * seconds)))
    return full, rows


async def overload(server: Server, full: FullLoad, times: float, seconds: float) -> dict[str, Any]:
    """Send full load for a moment, then the overload, then full load again."""
    gateway = server.process.pid
    pids = server.instance_pids("sleeper")
    memory = MemoryLog(gateway)
    async with Client(server.port) as client, Client(server.port) as other:
        await closed_loop(other, calls(), full.connections, _BUCKET_S)
        memory.take(0.0, pids)
        sampling = asyncio.create_task(_sample(memory, pids))
        cpu_before, own_before = cpu_s(gateway), time.process_time()
        tally = await open_loop(client, calls(), times * full.rate_per_s, seconds, allow_refusals=True, settle=False)
        busy = (cpu_s(gateway) - cpu_before) / seconds, (time.process_time() - own_before) / seconds
        # at once, and beside what is still unanswered: a backlog must show as a slow recovery
        afterwards = await closed_loop(other, calls(), full.connections, _AFTERWARDS_S, allow_refusals=True)
        await client.idle()
        sampling.cancel()
    rate, rate_afterwards = tally.rate_per_s(0, seconds), afterwards.rate_per_s(RECOVERY_S, _AFTERWARDS_S)
    rows = [row(f"{times:g} times that", tally, rate), row(f"afterwards, from {RECOVERY_S:g} s on", afterwards, rate_afterwards)]
    return {"rows": rows, "tally": tally, "afterwards": afterwards, "memory": memory, "busy": busy}


async def _sample(memory: MemoryLog, pids: list[int]) -> None:
    while True:
        await asyncio.sleep(0.1)
        memory.take(1.0, pids)


def row(what: str, tally: Tally, rate_per_s: float) -> dict[str, Any]:
    """Return the table row of a load."""
    return {
        "load": what,
        "sent": tally.sent,
        "right": tally.right,
        "right/s": rate_per_s,
        "p50, ms": tally.latency_ms(50),
        "p99, ms": tally.latency_ms(99),
        "refused": len(tally.refused_s),
        "refused, p99, ms": percentile(tally.refused_s, 99) * 1000 if tally.refused_s else "-",
        "wrong or lost": tally.failure_count + tally.lost,
        "sent late": tally.late,
    }


def recovered_after_s(afterwards: Tally, full: FullLoad) -> float:
    """Return the seconds until full speed was reached again: the end of the last slower stretch."""
    slow = [
        start
        for start in (number * _BUCKET_S for number in range(int(_AFTERWARDS_S / _BUCKET_S)))
        if afterwards.rate_per_s(start, start + _BUCKET_S) < _FULL_SPEED * full.rate_per_s
    ]
    return max(slow) + _BUCKET_S if slow else 0.0


def judge(found: dict[str, Any], full: FullLoad) -> list[Promise]:
    """Compare the results with the promises."""
    tally, afterwards, memory = found["tally"], found["afterwards"], found["memory"]
    p99_s, refused_ms = percentile(tally.latencies_s, 99), percentile(tally.refused_s, 99) * 1000
    before, peak = memory.gateway_mb()[0], max(memory.gateway_mb())
    bad = tally.failure_count + tally.lost + afterwards.failure_count
    late = tally.late / max(1, tally.sent)
    gateway_busy, client_busy = found["busy"]
    recovery_s = recovered_after_s(afterwards, full)
    return [
        Promise(
            "every request is answered right, or refused with 429 or 503", f"{bad} of {tally.sent + afterwards.sent} were not", bad == 0
        ),
        Promise(
            f"accepted: p99 within {LIMIT_FACTOR:g} times that at full load",
            f"{p99_s * 1000:.1f} ms, at full load {full.p99_s * 1000:.1f} ms ({p99_s / full.p99_s:.2f} times)",
            p99_s <= LIMIT_FACTOR * full.p99_s,
        ),
        Promise(
            f"refused: p99 under {REFUSAL_LIMIT_MS:g} ms",
            f"{refused_ms:.1f} ms of {len(tally.refused_s)}",
            refused_ms < REFUSAL_LIMIT_MS if tally.refused_s else None,
        ),
        Promise(
            f"the gateway's memory stays under {MEMORY_FACTOR:g} times what it was",
            f"{before:.1f} MB, at most {peak:.1f} MB",
            peak <= MEMORY_FACTOR * before,
        ),
        Promise(f"full speed again within {RECOVERY_S:g} s", f"after {recovery_s:g} s at most", recovery_s <= RECOVERY_S),
        Promise(
            "the client kept up: fewer than 1% left it more than 10 ms late",
            f"{tally.late} of {tally.sent} ({late:.2%}); its CPU was {client_busy:.0%} of a core, the gateway's {gateway_busy:.0%}",
            late < 0.01,
        ),
    ]


if __name__ == "__main__":
    sys.exit(main())

"""Send many small and many large requests, and check that the server's memory and descriptors do not grow.

Small ones are JSON arguments of a few bytes; large ones are float32 arrays of 602 KB, as base64 JSON and as raw bytes in turn, evenly
spread between the small ones. Every answer is checked.

    python bench/soak.py --small 200000 --large 5000
"""

import argparse
import asyncio
import itertools
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import uvloop
from stress.calls import Call, expecting, post_array, post_json, post_octets
from stress.client import Client, Tally, closed_loop
from stress.processes import MemoryLog, cpu_s, descriptor_count
from stress.report import Promise, growth_promise, print_report
from stress.server import Server, add_server_options, folder_of, running_server

SHAPE = (1, 3, 224, 224)
_LARGE_KINDS = 8
_SMALL_KINDS = 256
#: of all requests: what comes before is warm-up
_WARM_UP = 0.1
_STRETCH = 0.1
_SAMPLE_EVERY_S = 0.25
#: fewer samples than this say nothing
_ENOUGH_SAMPLES = 40
_WARM_UP_CALLS = 64


def main() -> int:
    """Run, print, and return the exit status."""
    parser = argparse.ArgumentParser(description="memory and descriptors of the server under many requests; ends with 1 if they grow")
    parser.add_argument("--small", type=int, default=200_000, help="small requests (default %(default)s)")
    parser.add_argument("--large", type=int, default=5_000, help="large requests (default %(default)s)")
    parser.add_argument("--connections", type=int, default=8, help="requests in flight (default %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="instances of the module (default %(default)s)")
    add_server_options(parser)
    args = parser.parse_args()
    modules = {"mixed": {"init_args": {"directory": folder_of("mixed")}, "workers": args.workers}}
    with running_server(modules, log=args.log, guarded=args.guarded) as server:
        found = uvloop.run(soak(server, args.small, args.large, args.connections))
    rows, promises = judge(found, args.small + args.large)
    details = {"failures": found["tally"].failures, "samples": found["memory"].to_json()}
    return print_report(f"{args.small} small and {args.large} large requests", rows, promises, details, as_json=args.json)


async def soak(server: Server, small: int, large: int, connections: int) -> dict[str, Any]:
    """Send everything.

    Returns:
        ``tally``, ``memory``, ``descriptors`` before and after, ``pids`` before and after, ``seconds``, ``gateway_cpu_s``.
    """
    gateway = server.process.pid
    kinds = make_calls()
    await _send(server.port, mixed_calls(kinds, _WARM_UP_CALLS, _WARM_UP_CALLS), connections)
    before, pids = await settled_descriptors(gateway), server.instance_pids("mixed")
    memory, cpu_before, start_s = MemoryLog(gateway), cpu_s(gateway), time.perf_counter()
    progress = Progress(mixed_calls(kinds, small, large), small + large)
    sampling = asyncio.create_task(sample(memory, progress, pids))
    tally = await _send(server.port, progress, connections)
    seconds = time.perf_counter() - start_s
    sampling.cancel()
    memory.take(1.0, pids)
    return {
        "tally": tally,
        "memory": memory,
        "descriptors": (before, await settled_descriptors(gateway, before)),
        "pids": (pids, server.instance_pids("mixed")),
        "seconds": seconds,
        "gateway_cpu_s": cpu_s(gateway) - cpu_before,
    }


class Progress(Iterator[Call]):
    """Calls, and how far they are.

    Attributes:
        share: from 0 to 1.
    """

    def __init__(self, calls: Iterator[Call], total: int) -> None:
        self._calls, self._total, self._taken = calls, total, 0
        self.share = 0.0

    def __next__(self) -> Call:
        """Return the next call."""
        call = next(self._calls)
        self._taken += 1
        self.share = self._taken / self._total
        return call


def make_calls() -> tuple[list[Call], list[Call]]:
    """Return the kinds of small and of large requests."""
    noise = np.random.default_rng(0)
    small = [
        Call(post_json("mixed", {"number": each}), expecting(lambda results, each=each: results == 2 * each))
        for each in range(_SMALL_KINDS)
    ]
    large = []
    for number in range(_LARGE_KINDS):
        array = noise.standard_normal(SHAPE, np.float32)
        total = float(array.sum(dtype=np.float64))
        raw = post_octets("mixed", array) if number % 2 else post_array("mixed", array)
        large.append(Call(raw, expecting(lambda results, total=total: len(results) == 1 and abs(results[0] - total) < 1e-3)))
    return small, large


def mixed_calls(kinds: tuple[list[Call], list[Call]], small: int, large: int) -> Iterator[Call]:
    """Yield the given numbers of small and large requests, the fewer spread evenly among the more."""
    smalls, larges = itertools.cycle(kinds[0]), itertools.cycle(kinds[1])
    given, total = 0, small + large
    for number in range(1, total + 1):
        if number * large // total > given:
            given += 1
            yield next(larges)
        else:
            yield next(smalls)


async def _send(port: int, calls: Iterator[Call], connections: int) -> Tally:
    async with Client(port) as client:
        return await closed_loop(client, calls, connections)


async def sample(memory: MemoryLog, progress: Progress, pids: list[int]) -> None:
    """Sample the processes' memory periodically."""
    while True:
        memory.take(progress.share, pids)
        await asyncio.sleep(_SAMPLE_EVERY_S)


async def settled_descriptors(pid: int, at_most: int = 0, patience_s: float = 5.0) -> int:
    """Return the number of descriptors once it has stopped falling: closed connections take a moment."""
    deadline, count, steady = time.monotonic() + patience_s, descriptor_count(pid), 0
    while time.monotonic() < deadline and steady < 5 and count != at_most:
        await asyncio.sleep(0.1)
        earlier, count = count, descriptor_count(pid)
        steady = steady + 1 if count == earlier and not at_most else 0
    return count


def judge(found: dict[str, Any], total: int) -> tuple[list[dict[str, Any]], list[Promise]]:
    """Return the figures, and the promises compared with them."""
    tally, memory = found["tally"], found["memory"]
    before, after = found["descriptors"]
    enough = len(memory.samples) >= _ENOUGH_SAMPLES
    row = {
        "sent": tally.sent,
        "right": tally.right,
        "lost or wrong": total - tally.right,
        "requests/s": tally.right / found["seconds"],
        "gateway CPU, us each": found["gateway_cpu_s"] / max(1, tally.right) * 1e6,
        "p50, ms": tally.latency_ms(50),
        "p99, ms": tally.latency_ms(99),
        "gateway's descriptors": f"{before} -> {after}",
    }
    early, late = (_WARM_UP, _WARM_UP + _STRETCH), (1 - _STRETCH, 1.0)
    same = found["pids"][0] == found["pids"][1]
    return [row], [
        Promise("every request is answered right", f"{total - tally.right} of {total} were not", tally.right == total),
        growth_promise("gateway, after warm-up", memory.gateway_mb(*early), memory.gateway_mb(*late), judged=enough),
        growth_promise("instances, after warm-up", memory.instances_mb(*early), memory.instances_mb(*late), judged=enough),
        Promise("the gateway has as many descriptors as before", f"{before} -> {after}", before == after),
        Promise("no instance was replaced", f"{found['pids'][0]} -> {found['pids'][1]}", same),
    ]


if __name__ == "__main__":
    sys.exit(main())

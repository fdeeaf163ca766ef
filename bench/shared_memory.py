"""Tensors in shared memory against tensors in the request: the same module, the same unmodified Triton client, over HTTP and gRPC.

One client has one request in flight, and copies its tensor into place anew for each request. The ways take turns, so that other load of the
machine affects all of them equally.

    python bench/shared_memory.py
"""

import argparse
import itertools
import json
import secrets
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import tritonclient.grpc
import tritonclient.http
from rich.console import Console
from rich.table import Table
from stress.processes import child_pids, cpu_s
from stress.server import Server, folder_of, free_port, running_server
from tritonclient.utils import shared_memory

_DEFAULT_KB = 602.112
_WARM_UP_CALLS = 20


class Way(NamedTuple):
    """One way to carry tensors.

    Attributes:
        name: for the table.
        call: makes one request and checks its answer.
    """

    name: str
    call: Callable[[], None]


class Figures(NamedTuple):
    """Measurements of one way.

    Attributes:
        calls_per_s: of the median round.
        median_ms, p99_ms: from the client's array to the client's array.
        server_cpu_ms: gateway and instance together, for each call.
    """

    calls_per_s: float
    median_ms: float
    p99_ms: float
    server_cpu_ms: float


def main() -> int:
    """Measure, print, and return the exit status."""
    parser = argparse.ArgumentParser(description="tensors in shared memory against tensors in the request")
    parser.add_argument("--seconds", type=float, default=3, help="length of each round of each way (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(default %(default)s)")
    parser.add_argument("--kilobytes", type=float, default=_DEFAULT_KB, help="length of a tensor in 1000 bytes (default %(default)s)")
    parser.add_argument("--answer-whole", action="store_true", help="have the tensor come back, rather than one number")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    tensor = np.random.default_rng(0).random((1, round(args.kilobytes * 250)), np.float32)
    grpc_port = free_port()
    modules = {"carrier": {"init_args": {"directory": folder_of("carrier"), "answer_whole": args.answer_whole}, "workers": 1}}
    with (
        running_server(modules, grpc_port=grpc_port, shared_memory=True) as server,
        ways(server, grpc_port, tensor, tensor if args.answer_whole else tensor[:, :1]) as chosen,
    ):
        figures = measure(server, chosen, args.seconds, args.rounds)
    if args.json:
        print(json.dumps({name: each._asdict() for name, each in figures.items()}, indent=2))
    else:
        _print(figures, tensor.nbytes)
    return 0


@contextmanager
def ways(server: Server, grpc_port: int, tensor: np.ndarray, answer: np.ndarray) -> Iterator[list[Way]]:
    """Yield every way, with separate clients and regions."""
    with (
        tritonclient.http.InferenceServerClient(f"127.0.0.1:{server.port}") as http,
        tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{grpc_port}") as grpc,
        _region("input", tensor.nbytes) as source,
        _region("output", answer.nbytes) as target,
    ):
        for name, region, size in (("input", source, tensor.nbytes), ("output", target, answer.nbytes)):
            http.register_system_shared_memory(name, region._shm_key, size)
        yield [
            Way(f"{carrier}, {where}", _caller(module, client, tensor, answer, regions))
            for carrier, module, client in (("HTTP", tritonclient.http, http), ("gRPC", tritonclient.grpc, grpc))
            for where, regions in (("in the request", None), ("shared memory", (source, target)))
        ]


@contextmanager
def _region(name: str, size: int) -> Iterator[Any]:
    handle = shared_memory.create_shared_memory_region(name, f"/hubserve-bench-{secrets.token_hex(6)}", size)
    try:
        yield handle
    finally:
        shared_memory.destroy_shared_memory_region(handle)


def _caller(module: Any, client: Any, tensor: np.ndarray, answer: np.ndarray, regions: tuple[Any, Any] | None) -> Callable[[], None]:
    def call() -> None:
        sent = module.InferInput("x", list(tensor.shape), "FP32")
        asked = module.InferRequestedOutput("y")
        if regions:
            shared_memory.set_shared_memory_region(regions[0], [tensor])
            sent.set_shared_memory("input", tensor.nbytes)
            asked.set_shared_memory("output", answer.nbytes)
        else:
            sent.set_data_from_numpy(tensor)
        told = client.infer("carrier", [sent], outputs=[asked])
        got = shared_memory.get_contents_as_numpy(regions[1], np.float32, list(answer.shape)) if regions else told.as_numpy("y")
        if got[0, 0] != answer[0, 0] or got[0, -1] != answer[0, -1]:
            raise SystemExit("the module gave back another tensor")

    return call


def measure(server: Server, chosen: list[Way], seconds: float, rounds: int) -> dict[str, Figures]:
    """Let the ways take turns."""
    rates: dict[str, list[float]] = {way.name: [] for way in chosen}
    times: dict[str, list[float]] = {way.name: [] for way in chosen}
    cpu: dict[str, float] = dict.fromkeys(rates, 0.0)
    for number, way in itertools.product(range(rounds), chosen):
        for _ in range(_WARM_UP_CALLS if not number else 1):
            way.call()
        before, begin = _cpu_s(server), time.perf_counter()
        calls = 0
        while time.perf_counter() - begin < seconds:
            start = time.perf_counter()
            way.call()
            times[way.name].append(time.perf_counter() - start)
            calls += 1
        rates[way.name].append(calls / (time.perf_counter() - begin))
        cpu[way.name] += _cpu_s(server) - before
    return {
        name: Figures(
            statistics.median(rates[name]),
            statistics.median(taken) * 1e3,
            statistics.quantiles(taken, n=100)[98] * 1e3,
            cpu[name] / len(taken) * 1e3,
        )
        for name, taken in times.items()
    }


def _cpu_s(server: Server) -> float:
    pids = [server.process.pid, *child_pids(server.process.pid)]
    return sum(map(cpu_s, pids))


def _print(figures: dict[str, Figures], size: int) -> None:
    table = Table(title=f"a tensor of {size} bytes, one request in flight")
    for column in ("way", "calls/s", "median ms", "p99 ms", "server CPU ms per call"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for name, each in figures.items():
        table.add_row(name, f"{each.calls_per_s:.0f}", f"{each.median_ms:.2f}", f"{each.p99_ms:.2f}", f"{each.server_cpu_ms:.2f}")
    Console(width=None if sys.stdout.isatty() else 100).print(table)


if __name__ == "__main__":
    sys.exit(main())

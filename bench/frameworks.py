"""Requests per second through the server against each framework in process: same model, same core, one run.

Gateway and instance share one core, or with ``--apart`` the instance has it to itself; so does the framework alone, called by its own API
in a process of its environment, with one thread. The client has the other cores, and keeps some requests in flight: one picture each,
602 KB of binary tensors, over HTTP and gRPC. Rounds alternate, and medians are compared: of requests per second, and of the processor time
of a request, which other programs on the machine disturb less. Environments are those of ``make test-frameworks``.

    python bench/frameworks.py --frameworks megengine,oneflow --rounds 5 --seconds 5
"""

import argparse
import asyncio
import http.client
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np
import psutil
import pytest
from rich.console import Console
from rich.table import Table
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.conftest import Server, servers
from tests.frameworks.calls import over_http
from tests.frameworks.home import ANSWERS, FrameworkHome, kept_home
from tests.frameworks.models import Model, store
from tests.frameworks.servers import wait_until_loaded
from tests.ports import free_port

WARM_UP_S = 1.0
TARGET = 0.95
ALONE = 'backend: "{}"\nmax_batch_size: 1\n'
RESNETS: Mapping[str, Model] = {
    "megengine": Model("megengine", "resnet18", "model.mge", config=ALONE.format("megengine")),
    "oneflow": Model("oneflow", "resnet18", "model", "INPUT_0", "OUTPUT_0", ALONE.format("oneflow")),
    "tensorflow": Model("tensorflow", "resnet18", "model.savedmodel", output="output_0", config=ALONE.format("tensorflow")),
    "torchscript": Model("pytorch", "resnet18", "model.pt", output="OUTPUT__0", config=ALONE.format("pytorch")),
    "exported": Model("pytorch", "resnet18", "model.pt2", output="OUTPUT__0", config=ALONE.format("pytorch")),
}


class Speed(NamedTuple):
    """Requests in a second, and the processor time of one in milliseconds."""

    per_s: float
    processor_ms: float


class Counts(NamedTuple):
    """Answered requests: those of the time that is measured, and all, the warm-up among them."""

    timed: int
    all: int


def main() -> int:
    """Measure and print the table; fails if a ratio is below the target."""
    parser = argparse.ArgumentParser(description="resnet18 through the server against each framework in process")
    parser.add_argument("--frameworks", default=",".join(RESNETS), help="which (default %(default)s)")
    parser.add_argument("--protocols", default=",".join(CLIENTS), help="which (default %(default)s)")
    parser.add_argument("--connections", type=int, default=4, help="requests in flight (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each, alternating (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=4, help="length of a round (default %(default)s)")
    parser.add_argument("--apart", action="store_true", help="give the gateway the client's cores: the instance has one to itself")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.parse_args()
    home, rows = FrameworkHome(kept_home()), []
    for name in args.frameworks.split(","):
        try:
            rows += measure(home, name, args)
        except pytest.skip.Exception as reason:
            print(f"{name} is left out: {reason}", file=sys.stderr)
    report(rows, args)
    return int(any(row["ratio"] < TARGET for row in rows))


def measure(home: FrameworkHome, name: str, args: argparse.Namespace) -> list[dict]:
    """Return a row for each protocol: medians of the alternating rounds."""
    model, protocols = RESNETS[name], args.protocols.split(",")
    cores = sorted(os.sched_getaffinity(0))
    raw: list[Speed] = []
    served: dict[str, list[Speed]] = {protocol: [] for protocol in protocols}
    with server(home, name, cores[0]) as running:
        check(running, home, name)
        if args.apart:
            move(running.process.pid, set(cores[1:]) or set(cores))
        for _ in range(args.rounds):
            with pinned({cores[0]}):
                raw.append(in_process(home, model, args.seconds))
            with pinned(set(cores[1:]) or set(cores)):  # the client must not take time from what is measured
                for protocol, rates in served.items():
                    rates.append(through_server(running, name, protocol, args))
    alone, rows = median(raw), []
    for protocol, rates in served.items():
        through = median(rates)
        ratios = {"ratio": through.per_s / alone.per_s, "processor_ratio": alone.processor_ms / through.processor_ms}
        rows.append({"model": name, "protocol": protocol, "alone": alone, "served": through, **ratios, "rounds": [raw, rates]})
    return rows


def median(rounds: list[Speed]) -> Speed:
    """Return the median of each figure."""
    return Speed(*map(statistics.median, zip(*rounds, strict=True)))


def through_server(running: Server, name: str, protocol: str, args: argparse.Namespace) -> Speed:
    """Measure one round; the processor time is that of the gateway and its instance."""
    processes = [psutil.Process(pid) for pid in (running.process.pid, *running.instance_pids(name))]

    def used_s() -> float:
        return sum(sum(each.cpu_times()[:2]) for each in processes)

    before = used_s()
    counts = CLIENTS[protocol](running.port, name, RESNETS[name].asked(), args.connections, args.seconds)
    return Speed(counts.timed / args.seconds, (used_s() - before) / counts.all * 1000)


@contextmanager
def pinned(cores: set[int]) -> Iterator[None]:
    """Keep this thread, and the processes and threads that it starts, on some cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def move(pid: int, cores: set[int]) -> None:
    """Keep the threads of a process on some cores; its children stay where they are."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), cores)


@contextmanager
def server(home: FrameworkHome, name: str, core: int) -> Iterator[Server]:
    """Start a server with one instance of a model, all on one core."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, servers(home.folder, Path(folder)) as start:
        repository = store(home, Path(folder, "store"), {name: RESNETS[name]})
        with pinned({core}):
            running = start({}, wait=False, model_store=[str(repository)], workers=1, port=port, grpc_port=port)
        yield wait_until_loaded(running)


def check(running: Server, home: FrameworkHome, name: str) -> None:
    """Refuse to measure answers that are not the framework's."""
    model = RESNETS[name]
    arrays = model.asked()
    try:
        wanted, answer = model.answers(home, arrays), over_http(running, name, arrays)[model.output]
    except InferenceServerException:
        print(running.log.read_text(), file=sys.stderr)
        raise
    np.testing.assert_allclose(answer, wanted, rtol=0, atol=2e-5 * float(np.abs(wanted).max()))


def in_process(home: FrameworkHome, model: Model, seconds: float) -> Speed:
    """Measure the framework alone, in a process of its own."""
    folder = model.made(home)
    with tempfile.TemporaryDirectory() as temporary:
        given = Path(temporary, "given.npz")
        np.savez(given, **model.asked())
        file = folder if model.framework == "oneflow" else folder / model.stored
        printed = home.run(model.framework, ANSWERS / f"{model.framework}_answers.py", given, seconds, file)
    return Speed(*map(float, printed.split()[-2:]))


def ask_http(port: int, name: str, arrays: Mapping[str, np.ndarray], connections: int, seconds: float) -> Counts:
    """Ask in a closed loop, on connections that are kept."""
    ((tensor, array),) = arrays.items()
    about = {"name": tensor, "shape": array.shape, "datatype": "FP32", "parameters": {"binary_data_size": array.nbytes}}
    head = json.dumps({"inputs": [about], "parameters": {"binary_data_output": True}}).encode()
    body, headers = head + array.tobytes(), {"Inference-Header-Content-Length": str(len(head))}
    start, timed, counts = time.perf_counter() + WARM_UP_S, [0] * connections, [0] * connections
    failures: list[bytes] = []

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while time.perf_counter() < start + seconds and not failures:
            connection.request("POST", f"/v2/models/{name}/infer", body, headers)
            answer = connection.getresponse().read()
            if b'"binary_data_size"' not in answer:
                failures.append(answer)
            timed[number] += start <= time.perf_counter() < start + seconds
            counts[number] += 1
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise SystemExit(f"a request failed: {failures[0][:300]!r}")
    return Counts(sum(timed), sum(counts))


def ask_grpc(port: int, name: str, arrays: Mapping[str, np.ndarray], connections: int, seconds: float) -> Counts:
    """Ask in a closed loop, in one channel."""
    ((tensor, array),) = arrays.items()
    request = service_pb2.ModelInferRequest(model_name=name)
    request.inputs.add(name=tensor, datatype="FP32", shape=array.shape)
    request.raw_input_contents.append(array.tobytes())
    message = request.SerializeToString()

    async def loop() -> Counts:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_receive_message_length", -1)]) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            start, timed, count = time.perf_counter() + WARM_UP_S, 0, 0

            async def one() -> None:
                nonlocal timed, count
                while time.perf_counter() < start + seconds:
                    await call(message)
                    timed += start <= time.perf_counter() < start + seconds
                    count += 1

            await asyncio.gather(*(one() for _ in range(connections)))
            return Counts(timed, count)

    return asyncio.run(loop())


CLIENTS: Mapping[str, Callable[[int, str, Mapping[str, np.ndarray], int, float], Counts]] = {"http": ask_http, "grpc": ask_grpc}


def report(rows: list[dict], args: argparse.Namespace) -> None:
    """Print the results."""
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    title = (
        f"resnet18, one picture in a request, one core, {args.connections} in flight, medians of {args.rounds} rounds of {args.seconds} s"
    )
    table = Table(title=title)
    for column in ("model", "protocol", "in process, /s", "served, /s", "ratio", "in process, ms", "served, ms", "ratio"):
        table.add_column(column, justify="left" if column in ("model", "protocol") else "right")
    for row in rows:
        alone, through = row["alone"], row["served"]
        figures = f"{alone.per_s:.1f}", f"{through.per_s:.1f}", f"{row['ratio']:.3f}"
        processor = f"{alone.processor_ms:.2f}", f"{through.processor_ms:.2f}", f"{row['processor_ratio']:.3f}"
        table.add_row(row["model"], row["protocol"], *figures, *processor)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())

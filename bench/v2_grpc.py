"""Calls per second of a do-nothing module over gRPC: small tensors and 602 KB, unary and in a stream.

Server, instance and client share the machine's cores, or those of ``--cores``. The client sends ready-made messages and does not look into
the answers, so that it costs little.

    python bench/v2_grpc.py --cores 0,1
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from rich.console import Console
from rich.table import Table
from tritonclient.grpc import service_pb2

ROOT = Path(__file__).resolve().parent.parent
SERVICE = "/inference.GRPCInferenceService/"
WARM_UP_S = 1.0
#: floats in a tensor -> calls per second to reach
TARGETS = {16: 3000, 150_528: 300}


def main() -> int:
    """Measure and print the table; fails if a target is missed."""
    parser = argparse.ArgumentParser(description="calls/s over gRPC of a module that does nothing")
    parser.add_argument("--cores", help="cores to use, such as 0,1 (default: all)")
    parser.add_argument(
        "--concurrency", type=int, default=32, help="small calls in flight; a quarter of it for large ones (default %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=1, help="instances of the module (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each, of which the best counts (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=4, help="length of a round (default %(default)s)")
    args = parser.parse_args()
    if args.cores:
        os.sched_setaffinity(0, {int(each) for each in args.cores.split(",")})
    table, missed = Table("floats", "bytes", "call", "calls/s", "target"), False
    with server(args.workers) as (_, address):
        for floats, target in TARGETS.items():
            concurrency = args.concurrency if floats < 1000 else max(1, args.concurrency // 4)
            for name, ask in (("ModelInfer", unary), ("ModelStreamInfer", streamed)):
                asyncio.run(ask(address, message(floats), concurrency, WARM_UP_S))
                best = max(asyncio.run(ask(address, message(floats), concurrency, args.seconds)) for _ in range(args.rounds))
                missed |= best < target
                table.add_row(f"{floats}", f"{4 * floats}", name, f"{best:.0f}", f"{target}")
    Console().print(table)
    return int(missed)


@contextmanager
def server(workers: int, **settings: Any) -> Iterator[tuple[str, str]]:
    """Start a server of the echo module; yield the addresses of HTTP and gRPC."""
    sys.path.insert(0, str(ROOT))
    from tests.conftest import free_port, servers

    with tempfile.TemporaryDirectory() as folder, servers(Path(folder) / "home", Path(folder)) as start:
        port = free_port()
        module = {"init_args": {"directory": str(ROOT / "bench" / "modules" / "echo")}, "workers": workers}
        started = start({"echo": module}, grpc_port=port, **settings)
        yield f"127.0.0.1:{started.port}", f"127.0.0.1:{port}"


def message(floats: int) -> bytes:
    """Return a request for the echo module."""
    request = service_pb2.ModelInferRequest(model_name="echo")
    request.inputs.add(name="x", datatype="FP32", shape=[1, floats])
    request.raw_input_contents.append(np.zeros(floats, np.float32).tobytes())
    return request.SerializeToString()


async def unary(address: str, data: bytes, concurrency: int, seconds: float) -> float:
    """Measure unary calls per second."""
    async with grpc.aio.insecure_channel(address) as channel:
        call, end, done = channel.unary_unary(SERVICE + "ModelInfer"), time.monotonic() + seconds, 0

        async def ask() -> None:
            nonlocal done
            while time.monotonic() < end:
                await call(data)
                done += 1

        await asyncio.gather(*(ask() for _ in range(concurrency)))
    return done / seconds


async def streamed(address: str, data: bytes, concurrency: int, seconds: float) -> float:
    """Measure requests per second over one stream, with ``concurrency`` of them in flight."""
    room, end, done = asyncio.Semaphore(concurrency), time.monotonic() + seconds, 0

    async def ask() -> AsyncIterator[bytes]:
        while time.monotonic() < end:
            await room.acquire()
            yield data

    async with grpc.aio.insecure_channel(address) as channel:
        async for _ in channel.stream_stream(SERVICE + "ModelStreamInfer")(ask()):
            room.release()
            done += 1
    return done / seconds


if __name__ == "__main__":
    sys.exit(main())

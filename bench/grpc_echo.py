"""What one gRPC call costs the server, without anything behind it: hubserve's own HTTP/2 and the asyncio server of the gRPC library.

Both answer each call with its message, on uvloop, and are asked by the same client in a process of its own. The servers take turns; medians
of the rounds are compared.

    python bench/grpc_echo.py
"""

import argparse
import asyncio
import multiprocessing
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import uvloop
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from hubserve.net.admission import AdmissionControl
from hubserve.net.grpc.call import endpoint_of
from hubserve.net.grpc.service import Method, Service
from hubserve.net.grpc.status import Status

METHOD = "/bench.Echo/Echo"
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
WARM_UP_S = 0.5


def main() -> int:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="processor time that a gRPC call costs the server")
    parser.add_argument("--bytes", default="64,602112", help="length of a message; several are measured in turn (default %(default)s)")
    parser.add_argument("--concurrency", type=int, default=32, help="calls in flight (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=2, help="length of a round (default %(default)s)")
    args = parser.parse_args()
    table = Table("bytes", "server", "calls/s", "processor us/call")
    for size in map(int, args.bytes.split(",")):
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in SERVERS}
        for _ in range(args.rounds):
            for name, serve in SERVERS.items():
                seen[name].append(uvloop.run(measure(serve, size, args.concurrency, args.seconds)))
        for name, rounds in seen.items():
            rate, cost = (statistics.median(each) for each in zip(*rounds, strict=True))
            table.add_row(f"{size}", name, f"{rate:.0f}", f"{cost:.0f}")
    Console().print(table)
    return 0


@asynccontextmanager
async def serve_own() -> Any:
    """Start hubserve's server; yield its port."""

    async def echo(message: bytes | bytearray, _: Any) -> list[memoryview]:
        return [memoryview(message)]

    async def decompress(message: bytes | bytearray, _: str) -> bytes | bytearray:
        return message

    admission = AdmissionControl(10_000, 1 << 30)
    service = Service(
        methods={METHOD: Method(echo)},
        max_calls=10_000,
        max_message_bytes=1 << 30,
        client_timeout_s=30,
        budget=admission,
        deadlines=admission.deadlines,
        decompress=decompress,
        refuse=lambda error: (Status.INTERNAL, str(error)),
    )
    endpoint = endpoint_of(service)
    server = await asyncio.get_running_loop().create_server(endpoint.connect, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await endpoint.stop(1)


@asynccontextmanager
async def serve_library() -> Any:
    """Start the gRPC library's server; yield its port."""

    async def echo(message: bytes, _: Any) -> bytes:
        return message

    server = grpc.aio.server(options=UNLIMITED)
    _, service, name = METHOD.split("/")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {name: grpc.unary_unary_rpc_method_handler(echo)}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(0)


Serve = Callable[[], AbstractAsyncContextManager[int]]
SERVERS: dict[str, Serve] = {"hubserve": serve_own, "gRPC's asyncio server": serve_library}


async def measure(serve: Serve, size: int, concurrency: int, seconds: float) -> tuple[float, float]:
    """Measure one round: calls per second, and the server's processor time for each in microseconds."""
    async with serve() as port:
        here, there = multiprocessing.get_context("spawn").Pipe()
        client = multiprocessing.get_context("spawn").Process(target=ask, args=(there, port, size, concurrency, seconds))
        client.start()
        try:
            await asyncio.to_thread(here.recv)  # it is warm
            before = time.process_time()
            done = await asyncio.to_thread(here.recv)
            return done / seconds, (time.process_time() - before) / done * 1e6
        finally:
            client.join()


def ask(pipe: Any, port: int, size: int, concurrency: int, seconds: float) -> None:
    """Run the client's process: report when it is warm, then how many calls were answered."""

    async def loop(call: Callable[[bytes], Awaitable[bytes]], seconds: float) -> int:
        message, end, done = bytes(size), time.monotonic() + seconds, 0

        async def one() -> None:
            nonlocal done
            while time.monotonic() < end:
                if await call(message) != message:
                    raise AssertionError("another message came back")
                done += 1

        await asyncio.gather(*(one() for _ in range(concurrency)))
        return done

    async def run() -> None:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED) as channel:
            call = channel.unary_unary(METHOD)
            await loop(call, WARM_UP_S)
            pipe.send(0)
            pipe.send(await loop(call, seconds))

    asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())

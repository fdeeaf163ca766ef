"""Faults to inject, one function each: it does one thing to the server and returns a description of it.

A new one is a function here and a row in :data:`ATTACKS`; ``bench/chaos.py`` does the rest. An exception counts as a fault that could
not be carried out.
"""

import asyncio
import contextlib
import os
import resource
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from . import protection
from .calls import Answer, Call, post
from .processes import descriptor_count
from .rude import AS_IF_RIGHT, connection

if TYPE_CHECKING:
    from .faults import Faults

#: the codes that bench/modules/checked understands
FORK, BREAK, LARGE = 4, 5, 6

_SPARE_DESCRIPTORS = 2
_EXHAUSTED_S = 1.0
_SWAPS_AT_ONCE = 3
_ANNOUNCERS, _ANNOUNCED_BYTES, _ANNOUNCED_S = 16, 64 << 20, 3.0
_READERS, _UNREAD_S = 8, 5.0
_DEEP = (600, 1000, 20_000, 100_000)
_DEEP_TIMEOUT_S = 20.0


class Attack(NamedTuple):
    """A fault.

    Attributes:
        first_s: time of the first run, in seconds since the start.
        every_s: interval between runs.
        run: carries out the fault.
    """

    first_s: float
    every_s: float
    run: Callable[["Faults"], Awaitable[str]]


async def exhaust_descriptors(faults: "Faults") -> str:
    """Leave the gateway without descriptors while an instance dies."""
    gateway = faults.server.process.pid
    pids = [each for name in ("trouble", "checked") for each in await asyncio.to_thread(faults.server.instance_pids, name)][:1]
    before = resource.prlimit(gateway, resource.RLIMIT_NOFILE)
    resource.prlimit(gateway, resource.RLIMIT_NOFILE, (descriptor_count(gateway) + _SPARE_DESCRIPTORS, before[1]))
    try:
        for pid in pids:
            _kill(pid)
        await asyncio.sleep(_EXHAUSTED_S)
    finally:
        resource.prlimit(gateway, resource.RLIMIT_NOFILE, before)
    return f"killed {pids} while the gateway had no descriptors"


async def fork_and_die(faults: "Faults") -> str:
    """Have an instance start a program that holds its sockets, and die."""
    faults.ask_to_misbehave("fork", FORK)
    return "asked an instance to leave its sockets to another process, and to die"


async def break_frames(faults: "Faults") -> str:
    """Have an instance write garbage to its socket."""
    faults.ask_to_misbehave("frames", BREAK)
    return "asked an instance to write garbage to the gateway"


async def swap_during_loads(faults: "Faults") -> str:
    """Run several reloads at once: each begins while others are in progress."""
    failures = [reason for reason in await asyncio.gather(*(faults.reload() for _ in range(_SWAPS_AT_ONCE))) if reason]
    if failures:
        raise RuntimeError(f"a reload failed: {failures[0]}")
    return f"{_SWAPS_AT_ONCE} reloads at once"


async def announce_bodies(faults: "Faults") -> str:
    """Announce large bodies from several clients and send none of them."""
    head = (
        f"POST /predict/checked HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {_ANNOUNCED_BYTES}\r\n\r\n"
    )
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(_ANNOUNCERS):
            _, writer = await stack.enter_async_context(connection(faults.server.port))
            writer.write(protection.current.with_key(head.encode()))
        await asyncio.sleep(_ANNOUNCED_S)
    return f"{_ANNOUNCERS} clients announced {_ANNOUNCED_BYTES >> 20} MiB each"


async def read_slowly(faults: "Faults") -> str:
    """Request large answers from several clients and do not read them."""
    loop = asyncio.get_running_loop()
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(_READERS):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            stack.callback(client.close)
            await loop.sock_connect(client, ("127.0.0.1", faults.server.port))
            _, writer = await stack.enter_async_context(connection(faults.server.port, sock=client, limit=4096))
            writer.write(protection.current.with_key(faults.special("trouble", LARGE)))
        await asyncio.sleep(_UNREAD_S)
    return f"{_READERS} clients did not read their answers"


async def nest_deeply(faults: "Faults") -> str:
    """Send deeply nested documents."""
    for depth in _DEEP:
        document = b'{"data": ' + b"[" * depth + b"]" * depth + b"}"
        async with connection(faults.server.port) as (reader, writer):
            writer.write(protection.current.with_key(post("trouble", document)))
            try:
                received = await asyncio.wait_for(reader.read(4096), _DEEP_TIMEOUT_S)
            except (TimeoutError, OSError):
                received = b""
        outcome = AS_IF_RIGHT if b'"status":"000"' in received else received[9:12].decode(errors="replace") or "closed"
        faults.rude[f"{depth} levels of JSON: {outcome}"] += 1
    return f"documents of up to {_DEEP[-1]} levels"


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def is_told(answer: Answer) -> str:
    """Check that the answer to a request that ends its instance says so."""
    return (
        ""
        if b'"status":"101"' in answer.body and b"the process of module" in answer.body
        else "the answer does not say that its process has ended"
    )


def call_of(raw: bytes) -> Call:
    """Return a call that ends its instance."""
    return Call(raw, is_told)


ATTACKS: dict[str, Attack] = {
    "descriptors": Attack(3.0, 15.0, exhaust_descriptors),
    "fork": Attack(2.0, 15.0, fork_and_die),
    "frames": Attack(5.0, 15.0, break_frames),
    "swap": Attack(13.0, 30.0, swap_during_loads),
    "announce": Attack(8.0, 20.0, announce_bodies),
    "reader": Attack(6.0, 20.0, read_slowly),
    "deep": Attack(1.0, 20.0, nest_deeply),
}

"""Load on a server from one light process: a closed loop (number of connections) or an open loop (requests per second)."""

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import uvloop

from hubserve.bench.connection import Failure
from hubserve.bench.loops import Closed, Load, Once, Open, ServerAddress, arrivals
from hubserve.bench.recorder import Counted

_POLL_S = 0.01


class Pattern(NamedTuple):
    """Arrival pattern of requests; exactly one of the two is given.

    Attributes:
        connections: closed loop: each of so many sends its next request when it is answered.
        rate_per_s: open loop: requests come so often on average, whether earlier ones are answered or not.
    """

    connections: int = 0
    rate_per_s: float = 0.0


class Timing(NamedTuple):
    """Durations of a round.

    Attributes:
        warm_up_s: what is sent before is not counted.
        seconds: what is counted.
        timeout_s: after which a request has failed.
    """

    warm_up_s: float
    seconds: float
    timeout_s: float


def run(
    server: ServerAddress,
    request: bytes,
    pattern: Pattern,
    timing: Timing,
    seed: int = 0,
    on_window: Callable[[bool], Any] = lambda _: None,
) -> Counted:
    """Put load on a server for one round.

    Args:
        server: its address.
        request: one whole HTTP request.
        pattern: how requests come.
        timing: for how long.
        seed: of the arrivals of an open loop.
        on_window: is called with True when counting begins and with False when it ends.
    Raises:
        KeyboardInterrupt: Ctrl-C; every connection is closed.
    """
    counted = uvloop.run(_round(server, request, pattern, timing, seed, on_window))
    if counted is None:
        raise KeyboardInterrupt
    return counted


def ask(server: ServerAddress, request: bytes, timeout_s: float) -> Failure | None:
    """Send one request; return the reason of a failure, or None.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    return uvloop.run(_ask(server, request, timeout_s))


async def _ask(server: ServerAddress, request: bytes, timeout_s: float) -> Failure | None:
    load = Once(server, request, timeout_s, 1)
    load.begin()
    try:
        while not load.is_warm():
            load.expire(time.monotonic())
            await asyncio.sleep(_POLL_S)
    finally:
        await _end(load)
    if not load.recorder.failed:
        return None
    status = load.recorder.failed[0][2]
    return Failure(status, load.recorder.texts[status])


async def _end(load: Load) -> None:
    load.close()
    await asyncio.gather(*load.connecting, return_exceptions=True)
    await asyncio.sleep(_POLL_S)  # in which the loop gives the sockets back


async def _round(
    server: ServerAddress, request: bytes, pattern: Pattern, timing: Timing, seed: int, on_window: Callable[[bool], Any]
) -> Counted | None:
    """Return None after Ctrl-C."""
    loop = asyncio.get_running_loop()
    interrupted = asyncio.Event()
    loop.add_signal_handler(signal.SIGINT, interrupted.set)
    load: Load
    if pattern.rate_per_s:
        load = Open(server, request, timing.timeout_s, arrivals(pattern.rate_per_s, seed))
    else:
        load = Closed(server, request, timing.timeout_s, pattern.connections)
    measuring = loop.create_task(_measure(load, timing, on_window))
    stopping = loop.create_task(interrupted.wait())
    try:
        await asyncio.wait({measuring, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not measuring.done():
            return None
        start, end, share = measuring.result()
    finally:
        for task in (measuring, stopping):
            task.cancel()
        await _end(load)
        loop.remove_signal_handler(signal.SIGINT)
    return load.recorder.count(start, end, share, by_intention=bool(pattern.rate_per_s))


async def _measure(load: Load, timing: Timing, on_window: Callable[[bool], Any]) -> tuple[float, float, float]:
    """Return the window's start and end, and the share of a core that this process used in it."""
    began = time.monotonic()
    load.begin()
    while time.monotonic() - began < timing.warm_up_s or not load.is_warm():
        load.expire(time.monotonic())
        await asyncio.sleep(_POLL_S)
    on_window(True)
    cpu_s, start = time.process_time(), time.monotonic()
    while (left := start + timing.seconds - time.monotonic()) > 0:
        load.expire(time.monotonic())
        await asyncio.sleep(min(left, 0.1))
    end = time.monotonic()
    share = (time.process_time() - cpu_s) / (end - start)
    on_window(False)
    load.over = True
    while not load.is_idle() and time.monotonic() - end < timing.timeout_s:
        load.expire(time.monotonic())
        await asyncio.sleep(_POLL_S)
    return start, end, share

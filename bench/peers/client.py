"""Load from asyncio: closed loops where wrk is not installed, and open loops, which wrk cannot make."""

import asyncio
import contextlib
import random
import time
from collections.abc import Coroutine, Sequence

from bench.peers.exchange import TIMEOUT_S, Measured, Request
from bench.peers.failures import WrongAnswer

_SEED = 1
_LEAST_SHARE_OF_RATE = 0.9


class Connection:
    """One connection to a server on this machine; it is opened when it is first needed, and again after the server has closed it."""

    def __init__(self, port: int, request: Request) -> None:
        self._port = port
        self._marker = request.marker
        lines = [f"POST {request.path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(request.body)}"]
        lines += [f"{key}: {value}" for key, value in request.headers.items()]
        self._message = "\r\n".join([*lines, "", ""]).encode() + request.body
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self) -> bool:
        """Send the request and read the answer; gives whether it is a right one.

        Raises:
            OSError: the connection cannot be opened or breaks.
            EOFError: it ends within the answer.
        """
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(self._message)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        status, length, closes = read_head(head)
        body = await reader.readexactly(length) if length is not None else await reader.read()
        if closes or length is None:
            await self.close()
        return status == 200 and self._marker in body

    async def close(self) -> None:
        """Close it, if it is open."""
        if self._streams:
            writer, self._streams = self._streams[1], None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def read_head(head: bytes) -> tuple[int, int | None, bool]:
    """The status, the body's length (None: up to the end of the connection), and whether the server then closes the connection.

    Args:
        head: the status line and the headers, in small letters.

    Raises:
        WrongAnswer: it is not HTTP, or comes in chunks.
    """
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines if line)}
    if not first.startswith("http/1.") or not first[9:12].isdecimal():
        raise WrongAnswer(f"what came back is not HTTP: {first[:100]}")
    if "transfer-encoding" in headers:
        raise WrongAnswer("the answer comes in chunks, which this client does not read; install wrk")
    length = headers.get("content-length")
    keeps = headers.get("connection") == "keep-alive" if first.startswith("http/1.0") else headers.get("connection") != "close"
    return int(first[9:12]), int(length) if length is not None else None, not keeps


class Tally:
    """What the connections of a run saw together."""

    def __init__(self) -> None:
        self.latencies_s: list[float] = []
        self.wrong = 0
        self.lost = 0

    async def ask(self, connection: Connection, since: float) -> None:
        """Send one request; its latency counts from ``since``, a time of ``time.perf_counter``."""
        try:
            right = await connection.ask()
        except (OSError, EOFError):
            self.lost += 1
            await connection.close()
            return
        self.latencies_s.append(time.perf_counter() - since)
        self.wrong += not right

    def sum_up(self, seconds: float) -> Measured:
        """The run's figures."""
        p50, p99 = (1e3 * percentile(self.latencies_s, share) for share in (0.50, 0.99))
        return Measured(len(self.latencies_s), seconds, p50, p99, self.wrong, self.lost)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of all do not exceed; 0 where there are none."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)] if ordered else 0.0


def closed_loop(port: int, request: Request, connections: int, seconds: float) -> Measured:
    """Each connection sends its next request when it has its answer; every answer is looked into."""

    async def run() -> Measured:
        tally, start = Tally(), time.perf_counter()

        async def loop() -> None:
            connection = Connection(port, request)
            while (now := time.perf_counter()) < start + seconds:
                await tally.ask(connection, now)
            await connection.close()

        await asyncio.gather(*(loop() for _ in range(connections)))
        return tally.sum_up(time.perf_counter() - start)

    return _run(run(), seconds)


def open_loop(port: int, request: Request, connections: int, seconds: float, per_second: float) -> Measured:
    """Requests come at random moments, whether earlier ones are answered or not; the same moments in every run.

    They go over a fixed number of connections; one that finds all of them busy waits, and its waiting is part of its latency.

    Args:
        port: of the server, on this machine.
        request: what is sent.
        connections: how many there are.
        seconds: for how long requests come.
        per_second: how many come in a second, on average (a Poisson process).

    Raises:
        WrongAnswer: this client could not keep the rate, so what it saw means nothing.
    """

    async def run() -> Measured:
        tally, moments = Tally(), arrivals(per_second, seconds)
        waiting: asyncio.Queue[float | None] = asyncio.Queue()

        async def serve() -> None:
            connection = Connection(port, request)
            while (since := await waiting.get()) is not None:
                await tally.ask(connection, since)
            await connection.close()

        tasks = [asyncio.create_task(serve()) for _ in range(connections)]
        start = time.perf_counter()
        for moment in moments:
            if (ahead := start + moment - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            # not the moment itself: asyncio wakes up to a millisecond late, which is no fault of the server
            waiting.put_nowait(time.perf_counter())
        came_s = time.perf_counter() - start
        for _ in tasks:
            waiting.put_nowait(None)
        await asyncio.gather(*tasks)
        if came_s * _LEAST_SHARE_OF_RATE > seconds:
            raise WrongAnswer(f"the client could not send {per_second:.0f} requests/s: {seconds:g} s of them took it {came_s:.1f} s")
        return tally.sum_up(time.perf_counter() - start)

    return _run(run(), seconds)


def _run(measuring: Coroutine[None, None, Measured], seconds: float) -> Measured:
    try:
        return asyncio.run(asyncio.wait_for(measuring, seconds + TIMEOUT_S))
    except asyncio.TimeoutError:  # in Python 3.10 not yet the built-in one
        raise WrongAnswer(f"requests were still without an answer {TIMEOUT_S:g} s after the end of the run") from None


def arrivals(per_second: float, seconds: float) -> list[float]:
    """Moments of a Poisson process, in seconds from its start; the same ones each time."""
    generator = random.Random(_SEED)
    moments: list[float] = []
    now = generator.expovariate(per_second)
    while now < seconds:
        moments.append(now)
        now += generator.expovariate(per_second)
    return moments

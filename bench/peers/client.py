"""Load from asyncio: closed loops where wrk is not installed, and open loops, which wrk cannot make."""

import asyncio
import random
import selectors
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import lru_cache, partial

from bench.peers.exchange import TIMEOUT_S, Measured, Request
from bench.peers.failures import WrongAnswer

_SEED = 1
_LEAST_SHARE_OF_RATE = 0.9


class Connection(asyncio.Protocol):
    """One connection to a server on this machine; it is opened when it is first needed, and again after the server has closed it.

    Callbacks in place of streams: what the client costs is taken from the cores that the server is measured on.

    Args:
        port: of the server.
        request: what is sent.
        done: called with the connection after each request, and with whether its answer was right; None where none came.
        fail: called with what makes the whole run worthless.
    """

    def __init__(self, port: int, request: Request, done: "Done", fail: Callable[[Exception], None]) -> None:
        self.since = 0.0
        self._port, self._done, self._fail = port, done, fail
        self._marker = request.marker
        lines = [f"POST {request.path} HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Content-Length: {len(request.body)}"]
        lines += [f"{key}: {value}" for key, value in request.headers.items()]
        self._message = "\r\n".join([*lines, "", ""]).encode() + request.body
        self._transport: asyncio.Transport | None = None
        self._opening: asyncio.Task[None] | None = None
        self._came = b""
        self._waits = False

    def ask(self, since: float) -> None:
        """Send the request; its latency counts from ``since``, a time of ``time.perf_counter``."""
        self.since, self._came, self._waits = since, b"", True
        if self._transport is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())
        else:
            self._transport.write(self._message)

    async def _open(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)
        except OSError:
            self._answer(None)
            return
        if self._transport:
            self._transport.write(self._message)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = transport  # type: ignore[assignment]  # a TCP connection's is one that can write

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._came += data
        end = self._came.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        try:
            status, length, closes = read_head(self._came[:end])
        except WrongAnswer as error:
            self._fail(error)
            return
        if length is None or len(self._came) < end + length:
            return
        if closes:
            self.close()
        self._answer(status == 200 and self._marker in self._came)

    def connection_lost(self, _: Exception | None) -> None:
        """Finish an answer without a length; any other one is incomplete."""
        self._transport = None
        if self._waits:
            self._answer(self._is_whole_without_length())

    def close(self) -> None:
        """Close it, if it is open."""
        if self._transport:
            transport, self._transport = self._transport, None
            transport.set_protocol(asyncio.Protocol())  # later events of the old connection must not reach the next one
            transport.close()

    def _is_whole_without_length(self) -> bool | None:
        head, separator, body = self._came.partition(b"\r\n\r\n")
        if not separator:
            return None
        status, length, _ = read_head(head + separator)
        return None if length is not None else status == 200 and self._marker in body

    def _answer(self, right: bool | None) -> None:
        self._waits = False
        self._done(self, right)


Done = Callable[[Connection, bool | None], None]


@lru_cache(maxsize=64)  # heads differ by their date alone
def read_head(head: bytes) -> tuple[int, int | None, bool]:
    """Return the status, the body's length (None: up to the end of the connection), and whether the server then closes the connection.

    Args:
        head: the status line and the headers.

    Raises:
        WrongAnswer: it is not HTTP, or comes in chunks.
    """
    first, *lines = head.decode("latin-1").lower().split("\r\n")
    headers = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines if line)}
    if not first.startswith("http/1.") or not first[9:12].isdecimal():
        raise WrongAnswer(f"what came back is not HTTP: {first[:100]}")
    if "transfer-encoding" in headers:
        raise WrongAnswer("the answer comes in chunks, which this client does not read; install wrk")
    length = headers.get("content-length")
    keeps = headers.get("connection") == "keep-alive" if first.startswith("http/1.0") else headers.get("connection") != "close"
    return int(first[9:12]), int(length) if length is not None else None, not keeps


class Tally:
    """Counts and latencies of all connections of a run."""

    def __init__(self) -> None:
        self.latencies_s: list[float] = []
        self.wrong = 0
        self.lost = 0

    def count(self, since: float, right: bool | None) -> None:
        """Count a request sent at ``since``: answered correctly, wrongly, or (None) not at all."""
        if right is None:
            self.lost += 1
            return
        self.latencies_s.append(time.perf_counter() - since)
        self.wrong += not right

    def sum_up(self, seconds: float) -> Measured:
        """Return the run's figures."""
        p50, p99 = (1e3 * percentile(self.latencies_s, share) for share in (0.50, 0.99))
        return Measured(len(self.latencies_s), seconds, p50, p99, self.wrong, self.lost)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least ``share`` of all do not exceed; 0 if there are none."""
    ordered = sorted(values)
    return ordered[max(0, -int(-len(ordered) * share // 1) - 1)] if ordered else 0.0


def closed_loop(port: int, request: Request, connections: int, seconds: float) -> Measured:
    """Send each connection's next request when the previous one is answered; check every answer."""

    async def run() -> Measured:
        tally, start, busy = Tally(), time.perf_counter(), connections
        finished = asyncio.get_running_loop().create_future()

        def done(connection: Connection, right: bool | None) -> None:
            nonlocal busy
            tally.count(connection.since, right)
            if (now := time.perf_counter()) < start + seconds:
                connection.ask(now)
                return
            connection.close()
            busy -= 1
            if not busy:
                _settle(finished)

        every = [Connection(port, request, done, partial(_settle, finished)) for _ in range(connections)]
        for connection in every:
            connection.ask(start)
        await _end_of(finished, every)
        return tally.sum_up(time.perf_counter() - start)

    return _run(run(), seconds)


def open_loop(port: int, request: Request, connections: int, seconds: float, per_second: float) -> Measured:
    """Send requests at random times, whether earlier ones are answered or not; the times are equal in every run.

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
        finished = asyncio.get_running_loop().create_future()
        waiting: deque[float] = deque()

        def done(connection: Connection, right: bool | None) -> None:
            tally.count(connection.since, right)
            if waiting:
                connection.ask(waiting.popleft())
            else:
                free.append(connection)
            if len(tally.latencies_s) + tally.lost == len(moments):
                _settle(finished)

        every = [Connection(port, request, done, partial(_settle, finished)) for _ in range(connections)]
        free = list(every)
        start = time.perf_counter()
        for moment in moments:
            if (ahead := start + moment - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            now = time.perf_counter()  # not the scheduled time: the server is not to blame if the client wakes late
            if free:
                free.pop().ask(now)
            else:
                waiting.append(now)
        came_s = time.perf_counter() - start
        if moments:
            await _end_of(finished, every)
        if came_s * _LEAST_SHARE_OF_RATE > seconds:
            raise WrongAnswer(f"the client could not send {per_second:.0f} requests/s: {seconds:g} s of them took it {came_s:.1f} s")
        return tally.sum_up(time.perf_counter() - start)

    return _run(run(), seconds)


async def _end_of(finished: "asyncio.Future[None]", connections: Sequence[Connection]) -> None:
    try:
        await finished
    finally:
        for connection in connections:
            connection.close()


def _settle(finished: "asyncio.Future[None]", error: Exception | None = None) -> None:
    """Let a run end, or fail."""
    if finished.done():
        return
    if error:
        finished.set_exception(error)
    else:
        finished.set_result(None)


def _run(measuring: Coroutine[None, None, Measured], seconds: float) -> Measured:
    # select wakes within microseconds; epoll, the default, is given whole milliseconds
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    try:
        return loop.run_until_complete(asyncio.wait_for(measuring, seconds + TIMEOUT_S))
    except asyncio.TimeoutError:  # in Python 3.10 not yet the built-in one
        raise WrongAnswer(f"requests were still without an answer {TIMEOUT_S:g} s after the end of the run") from None
    finally:
        # connections that were closed are let go of before the loop is
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()


def arrivals(per_second: float, seconds: float) -> list[float]:
    """Return the times of a Poisson process in seconds from its start, equal in every run."""
    generator = random.Random(_SEED)
    moments: list[float] = []
    now = generator.expovariate(per_second)
    while now < seconds:
        moments.append(now)
        now += generator.expovariate(per_second)
    return moments

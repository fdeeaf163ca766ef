"""Puts load on a server from one light process: a closed loop (so many connections) or an open one (so many requests a second)."""

import asyncio
import random
import signal
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import uvloop

from hubserve.bench.alarm import Alarm
from hubserve.bench.connection import Connection, Failure

#: an open loop opens no more connections than this; requests beyond it wait in the client, and their time counts
MAX_CONNECTIONS = 512
_RECONNECT_S = 0.05
_POLL_S = 0.01


class Pattern(NamedTuple):
    """How requests come; exactly one of the two is given.

    Attributes:
        connections: closed loop: each of so many sends its next request when it is answered.
        rate_per_s: open loop: requests come so often on average, whether earlier ones are answered or not.
    """

    connections: int = 0
    rate_per_s: float = 0.0


class Timing(NamedTuple):
    """How long things take.

    Attributes:
        warm_up_s: what is sent before is not counted.
        seconds: what is counted.
        timeout_s: after which a request has failed.
    """

    warm_up_s: float
    seconds: float
    timeout_s: float


class Place(NamedTuple):
    """Where the server listens."""

    host: str
    port: int


class Counted(NamedTuple):
    """What came of one round.

    Attributes:
        seconds: the length of the window that was counted.
        answered: good answers that came in it.
        latencies_s: of the good answers, ascending. Closed loop: from sending, of what was answered in the window. Open loop: from the time
            at which a request was to be sent, of what was to be sent in the window.
        failures: status -> how many, and the text of the first.
        client_share: of one core, that this process used.
    """

    seconds: float
    answered: int
    latencies_s: list[float]
    failures: dict[str, tuple[int, str]]
    client_share: float


def arrivals(rate_per_s: float, seed: int) -> Iterator[float]:
    """The times of a Poisson process, in seconds from its start, without end; the same for the same seed."""
    chance = random.Random(seed)  # noqa: S311 - nothing is kept secret with it
    when = 0.0
    while True:
        when += chance.expovariate(rate_per_s)
        yield when


def percentile(ascending: list[float], percent: float) -> float:
    """The smallest value that at least ``percent`` of all values do not exceed.

    Args:
        ascending: at least one value, in order.
        percent: more than 0, up to 100.
    """
    rank = -(-len(ascending) * percent // 100)
    return ascending[max(0, int(rank) - 1)]


class _Tally:
    """Every request of a round, warm-up included."""

    def __init__(self) -> None:
        self.intended = array("d")
        self.ended = array("d")
        self.failed: list[tuple[float, float, str]] = []
        self.texts: dict[str, str] = {}

    def good(self, intended: float, ended: float) -> None:
        self.intended.append(intended)
        self.ended.append(ended)

    def bad(self, intended: float, ended: float, failure: Failure) -> None:
        self.failed.append((intended, ended, failure.status))
        self.texts.setdefault(failure.status, failure.text)

    def count(self, start: float, end: float, client_share: float, *, by_intention: bool) -> Counted:
        """What belongs to the window."""
        pairs = list(zip(self.intended, self.ended, strict=True))
        latencies = sorted(ended - intended for intended, ended in pairs if start <= (intended if by_intention else ended) < end)
        answered = sum(start <= ended < end for ended in self.ended)
        counts: dict[str, int] = {}
        for intended, ended, status in self.failed:
            if start <= (intended if by_intention else ended) < end:
                counts[status] = counts.get(status, 0) + 1
        failures = {status: (count, self.texts[status]) for status, count in counts.items()}
        return Counted(end - start, answered, latencies, failures, client_share)


class _Load:
    """The connections of one round."""

    def __init__(self, place: Place, request: bytes, timeout_s: float) -> None:
        self.tally = _Tally()
        self.over = False
        self.empty = asyncio.Event()
        self.connections: set[Connection] = set()
        self.connecting: set[asyncio.Task[None]] = set()
        self._place, self._request, self._timeout_s = place, request, timeout_s
        self._loop = asyncio.get_running_loop()

    def begin(self) -> None:
        """Send the first requests."""
        raise NotImplementedError

    def open_connection(self) -> None:
        """Open one more, unless all is over."""
        if not self.over:
            task = self._loop.create_task(self._connect())
            self.connecting.add(task)
            task.add_done_callback(self.connecting.discard)

    async def _connect(self) -> None:
        began = time.monotonic()
        try:
            made = self._loop.create_connection(lambda: Connection(self, self._request), *self._place)
            await asyncio.wait_for(made, self._timeout_s)
        except (OSError, asyncio.TimeoutError) as error:
            self.refused(began, Failure("connection", str(error) or "no connection in time"))

    def connected(self, connection: Connection) -> None:
        """See Owner."""
        self.connections.add(connection)

    def answered(self, connection: Connection, ended: float, failure: Failure | None) -> None:
        """See Owner."""
        if failure:
            self.tally.bad(connection.intended, ended, failure)
        else:
            self.tally.good(connection.intended, ended)

    def lost(self, connection: Connection, failure: Failure) -> None:
        """See Owner."""
        self.connections.discard(connection)
        if connection.busy:
            self.tally.bad(connection.intended, time.monotonic(), failure)
        if not self.connections:
            self.empty.set()

    def refused(self, began: float, failure: Failure) -> None:
        """A connection could not be opened."""
        raise NotImplementedError

    def expire(self, now: float) -> None:
        """Fail what has taken too long."""
        for connection in [each for each in self.connections if each.busy and now - each.sent > self._timeout_s]:
            connection.close(Failure("timeout", f"no answer within {self._timeout_s:g} s"))

    def is_warm(self) -> bool:
        """Whether counting may begin."""
        return True

    def is_idle(self) -> bool:
        """Whether nothing is unanswered."""
        return not any(each.busy for each in self.connections)

    def close(self) -> None:
        """Close every connection; what is unanswered has failed."""
        self.over = True
        for task in self.connecting:
            task.cancel()
        for connection in list(self.connections):
            connection.close(Failure("timeout", f"no answer within {self._timeout_s:g} s after the last request was sent"))


class _Closed(_Load):
    def __init__(self, place: Place, request: bytes, timeout_s: float, count: int) -> None:
        super().__init__(place, request, timeout_s)
        self._count = count

    def begin(self) -> None:
        for _ in range(self._count):
            self.open_connection()

    def connected(self, connection: Connection) -> None:
        super().connected(connection)
        self._next(connection)

    def answered(self, connection: Connection, ended: float, failure: Failure | None) -> None:
        super().answered(connection, ended, failure)
        self._next(connection)

    def _next(self, connection: Connection) -> None:
        if not self.over:
            connection.send(time.monotonic())

    def lost(self, connection: Connection, failure: Failure) -> None:
        super().lost(connection, failure)
        self._loop.call_later(_RECONNECT_S, self.open_connection)

    def refused(self, began: float, failure: Failure) -> None:
        self.tally.bad(began, time.monotonic(), failure)
        self._loop.call_later(_RECONNECT_S, self.open_connection)

    def is_warm(self) -> bool:
        # a first request may take much longer than later ones, where an engine prepares itself for its shape
        return len(self.tally.ended) + len(self.tally.failed) >= self._count


class _Once(_Closed):
    """A single request."""

    def answered(self, connection: Connection, ended: float, failure: Failure | None) -> None:
        self.over = True
        super().answered(connection, ended, failure)


class _Open(_Load):
    def __init__(self, place: Place, request: bytes, timeout_s: float, times: Iterator[float]) -> None:
        super().__init__(place, request, timeout_s)
        self._times = times
        self._waiting: deque[float] = deque()
        self._idle: list[Connection] = []
        self._alarm = Alarm(self._arrive)
        self._began = self._due = 0.0

    def begin(self) -> None:
        self._began = time.monotonic()
        self._due = self._began + next(self._times)
        self._alarm.set(self._due)

    def _arrive(self) -> None:
        if self.over:
            return
        now = time.monotonic()
        while self._due <= now:
            self._waiting.append(self._due)
            self._due = self._began + next(self._times)
        self._alarm.set(self._due)
        self._send()

    def _send(self) -> None:
        while self._waiting and self._idle:
            self._idle.pop().send(self._waiting.popleft())
        room = MAX_CONNECTIONS - len(self.connections) - len(self.connecting)
        for _ in range(min(room, len(self._waiting) - len(self.connecting))):
            self.open_connection()

    def connected(self, connection: Connection) -> None:
        super().connected(connection)
        self._idle.append(connection)
        self._send()

    def answered(self, connection: Connection, ended: float, failure: Failure | None) -> None:
        super().answered(connection, ended, failure)
        self._idle.append(connection)
        self._send()

    def lost(self, connection: Connection, failure: Failure) -> None:
        super().lost(connection, failure)
        if not connection.busy and connection in self._idle:
            self._idle.remove(connection)
        self._send()

    def refused(self, began: float, failure: Failure) -> None:  # noqa: ARG002 - the base's signature
        if self._waiting:
            self.tally.bad(self._waiting.popleft(), time.monotonic(), failure)

    def expire(self, now: float) -> None:
        super().expire(now)
        while self._waiting and now - self._waiting[0] > self._timeout_s:
            self.tally.bad(self._waiting.popleft(), now, Failure("timeout", f"not even sent within {self._timeout_s:g} s"))

    def is_idle(self) -> bool:
        return not self._waiting and super().is_idle()

    def close(self) -> None:
        self._alarm.close()
        now = time.monotonic()
        while self._waiting:
            self.tally.bad(self._waiting.popleft(), now, Failure("timeout", "not even sent before the round was over"))
        super().close()


def run(
    place: Place, request: bytes, pattern: Pattern, timing: Timing, seed: int = 0, on_window: Callable[[bool], Any] = lambda _: None
) -> Counted:
    """Put load on a server for one round.

    Args:
        place: where it listens.
        request: one whole HTTP request.
        pattern: how requests come.
        timing: for how long.
        seed: of the arrivals of an open loop.
        on_window: is called with True when counting begins and with False when it ends.
    Raises:
        KeyboardInterrupt: Ctrl-C; every connection is closed.
    """
    counted = uvloop.run(_round(place, request, pattern, timing, seed, on_window))
    if counted is None:
        raise KeyboardInterrupt
    return counted


def ask(place: Place, request: bytes, timeout_s: float) -> Failure | None:
    """Send one request; returns why it failed, or None if it was answered well.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    return uvloop.run(_ask(place, request, timeout_s))


async def _ask(place: Place, request: bytes, timeout_s: float) -> Failure | None:
    load = _Once(place, request, timeout_s, 1)
    load.begin()
    try:
        while not load.is_warm():
            load.expire(time.monotonic())
            await asyncio.sleep(_POLL_S)
    finally:
        await _end(load)
    if not load.tally.failed:
        return None
    status = load.tally.failed[0][2]
    return Failure(status, load.tally.texts[status])


async def _end(load: _Load) -> None:
    load.close()
    await asyncio.gather(*load.connecting, return_exceptions=True)
    if load.connections:
        load.empty.clear()
        await load.empty.wait()


async def _round(
    place: Place, request: bytes, pattern: Pattern, timing: Timing, seed: int, on_window: Callable[[bool], Any]
) -> Counted | None:
    """None after Ctrl-C."""
    loop = asyncio.get_running_loop()
    interrupted = asyncio.Event()
    loop.add_signal_handler(signal.SIGINT, interrupted.set)
    load: _Load
    if pattern.rate_per_s:
        load = _Open(place, request, timing.timeout_s, arrivals(pattern.rate_per_s, seed))
    else:
        load = _Closed(place, request, timing.timeout_s, pattern.connections)
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
    return load.tally.count(start, end, share, by_intention=bool(pattern.rate_per_s))


async def _measure(load: _Load, timing: Timing, on_window: Callable[[bool], Any]) -> tuple[float, float, float]:
    """Returns the window's start and end, and the share of a core that this process used in it."""
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

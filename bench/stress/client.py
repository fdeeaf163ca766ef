"""An HTTP/1.1 client that makes load: a closed loop, or an open one with Poisson arrivals.

In the open loop a request's latency counts from the moment at which it was to arrive, so that a server (or a client) that falls behind
cannot hide it by being asked less.
"""

import asyncio
import random
import re
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple

from . import protection
from .calls import Answer, Call
from .report import percentile

#: A connection that was idle for longer is not used again: the server may be closing it at this moment.
_LONGEST_IDLE_S = 2.0
_TRY_AGAIN_S, _LONGEST_PATIENCE_S = 0.2, 10.0
#: A request that leaves the client later than this after its intended arrival counts as late.
_LATE_S = 0.01
_CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_KEPT_FAILURES = 1000


class Failure(NamedTuple):
    """One request that was not answered as it should have been.

    Attributes:
        time_s: seconds since the load began.
        status: HTTP's; 0 if there was no answer.
        text: what was wrong.
    """

    time_s: float
    status: int
    text: str


@dataclass
class Tally:
    """Outcomes of the requests of one load.

    Attributes:
        sent: number of requests.
        latencies_s: of each right answer.
        done_s: times of these answers, in seconds since the load began.
        refused_s: latency of each answer 429 or 503 that says when to try again, where these are allowed.
        failure_count: of all others.
        failures: the first of them.
        late: number of requests that left the client late.
    """

    allow_refusals: bool = False
    sent: int = 0
    latencies_s: list[float] = field(default_factory=list)
    done_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    failure_count: int = 0
    failures: list[Failure] = field(default_factory=list)
    late: int = 0
    start_s: float = field(default_factory=time.perf_counter)

    @property
    def right(self) -> int:
        """Number of correct answers."""
        return len(self.latencies_s)

    @property
    def lost(self) -> int:
        """Number of requests without an outcome; anything but 0 is a fault of this client."""
        return self.sent - self.right - len(self.refused_s) - self.failure_count

    def latency_ms(self, percent: float) -> float:
        """Return a percentile of the correct answers' latencies."""
        return percentile(self.latencies_s, percent) * 1000

    def rate_per_s(self, since_s: float, until_s: float) -> float:
        """Return correct answers per second in a stretch of the load."""
        return sum(since_s <= each < until_s for each in self.done_s) / (until_s - since_s)

    def settle(self, call: Call, intended_s: float, answer: Answer | None, error: str) -> None:
        """Record the outcome of a request."""
        now = time.perf_counter()
        reason = call.judge(answer) if answer else error
        if answer and not reason:
            self.latencies_s.append(now - intended_s)
            self.done_s.append(now - self.start_s)
        elif answer and self.allow_refusals and answer.status in (429, 503) and b"\r\nretry-after:" in answer.head.lower():
            self.refused_s.append(now - intended_s)
        else:
            self.failure_count += 1
            if len(self.failures) < _KEPT_FAILURES:
                text = f"{reason}; {answer.body[:300].decode(errors='replace')}" if answer else reason
                self.failures.append(Failure(round(now - self.start_s, 3), answer.status if answer else 0, text))


class _Job(NamedTuple):
    call: Call
    intended_s: float
    tally: Tally
    then: Callable[[], None] | None

    def settle(self, answer: Answer | None, error: str = "") -> None:
        self.tally.settle(self.call, self.intended_s, answer, error)
        if self.then:
            self.then()


class _Connection(asyncio.Protocol):
    """Connection with at most one request in flight."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._transport: Any = None
        self._received = bytearray()
        self._head_bytes = 0
        self._whole_bytes = 0
        self.job: _Job | None = None
        self.sent_s = 0.0
        self.opened_s = 0.0
        self.idle_since_s = 0.0  # 0 before its first answer
        self.is_open = False

    def connection_made(self, transport: Any) -> None:
        self._transport, self.is_open = transport, True
        self.opened_s = time.perf_counter()

    def send(self, job: _Job) -> None:
        self.job, self.sent_s = job, time.perf_counter()
        job.tally.late += self.sent_s - job.intended_s > _LATE_S
        self._transport.write(protection.current.with_key(job.call.raw))

    def data_received(self, data: bytes) -> None:
        if self.job is None:
            self.close()  # bytes without a request
            return
        self._received += data
        if not self._whole_bytes and not self._read_head():
            return
        if self._whole_bytes and len(self._received) >= self._whole_bytes:
            self._finish()

    def _read_head(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        length = _CONTENT_LENGTH.search(self._received, 0, end)
        if not length:
            self.fail("an answer without Content-Length, which this client does not read")
            return False
        self._head_bytes = end + 4
        self._whole_bytes = self._head_bytes + int(length[1])
        return True

    def _finish(self) -> None:
        received = bytes(self._received)
        head = received[: self._head_bytes]
        answer = Answer(int(head[9:12]), head, received[self._head_bytes : self._whole_bytes])
        self._received.clear()
        self._head_bytes = self._whole_bytes = 0
        job, self.job = self.job, None
        self.idle_since_s = time.perf_counter()
        if b"\r\nconnection: close" in head.lower():
            self.close()
        self._client.give_back(self)
        if job:
            job.settle(answer)

    def fail(self, reason: str) -> None:
        job, self.job = self.job, None
        self.close()
        self._client.give_back(self)
        if job:
            job.settle(None, reason)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self.job and not self._received and not self.idle_since_s and self._client.try_again(self.job):
            self.job = None
            self._client.give_back(self)
        elif self.job:
            waited = time.perf_counter() - self.sent_s
            self.fail(f"the connection closed before the answer was complete, {waited:.3f} s after the request was sent: {exc}")

    def close(self) -> None:
        self.is_open = False
        if self._transport:
            self._transport.close()


class Client:
    """A pool of connections to one port of this machine; use it as an asynchronous context manager.

    Args:
        port: the server's.
        max_connections: requests beyond this many wait in the client, and their latency counts.
        timeout_s: after which a request counts as lost.
        is_patient: a request whose new connection is closed before a byte of its answer came is sent again on another one, for some
            seconds: the server had no descriptor for it.

    Attributes:
        sent_again: how many such requests there were.
    """

    def __init__(self, port: int, max_connections: int = 512, timeout_s: float = 60.0, is_patient: bool = False) -> None:
        self._port, self._max_connections, self._timeout_s, self._is_patient = port, max_connections, timeout_s, is_patient
        self.sent_again = 0
        self._put_off = 0
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._opening = 0
        self._waiting: deque[_Job] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Client":
        self._sweeper = asyncio.create_task(self._sweep())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._sweeper:
            self._sweeper.cancel()
        for connection in list(self._all):
            connection.close()
        await asyncio.sleep(0.05)

    def submit(self, call: Call, intended_s: float, tally: Tally, then: Callable[[], None] | None = None) -> None:
        """Send a request as soon as a connection is free.

        Args:
            call: what to send.
            intended_s: its scheduled time, on the clock of ``time.perf_counter``.
            tally: records the outcome.
            then: called afterwards.
        """
        tally.sent += 1
        self._send(_Job(call, intended_s, tally, then))

    def _send(self, job: _Job) -> None:
        """Send over a free connection, or wait for one."""
        connection = self._take()
        if connection:
            connection.send(job)
            return
        self._waiting.append(job)
        self._open_another()

    def try_again(self, job: _Job) -> bool:
        """Send a request again soon, unless it was sent first too long ago; return whether it will be."""
        if not self._is_patient or time.perf_counter() - job.intended_s > _LONGEST_PATIENCE_S:
            return False
        self._put_off += 1
        self.sent_again += 1
        asyncio.get_running_loop().call_later(_TRY_AGAIN_S, self._again, job)
        return True

    def _again(self, job: _Job) -> None:
        self._put_off -= 1
        self._send(job)

    async def ask(self, call: Call, tally: Tally) -> None:
        """Send a request and wait for its answer."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.submit(call, time.perf_counter(), tally, lambda: done.done() or done.set_result(None))
        await done

    async def idle(self) -> None:
        """Wait until every request has been settled."""
        while self._waiting or self._opening or self._put_off or any(each.job for each in self._all):  # noqa: ASYNC110 - several things to watch
            await asyncio.sleep(0.01)

    def give_back(self, connection: _Connection) -> None:
        """Use a connection for the next request; a closed one is forgotten."""
        if not connection.is_open:
            self._all.discard(connection)
            self._open_another()
        elif self._waiting:
            connection.send(self._waiting.popleft())
        else:
            self._idle.append(connection)

    def _take(self) -> _Connection | None:
        # the one used last: those that are not needed grow old and are dropped
        while self._idle:
            connection = self._idle.pop()
            since_s = connection.idle_since_s or connection.opened_s
            if connection.is_open and time.perf_counter() - since_s < _LONGEST_IDLE_S:
                return connection
            connection.close()
            self._all.discard(connection)
        return None

    def _open_another(self) -> None:
        if len(self._waiting) > self._opening and len(self._all) + self._opening < self._max_connections:
            self._opening += 1
            task = asyncio.create_task(self._open())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port, ssl=protection.current.tls)
        except OSError as error:
            if self._waiting and not self.try_again(job := self._waiting.popleft()):
                job.settle(None, f"cannot connect: {error}")
            return
        finally:
            self._opening -= 1
        self._all.add(connection)
        self.give_back(connection)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(1)
            oldest_s = time.perf_counter() - self._timeout_s
            for connection in [each for each in self._all if each.job and each.sent_s < oldest_s]:
                connection.fail(f"no answer within {self._timeout_s:g} s")


async def open_loop(
    client: Client,
    calls: Iterator[Call],
    rate_per_s: float,
    seconds: float,
    *,
    seed: int = 0,
    allow_refusals: bool = False,
    settle: bool = True,
) -> Tally:
    """Send requests at random times, whatever becomes of earlier ones.

    Args:
        client: sends them.
        calls: one for each request; the load ends with them, or after ``seconds``.
        rate_per_s: the mean of a Poisson process.
        seconds: how long.
        seed: equal seeds give equal times.
        allow_refusals: answers 429 and 503 do not count as failures.
        settle: wait for all answers; else :meth:`Client.idle` does.
    """
    tally = Tally(allow_refusals)
    due_s = tally.start_s
    arrivals = random.Random(seed)
    while (due_s := due_s + arrivals.expovariate(rate_per_s)) < tally.start_s + seconds:
        call = next(calls, None)
        if call is None:
            break
        if (ahead_s := due_s - time.perf_counter()) > 0:
            await asyncio.sleep(max(ahead_s, 0.001))
        elif tally.sent % 32 == 0:
            await asyncio.sleep(0)  # answers are read also while the client catches up
        client.submit(call, due_s, tally)
    if settle:
        await client.idle()
    return tally


async def closed_loop(
    client: Client, calls: Iterator[Call], connections: int, seconds: float = float("inf"), *, allow_refusals: bool = False
) -> Tally:
    """Keep a number of requests in flight, each sent when one is answered.

    Args:
        client: sends them.
        calls: one for each request; the load ends with them, or after ``seconds``.
        connections: how many are in flight.
        seconds: how long.
        allow_refusals: answers 429 and 503 do not count as failures.
    """
    tally = Tally(allow_refusals)

    async def one_after_another() -> None:
        while time.perf_counter() < tally.start_s + seconds:
            call = next(calls, None)
            if call is None:
                return
            await client.ask(call, tally)

    await asyncio.gather(*(one_after_another() for _ in range(connections)))
    return tally

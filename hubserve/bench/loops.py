"""Closed and open loops: each connection sends when it is answered, or all send at given times."""

import asyncio
import random
import ssl
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from hubserve.bench.connection import Connection, Failure
from hubserve.bench.precise_timer import PreciseTimer
from hubserve.bench.recorder import Recorder

#: an open loop opens no more connections than this; requests beyond it wait in the client, and their time counts
MAX_CONNECTIONS = 512
_RECONNECT_S = 0.05


class ServerAddress(NamedTuple):
    """Address of the server.

    Attributes:
        host, port: of its HTTP.
        tls: of its connections; None if they are not encrypted.
    """

    host: str
    port: int
    tls: ssl.SSLContext | None = None


def arrivals(rate_per_s: float, seed: int) -> Iterator[float]:
    """Yield the times of a Poisson process, in seconds from its start, without end; equal for equal seeds."""
    chance = random.Random(seed)  # noqa: S311 - nothing is kept secret with it
    when = 0.0
    while True:
        when += chance.expovariate(rate_per_s)
        yield when


class Load(ABC):
    """Connections of one round."""

    def __init__(self, server: ServerAddress, request: bytes, timeout_s: float) -> None:
        self.recorder = Recorder()
        self.over = self.closed = False  # no more requests are sent; no more responses are awaited
        self.connections: set[Connection] = set()
        self.connecting: set[asyncio.Task[None]] = set()
        self._server, self._request, self._timeout_s = server, request, timeout_s
        self._loop = asyncio.get_running_loop()

    @abstractmethod
    def begin(self) -> None:
        """Send the first requests."""

    def open_connection(self) -> None:
        """Open one more connection, unless the round has ended."""
        if not self.over:
            task = self._loop.create_task(self._connect())
            self.connecting.add(task)
            task.add_done_callback(self.connecting.discard)

    async def _connect(self) -> None:
        began = time.monotonic()
        try:
            host, port, tls = self._server
            made = self._loop.create_connection(lambda: Connection(self, self._request), host, port, ssl=tls)
            await asyncio.wait_for(made, self._timeout_s)
        except (OSError, asyncio.TimeoutError) as error:  # one of TLS is an OSError, too
            self.refused(began, Failure("connection", str(error) or "no connection in time"))

    def connected(self, connection: Connection) -> None:
        """See Owner."""
        if self.closed:
            connection.close()
            return
        self.connections.add(connection)

    def answered(self, connection: Connection, ended: float, failure: Failure | None) -> None:
        """See Owner."""
        if failure:
            self.recorder.failure(connection.intended, ended, failure)
        else:
            self.recorder.success(connection.intended, ended)

    def lost(self, connection: Connection, failure: Failure) -> None:
        """See Owner."""
        self.connections.discard(connection)
        if connection.busy:
            self.recorder.failure(connection.intended, time.monotonic(), failure)

    @abstractmethod
    def refused(self, began: float, failure: Failure) -> None:
        """Handle a connection that could not be opened."""

    def expire(self, now: float) -> None:
        """Fail overdue requests."""
        for connection in [each for each in self.connections if each.busy and now - each.sent > self._timeout_s]:
            connection.close(Failure("timeout", f"no answer within {self._timeout_s:g} s"))

    def is_warm(self) -> bool:
        """Return whether counting may start."""
        return True

    def is_idle(self) -> bool:
        """Return whether all requests are answered."""
        return not any(each.busy for each in self.connections)

    def close(self) -> None:
        """Close every connection; unanswered requests fail."""
        self.over = self.closed = True
        for task in self.connecting:
            task.cancel()
        late = Failure("timeout", f"no answer within {self._timeout_s:g} s after the last request was sent")
        for connection in self.connections:
            if connection.busy:
                self.recorder.failure(connection.intended, time.monotonic(), late)
            connection.busy = False  # counted here, because the event loop may not report connections that are closed while it ends
            connection.close()


class Closed(Load):
    """Closed loop: each connection sends its next request when it is answered."""

    def __init__(self, server: ServerAddress, request: bytes, timeout_s: float, count: int) -> None:
        super().__init__(server, request, timeout_s)
        self._count = count

    def begin(self) -> None:
        """See the base class."""
        for _ in range(self._count):
            self.open_connection()

    def connected(self, connection: Connection) -> None:
        """See the base class."""
        super().connected(connection)
        self._next(connection)

    def answered(self, connection: Connection, ended: float, failure: Failure | None) -> None:
        """See the base class."""
        super().answered(connection, ended, failure)
        self._next(connection)

    def _next(self, connection: Connection) -> None:
        if not self.over:
            connection.send(time.monotonic())

    def lost(self, connection: Connection, failure: Failure) -> None:
        """See the base class."""
        super().lost(connection, failure)
        self._loop.call_later(_RECONNECT_S, self.open_connection)

    def refused(self, began: float, failure: Failure) -> None:
        """See the base class."""
        self.recorder.failure(began, time.monotonic(), failure)
        self._loop.call_later(_RECONNECT_S, self.open_connection)

    def is_warm(self) -> bool:
        """See the base class."""
        # a first request may take much longer than later ones, where an engine prepares itself for its shape
        return len(self.recorder.ended) + len(self.recorder.failed) >= self._count


class Once(Closed):
    """Loop of a single request."""

    def answered(self, connection: Connection, ended: float, failure: Failure | None) -> None:
        """See the base class."""
        self.over = True
        super().answered(connection, ended, failure)


class Open(Load):
    """Open loop: send requests at given times, in seconds from the start, whether or not earlier ones are answered."""

    def __init__(self, server: ServerAddress, request: bytes, timeout_s: float, times: Iterator[float]) -> None:
        super().__init__(server, request, timeout_s)
        self._times = times
        self._waiting: deque[float] = deque()
        self._idle: list[Connection] = []
        self._timer = PreciseTimer(self._arrive)
        self._began = self._due = 0.0

    def begin(self) -> None:
        """See the base class."""
        self._began = time.monotonic()
        self._due = self._began + next(self._times)
        self._timer.set(self._due)

    def _arrive(self) -> None:
        if self.over:
            return
        now = time.monotonic()
        while self._due <= now:
            self._waiting.append(self._due)
            self._due = self._began + next(self._times)
        self._timer.set(self._due)
        self._send()

    def _send(self) -> None:
        while self._waiting and self._idle:
            self._idle.pop().send(self._waiting.popleft())
        room = MAX_CONNECTIONS - len(self.connections) - len(self.connecting)
        for _ in range(min(room, len(self._waiting) - len(self.connecting))):
            self.open_connection()

    def connected(self, connection: Connection) -> None:
        """See the base class."""
        super().connected(connection)
        self._idle.append(connection)
        self._send()

    def answered(self, connection: Connection, ended: float, failure: Failure | None) -> None:
        """See the base class."""
        super().answered(connection, ended, failure)
        self._idle.append(connection)
        self._send()

    def lost(self, connection: Connection, failure: Failure) -> None:
        """See the base class."""
        super().lost(connection, failure)
        if not connection.busy and connection in self._idle:
            self._idle.remove(connection)
        self._send()

    def refused(self, began: float, failure: Failure) -> None:  # noqa: ARG002 - the base's signature
        """See the base class."""
        if self._waiting:
            self.recorder.failure(self._waiting.popleft(), time.monotonic(), failure)

    def expire(self, now: float) -> None:
        """See the base class."""
        super().expire(now)
        while self._waiting and now - self._waiting[0] > self._timeout_s:
            self.recorder.failure(self._waiting.popleft(), now, Failure("timeout", f"not even sent within {self._timeout_s:g} s"))

    def is_idle(self) -> bool:
        """See the base class."""
        return not self._waiting and super().is_idle()

    def close(self) -> None:
        """See the base class."""
        self._timer.close()
        now = time.monotonic()
        while self._waiting:
            self.recorder.failure(self._waiting.popleft(), now, Failure("timeout", "not even sent before the round was over"))
        super().close()

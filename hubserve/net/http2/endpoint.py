"""State that the HTTP/2 connections of one server share."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from hubserve.bounded_cache import Recent
from hubserve.net.deadline_monitor import DeadlineMonitor
from hubserve.net.grpc.framing import Budget
from hubserve.net.http2.header_rules import Field
from hubserve.net.http2.rate_limit import Bucket
from hubserve.net.http2.streams import Stream

#: what is read at once, unless it goes where it belongs
_SCRATCH_BYTES = 64 << 10
#: seconds of processor time for costly headers: the burst, and the rate per second
_DECODE_BUDGET = (0.1, 0.1)
_MOST_PEERS = 1024

H = TypeVar("H")


class Bound(Protocol):
    """Bounds how many connections there are, of all protocols of a server."""

    def add(self, connection: Any, transport: Any) -> bool:
        """Count a connection; returns whether there is room for it."""

    def discard(self, connection: Any) -> None:
        """Forget a connection that is closed, or was not counted."""


class _NoBound:
    def add(self, connection: Any, transport: Any) -> bool:  # noqa: ARG002 - as Bound has it
        return True

    def discard(self, connection: Any) -> None:
        pass


@dataclass
class Endpoint(Generic[H]):
    """State that the connections of one server share.

    Attributes:
        make: makes a connection.
        make_head: turns a request's header fields into its head.
        accept: begins to answer a request, and gives its stream a receiver.
        budget: accounts for what is written but not yet taken by the client.
        deadlines: looks after what may become due.
        client_timeout_s: how long a client may take to send the preface, and may be silent before it is sent a PING.
        max_streams: requests of one connection that may be in progress at once.
        bound: bounds how many connections there are.
        connections: those that are open.
    """

    make: "Callable[[Endpoint[H]], Any]"
    make_head: Callable[[list[Field]], H]
    accept: Callable[[Stream, H], None]
    budget: Budget
    deadlines: DeadlineMonitor
    client_timeout_s: float
    max_streams: int
    bound: Bound = field(default_factory=_NoBound)
    connections: set[Any] = field(default_factory=set)
    scratch: memoryview = field(default_factory=lambda: memoryview(bytearray(_SCRATCH_BYTES)))

    _budgets: Recent[str, Bucket] = field(default_factory=lambda: Recent(_MOST_PEERS))
    _emptied: asyncio.Event | None = None

    def connect(self) -> Any:
        """Make the protocol of one more client's connection."""
        return self.make(self)

    def decode_budget(self, transport: Any) -> Bucket:
        """Return the rate limit for the time spent decoding one client's headers.

        All connections of an address share it: otherwise a client that is cut off would get a new one by connecting again.
        """
        address = transport.get_extra_info("peername")
        peer = str(address[0]) if isinstance(address, tuple) else ""
        budget = self._budgets.get(peer)
        if budget is None:
            budget = self._budgets[peer] = Bucket(*_DECODE_BUDGET)
        return budget

    def left(self, connection: Any) -> None:
        """Forget a closed connection."""
        self.bound.discard(connection)
        self.connections.discard(connection)
        if self._emptied and not self.connections:
            self._emptied.set()

    async def stop(self, drain_s: float) -> None:
        """Begin no more requests, give those in progress ``drain_s`` to finish, and close all connections."""
        for connection in tuple(self.connections):
            connection.shutdown()
        if self.connections:
            self._emptied = asyncio.Event()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), drain_s)
        for connection in tuple(self.connections):
            connection.abort()

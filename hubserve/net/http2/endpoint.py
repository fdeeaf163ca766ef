"""State that the HTTP/2 connections of one server share."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from hubserve.bounded_cache import BoundedCache
from hubserve.net.admission import MemoryBudget
from hubserve.net.deadline_monitor import DeadlineMonitor
from hubserve.net.http2.header_rules import Field
from hubserve.net.http2.rate_limit import TokenBucket
from hubserve.net.http2.streams import Stream

#: size of the shared receive buffer
_SCRATCH_BYTES = 64 << 10
#: seconds of processor time for costly headers: the burst, and the rate per second
_DECODE_BUDGET = (0.1, 0.1)
_MOST_PEERS = 1024

H = TypeVar("H")


class ConnectionLimit(Protocol):
    """Limit of the number of connections, of all protocols of a server: :class:`hubserve.net.connection_limits.Connections`."""

    def add(self, connection: Any, transport: Any) -> bool:
        """Count a connection; return True if the limit allows it."""

    def discard(self, connection: Any) -> None:
        """Forget a connection that is closed, or was not counted."""


class _NoLimit:
    def add(self, connection: Any, transport: Any) -> bool:  # noqa: ARG002 - see ConnectionLimit
        return True

    def discard(self, connection: Any) -> None:
        pass


@dataclass
class Endpoint(Generic[H]):
    """State that the connections of one server share.

    Attributes:
        make_connection: makes a connection.
        make_head: turns a request's header fields into its head.
        accept: starts to answer a request, and gives its stream a receiver.
        budget: accounts for what is written and not yet read by the client.
        deadlines: watches the connections' deadlines.
        client_timeout_s: how long a client may take to send the preface, and may be silent before it is sent a PING.
        max_streams: requests of one connection that may be in progress at once.
        connection_limit: limits the number of connections.
        connections: those that are open.
        scratch: receive buffer of all connections.
    """

    make_connection: "Callable[[Endpoint[H]], Any]"
    make_head: Callable[[list[Field]], H]
    accept: Callable[[Stream, H], None]
    budget: MemoryBudget
    deadlines: DeadlineMonitor
    client_timeout_s: float
    max_streams: int
    connection_limit: ConnectionLimit = field(default_factory=_NoLimit)
    connections: set[Any] = field(default_factory=set)
    scratch: memoryview = field(default_factory=lambda: memoryview(bytearray(_SCRATCH_BYTES)))

    _decode_budgets: BoundedCache[str, TokenBucket] = field(default_factory=lambda: BoundedCache(_MOST_PEERS))
    _all_closed: asyncio.Event | None = None

    def connect(self) -> Any:
        """Make the protocol of a new connection."""
        return self.make_connection(self)

    def decode_budget(self, peer: str) -> TokenBucket:
        """Return the rate limit for the time spent decoding one client's headers.

        All connections of an address share it: otherwise a client that is cut off would get a new one by connecting again.
        """
        budget = self._decode_budgets.get(peer)
        if budget is None:
            budget = self._decode_budgets[peer] = TokenBucket(*_DECODE_BUDGET)
        return budget

    def connection_lost(self, connection: Any) -> None:
        """Forget a closed connection."""
        self.connection_limit.discard(connection)
        self.connections.discard(connection)
        if self._all_closed and not self.connections:
            self._all_closed.set()

    async def stop(self, drain_s: float) -> None:
        """Refuse new requests, give those in progress ``drain_s`` to finish, and close all connections."""
        for connection in tuple(self.connections):
            connection.shutdown()
        if self.connections:
            self._all_closed = asyncio.Event()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._all_closed.wait(), drain_s)
        for connection in tuple(self.connections):
            connection.abort()

"""Limit the number of connections: in all, so that descriptors are left for everything else, and of one address.

At the limit, the longest idle connection of the address with the most connections is closed for a new one: so a client that opens
connections without end closes its own. A connection is idle while no request of it is in progress, even if it never had one.
"""

import logging
import resource
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from hubserve.errors import ConfigError

log = logging.getLogger("hubserve")

#: the most descriptors that are requested
_MOST_DESCRIPTORS = 1 << 16
_MOST_CONNECTIONS = 1 << 14
#: connections that may wait to be accepted
MOST_WAITING = 2048
#: the share of the descriptors that waiting connections may take before the first of them is handled
_WAITING_DIVISOR = 4
#: the share of the connections that one address may have, so that others always get one
_SHARE_OF_ONE_PEER = 0.75
#: the largest share of the descriptors for connections
_LARGEST_SHARE = 0.75
#: seconds without a search after no idle connection was found
_SEARCH_PAUSE_S = 0.05
_LOG_EVERY_S = 60.0
_IPV6_NETWORK_GROUPS = 4
_ALL = "*"


class Connection(Protocol):
    """A client's connection, of any protocol.

    Attributes:
        idle_since: when the client last sent something or was last answered, on the clock of ``time.monotonic``; 0 while a request is in
            progress.
    """

    @property
    def idle_since(self) -> float:
        """See the class."""

    def evict(self) -> None:
        """Close at once."""


class Connections:
    """Connections of a server, of all its ports.

    Args:
        most: the most connections.
        most_per_peer: the most connections of one address.
        backlog: connections that may wait to be accepted at each port.
        has_many_clients: returns True for the address of a proxy, to which the limit of one address does not apply.

    Attributes:
        backlog: see Args.
        refused: connections that were closed because of the limits.
    """

    def __init__(
        self, most: int, most_per_peer: int, backlog: int = MOST_WAITING, has_many_clients: Callable[[str], bool] | None = None
    ) -> None:
        self.backlog = backlog
        self.refused = 0
        self._has_many_clients = has_many_clients
        self._most = most
        self._most_per_peer = most_per_peer
        self._peer_of: dict[Connection, str] = {}
        self._by_peer: dict[str, dict[Connection, None]] = {}
        self._idle: dict[str, deque[tuple[float, Connection]]] = {}  # as of the last search, longest idle first
        self._by_size: dict[int, dict[str, None]] = {}  # number of connections -> addresses that have so many
        self._search_again: dict[str, float] = {}  # when; by address, or for all
        self._logged = 0.0

    def __len__(self) -> int:
        """Return the number of connections."""
        return len(self._peer_of)

    def add(self, connection: Connection, transport: Any) -> bool:
        """Count a new connection; close another one for it if necessary.

        Args:
            connection: the new connection.
            transport: its transport, which has the client's address.
        Returns:
            True if the limits allow it; if not, the caller closes it.
        """
        peername = transport.get_extra_info("peername")
        peer = peer_group(peername)
        mine = self._by_peer.get(peer, {})
        is_limited = len(mine) >= self._most_per_peer and not self._is_proxy(peername)
        if is_limited and not self._evict(peer, [peer]):
            self._log(f"the address {peer} has {len(mine)} connections, which is the limit for one (max_connections_per_peer)")
            self.refused += 1
            return False
        if len(self._peer_of) >= self._most and not self._evict(_ALL, self._largest_first()):
            self._log(f"there are {len(self._peer_of)} connections, which is the limit (max_connections), and none is idle")
            self.refused += 1
            return False
        self._peer_of[connection] = peer
        self._by_peer.setdefault(peer, mine)[connection] = None
        self._resized(peer, len(mine) - 1, len(mine))
        return True

    def _is_proxy(self, peername: Any) -> bool:
        return self._has_many_clients is not None and self._has_many_clients(str(peername[0]) if isinstance(peername, tuple) else "")

    def discard(self, connection: Connection) -> None:
        """Forget a connection that is closed, or was not counted."""
        peer = self._peer_of.pop(connection, None)
        if peer is None:
            return
        mine = self._by_peer[peer]
        del mine[connection]
        self._resized(peer, len(mine) + 1, len(mine))
        if not mine:
            for table in (self._by_peer, self._idle, self._search_again):
                table.pop(peer, None)

    def _evict(self, group: str, peers: Iterable[str]) -> bool:
        """Close one idle connection, of the first of these addresses that has one; return True if there was one."""
        now = time.monotonic()
        if now < self._search_again.get(group, 0.0):
            return False
        for peer in peers:
            victim = self._longest_idle(peer)
            if victim:
                self.discard(victim)
                victim.evict()
                return True
        self._search_again[group] = now + _SEARCH_PAUSE_S
        return False

    def _largest_first(self) -> Iterator[str]:
        """Yield the addresses, those with the most connections first."""
        for size in sorted(self._by_size, reverse=True):
            yield from tuple(self._by_size[size])

    def _resized(self, peer: str, before: int, after: int) -> None:
        """Record that an address's number of connections changed."""
        if before:
            del self._by_size[before][peer]
            if not self._by_size[before]:
                del self._by_size[before]
        if after:
            self._by_size.setdefault(after, {})[peer] = None

    def _longest_idle(self, peer: str) -> Connection | None:
        """Return the longest idle connection of an address; search all only once those found before are used up."""
        for is_new in (False, True):
            if is_new:
                self._idle[peer] = deque(sorted(((each.idle_since, each) for each in self._by_peer[peer] if each.idle_since), key=_since))
            found = self._idle.get(peer)
            while found:
                since, connection = found.popleft()
                if connection in self._peer_of and connection.idle_since == since:
                    return connection
        return None

    def _log(self, text: str) -> None:
        now = time.monotonic()
        if now - self._logged >= _LOG_EVERY_S:
            self._logged = now
            log.warning("connections are refused: %s", text)


def _since(idle: tuple[float, Connection]) -> float:
    return idle[0]


def peer_group(address: Any) -> str:
    """Return the group that a client's connections count for: an IPv4 address, an IPv6 network; "" for clients without an address."""
    if not isinstance(address, tuple):
        return ""
    host = str(address[0])
    if ":" not in host or host.startswith("::"):
        return host
    return ":".join(host.split(":")[:_IPV6_NETWORK_GROUPS])


def raise_descriptor_limit() -> int:
    """Raise this process's limit of descriptors as far as the system allows, up to 65,536; return the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return _MOST_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


def connections_for(
    descriptors: int, most: int | None, most_per_peer: int | None, has_many_clients: Callable[[str], bool] | None = None
) -> Connections:
    """Return the connection limits of a server.

    Args:
        descriptors: this process's limit; by default, half of it is for connections, the rest for instances and files.
        most: the setting ``max_connections``.
        most_per_peer: the setting ``max_connections_per_peer``.
        has_many_clients: returns True for the address of a proxy.
    Raises:
        ConfigError: there are not enough descriptors for ``most``.
    """
    if most and most > descriptors * _LARGEST_SHARE:
        raise ConfigError(
            f"max_connections is {most}, but this process may have {descriptors} descriptors, of which instances and files need some; "
            "raise the limit (ulimit -n), or lower max_connections"
        )
    most = most or max(1, min(descriptors // 2, _MOST_CONNECTIONS))
    backlog = min(MOST_WAITING, descriptors // _WAITING_DIVISOR)
    return Connections(most, most_per_peer or max(1, int(most * _SHARE_OF_ONE_PEER)), backlog, has_many_clients)

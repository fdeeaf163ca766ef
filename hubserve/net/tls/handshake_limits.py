"""Limit what the TLS handshakes of one address cost: processor time, and handshakes that are not complete.

A handshake costs the server up to some milliseconds on the event loop, and a client almost nothing if it leaves it there. Beyond its share
of time, an address's handshakes wait, so that a burst of honest clients behind one address is delayed and not refused.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

from hubserve.net.connection_limits import peer_group

log = logging.getLogger("hubserve")

#: seconds of processor time that an address may use at once: about as long as other clients may have to wait
_BURST_S = 0.25
#: handshakes of an address that are not complete; further ones replace the oldest
_MOST_PENDING = 1024
#: the shortest time after which waiting handshakes are looked at again
_TICK_S = 0.01
#: addresses that are remembered without a handshake in progress
_MOST_IDLE_PEERS = 4096
_LOG_EVERY_S = 60.0


class Handshake(Protocol):
    """A handshake in progress."""

    def resume(self) -> None:
        """Continue: its address has time again."""

    def displace(self) -> None:
        """Close for another handshake of the same address."""


class _Peer:
    """The handshakes of one address.

    Attributes:
        pending: those that are not complete, the oldest first.
        waiting: those that wait for time, the oldest first.
    """

    def __init__(self) -> None:
        self.pending: dict[Handshake, None] = {}
        self.waiting: dict[Handshake, None] = {}
        self.timer: asyncio.TimerHandle | None = None
        self._left_s = _BURST_S
        self._since = time.monotonic()

    def left_s(self, share: float) -> float:
        """Return the processor time that is left; negative if more was used."""
        now = time.monotonic()
        self._left_s = min(_BURST_S, self._left_s + (now - self._since) * share)
        self._since = now
        return self._left_s

    def charge(self, seconds: float) -> None:
        """Use up time."""
        self._left_s -= seconds


class HandshakeLimits:
    """Limits that all encrypted ports of a server share.

    Args:
        share: largest share of a core for the handshakes of one address in the long run; 1 for no limit.
        has_many_clients: returns True for the address of a proxy, to which the limits do not apply.
        most_pending: most handshakes of one address that are not complete.
    """

    def __init__(self, share: float, has_many_clients: Callable[[str], bool] | None = None, most_pending: int = _MOST_PENDING) -> None:
        self._share = share
        self._has_many_clients = has_many_clients
        self._most_pending = most_pending
        self._peers: dict[str, _Peer] = {}
        self._peer_of: dict[Handshake, str] = {}
        self._logged = 0.0

    def begin(self, handshake: Handshake, peername: Any) -> None:
        """Count a handshake until :meth:`end`.

        Args:
            handshake: a new one.
            peername: the client's address, as asyncio has it.
        """
        address = peer_group(peername)
        if not address or (self._has_many_clients and self._has_many_clients(str(peername[0]))):
            return
        peer = self._peers.get(address)
        if peer is None:
            peer = self._peers[address] = _Peer()
        if len(peer.pending) >= self._most_pending:
            oldest = next(iter(peer.pending))
            self.end(oldest)
            oldest.displace()
        self._peers[address] = peer  # closing the oldest may have removed it
        peer.pending[handshake] = None
        self._peer_of[handshake] = address

    def end(self, handshake: Handshake) -> None:
        """Forget a handshake that is complete, has failed or was not counted."""
        address = self._peer_of.pop(handshake, None)
        if address is None:
            return
        peer = self._peers[address]
        del peer.pending[handshake]
        peer.waiting.pop(handshake, None)
        if not peer.pending and (peer.left_s(self._share) >= _BURST_S or len(self._peers) > _MOST_IDLE_PEERS):
            del self._peers[address]

    def must_wait(self, handshake: Handshake) -> bool:
        """Return True if a handshake must wait until :meth:`Handshake.resume` is called."""
        peer = self._peers.get(self._peer_of.get(handshake, ""))
        if peer is None or self._share >= 1 or (not peer.waiting and peer.left_s(self._share) > 0):
            return False
        peer.waiting[handshake] = None
        self._wake_later(peer)
        now = time.monotonic()
        if now - self._logged >= _LOG_EVERY_S:
            self._logged = now
            log.warning(
                "TLS handshakes of the address %s are delayed: they take more than %g of a core (tls_handshake_share)",
                self._peer_of[handshake],
                self._share,
            )
        return True

    def charge(self, handshake: Handshake, seconds: float) -> None:
        """Count the processor time that a part of a handshake took."""
        peer = self._peers.get(self._peer_of.get(handshake, ""))
        if peer:
            peer.charge(seconds)

    def _wake_later(self, peer: _Peer) -> None:
        if peer.timer is None:
            delay_s = max(_TICK_S, -peer.left_s(self._share) / self._share)
            peer.timer = asyncio.get_running_loop().call_later(delay_s, self._wake, peer)

    def _wake(self, peer: _Peer) -> None:
        peer.timer = None
        try:
            while peer.waiting and peer.left_s(self._share) > 0:
                handshake = next(iter(peer.waiting))
                del peer.waiting[handshake]
                handshake.resume()
        finally:
            if peer.waiting:
                self._wake_later(peer)

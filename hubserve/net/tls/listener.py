"""TLS of one listening port: ``create_server(listener.secure(make_protocol), ...)`` instead of ``create_server(make_protocol, ...)``."""

from collections import Counter
from collections.abc import Callable
from typing import Any

from hubserve.net.connection_limits import Connections
from hubserve.net.deadline_monitor import DeadlineMonitor
from hubserve.net.tls.connection import TlsConnection
from hubserve.net.tls.handshake_limits import HandshakeLimits
from hubserve.wire.certificates import ReloadingContext

_CHECK_EVERY_S = 0.25
#: size of the shared receive buffer
_SCRATCH_BYTES = 256 << 10


class TlsListener:
    """State that the TLS connections of one port share.

    Args:
        contexts: the port's certificate and key.
        limit: counts connections, also during their handshakes.
        timeout_s: longest time of a handshake.
        handshakes: counts handshakes by their result: ``ok``, or the reason of the failure.
        limits: what the handshakes of one address may cost; None for no limits.

    Attributes:
        contexts, limit, timeout_s, handshakes, limits: see Args.
        deadlines: watches handshakes.
        unfinished: connections whose handshake is not complete.
        scratch: receive buffer of all connections.
    """

    def __init__(
        self,
        contexts: ReloadingContext,
        limit: Connections,
        timeout_s: float,
        handshakes: "Counter[str]",
        limits: HandshakeLimits | None = None,
    ) -> None:
        self.contexts = contexts
        self.limit = limit
        self.timeout_s = timeout_s
        self.handshakes = handshakes
        self.limits = limits or HandshakeLimits(share=1)
        self.deadlines = DeadlineMonitor(_CHECK_EVERY_S)
        self.unfinished: set[TlsConnection] = set()
        self.scratch = memoryview(bytearray(_SCRATCH_BYTES))

    def secure(self, make: Callable[..., Any]) -> Callable[..., TlsConnection]:
        """Return a factory of TLS connections.

        Args:
            make: makes the protocol inside a connection, once its handshake is complete; it gets the factory's arguments.
        """

        def make_secured(*args: Any, **options: Any) -> TlsConnection:
            return TlsConnection(self, lambda: make(*args, **options))

        return make_secured

    def stop(self) -> None:
        """Close the connections whose handshake is not complete."""
        for connection in tuple(self.unfinished):
            connection.evict()

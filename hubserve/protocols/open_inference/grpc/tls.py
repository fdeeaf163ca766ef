"""Accept gRPC connections with TLS.

asyncio could do the handshake itself, but then connections whose clients stall in the handshake would not count towards the limits.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from typing import Any

from hubserve.errors import ConfigError
from hubserve.net.http2.endpoint import Endpoint
from hubserve.settings import ServerSettings

log = logging.getLogger("hubserve")

#: pause after a failure to accept a connection
_PAUSE_S = 0.1


def tls_context(settings: ServerSettings) -> ssl.SSLContext:
    """Return the TLS context for encrypted connections.

    Raises:
        ConfigError: the files cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.grpc_tls_cert, settings.grpc_tls_key)
    except OSError as error:
        files = f"'{settings.grpc_tls_cert}' and '{settings.grpc_tls_key}'"
        raise ConfigError(f"{files} are not PEM files of a certificate and its key ({error.strerror}); gRPC with TLS needs both") from None
    context.set_alpn_protocols(["h2"])
    return context


class TlsServer:
    """Server of TLS connections, which count towards the limits before their handshakes.

    Args:
        endpoint: creates the protocol objects of connections.
        context: of TLS.
        timeout_s: longest time of a handshake.
        listener: a listening socket.
    """

    def __init__(self, endpoint: Endpoint[Any], context: ssl.SSLContext, timeout_s: float, listener: socket.socket) -> None:
        self._endpoint = endpoint
        self._context = context
        self._timeout_s = timeout_s
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        listener.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Accept no more connections."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._listener)
            self._listener.close()

    def _listen(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return
        except OSError as error:  # most likely out of descriptors: pause, as waiting clients would wake the loop at once
            log.warning("cannot accept a connection for gRPC: %s", error)
            self._loop.remove_reader(self._listener)
            self._loop.call_later(_PAUSE_S, self._listen)
            return
        client.setblocking(False)
        handshake = _Handshake(client, self._endpoint.connect())
        if not self._endpoint.connection_limit.add(handshake, handshake):
            client.close()
            return
        task = self._loop.create_task(self._run(handshake))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, handshake: "_Handshake") -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: handshake.connection, handshake.client, ssl=self._context, ssl_handshake_timeout=self._timeout_s
            )
        except (OSError, asyncio.TimeoutError) as error:
            log.debug("a TLS handshake failed: %s", error)
        finally:
            self._endpoint.connection_limit.discard(handshake)


class _Handshake:
    """A connection during its handshake, as :class:`hubserve.net.connection_limits.Connections` needs it.

    Args:
        client: its socket.
        connection: its protocol object after the handshake.
    """

    def __init__(self, client: socket.socket, connection: Any) -> None:
        self.client = client
        self.connection = connection
        self.idle_since = time.monotonic()

    def get_extra_info(self, name: str) -> Any:
        """Return the client's address for "peername", like a transport."""
        try:
            return self.client.getpeername() if name == "peername" else None
        except OSError:  # the client has disconnected
            return None

    def evict(self) -> None:
        """Close the connection unless its handshake is complete."""
        if not self.connection.is_connected:
            with contextlib.suppress(OSError):
                self.client.shutdown(socket.SHUT_RDWR)

"""Connect to one instance on another machine through TLS; see :mod:`hubserve.instance.remote_listener`."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from hubserve.errors import LoadFailed
from hubserve.gateway.instances.instance import Instance
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.gateway.instances.process import InstanceProcess
from hubserve.instance.remote_listener import parse_address
from hubserve.wire.certificates import TlsFiles
from hubserve.wire.model_access import ModelAccess
from hubserve.wire.peer_certificates import PeerCertificates
from hubserve.wire.tls import ASK_INSTANCE, OK, Identity, SharedKey, Untrusted, receive_line, relay, send_line

_CONNECT_TIMEOUT_S = 10.0


class RemoteInstance(Instance):
    """An instance on another machine. It ends with its connection, and its memory is unknown here."""

    @property
    def pid(self) -> int:
        """Unknown here: 0."""
        return 0

    @property
    def location(self) -> str:
        """Its address, for messages."""
        return self.spec.address

    def memory_bytes(self) -> int:
        """Return 0: it is unknown here."""
        return 0

    def kill(self) -> None:
        """Close the connection, at which the other machine ends the process."""
        if self._connection:
            self._connection.close()

    async def _wait_until_ended(self, deadline: float) -> None:
        """Return at once: nothing but the connection ends here."""

    def _how_it_ended(self) -> str:
        return "closed its socket"

    def _may_have_crashed(self) -> bool:
        return True  # the other machine does not say how it ended

    async def _connect(self) -> None:
        address = parse_address(self.spec.address)
        key = identity(self.spec.token_file, self.spec.certificates)
        try:
            sock = await _in_thread(lambda: _attach(address, key))
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started
            raise LoadFailed(
                f"'{self.spec.module}': no instance is available at {self.spec.address} ({error or 'no answer'}). "
                f"{start_advice(self.spec.address, self.spec.certificates)}"
            ) from None
        _, self._connection = await self._loop.create_unix_connection(lambda: self._new_connection(None), sock=sock)


def identity(token_file: str, certificates: TlsFiles | None) -> Identity:
    """Return what the gateway proves to listeners; its files are read now.

    Raises:
        ConfigError: a file cannot be used.
    """
    return PeerCertificates(certificates, server_side=False) if certificates else SharedKey(Path(token_file))


def start_advice(address: str, certificates: TlsFiles | None) -> str:
    """Return the sentence that says how to start a listener."""
    how, options = ("with the same key", "--token-file FILE")
    if certificates:
        how, options = "with a certificate for that name", "--tls-cert FILE --tls-key FILE --tls-client-ca FILE"
    return f"Start one there, {how}: python -m hubserve.instance --listen {address} {options}"


def _attach(address: tuple[str, int], key: Identity) -> socket.socket:
    """Connect to an instance; returns a local socket to it, which closes together with the connection."""
    with ExitStack() as unused:
        secured = unused.enter_context(connect(address, key, ASK_INSTANCE, _CONNECT_TIMEOUT_S))
        ours, theirs = map(unused.enter_context, socket.socketpair())
        threading.Thread(target=relay, args=(secured, theirs), name="hubserve-remote", daemon=True).start()
        unused.pop_all()
    ours.setblocking(False)
    return ours


def connect(address: tuple[str, int], key: Identity, ask: str, timeout_s: float) -> ssl.SSLSocket:
    """Connect to a listener, prove who they are to one another, and ask for something; blocks.

    Args:
        address: host and port.
        key: the shared key, or certificates.
        ask: a request that :mod:`hubserve.wire.tls` names.
        timeout_s: for all of it.
    Raises:
        Untrusted: the peer does not have the key, is not a listener, or refuses; the message says why.
        OSError: there is no connection, or no answer in time.
    """
    deadline = time.monotonic() + timeout_s
    sock = socket.create_connection(address, timeout_s)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock = secured = key.wrap(sock, server_side=False, host=address[0])
        secured.settimeout(max(0.001, deadline - time.monotonic()))
        key.handshake(secured)
        with suppress(OSError):  # a listener that has refused this side says so in what it has sent
            send_line(secured, ask)
        answer = receive_line(secured, deadline)
        if answer != OK:
            raise Untrusted(answer)
    except BaseException:
        sock.close()
        raise
    return secured


async def _in_thread(work: Callable[[], socket.socket]) -> socket.socket:
    """Connect in a thread that does not delay the server's end; closes a connection that is no longer wanted."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[socket.socket] = loop.create_future()

    def resolve(connected: socket.socket | None, error: Exception | None) -> None:
        if done.cancelled():
            if connected:
                connected.close()
        elif connected:
            done.set_result(connected)
        else:
            done.set_exception(error or OSError("no connection"))

    def run() -> None:
        connected, failed = None, None
        try:
            connected = work()
        except Exception as error:
            failed = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(resolve, connected, failed)

    threading.Thread(target=run, name="hubserve-connect", daemon=True).start()
    return await done


def create_instance(spec: InstanceSpec, models: Callable[[], ModelAccess]) -> Instance:
    """Return an instance that is not started yet, on this machine or at the address of its specification."""
    return RemoteInstance(spec, models) if spec.address else InstanceProcess(spec, models)

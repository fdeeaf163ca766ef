"""One instance on another machine, at the other end of a TCP connection; see :mod:`hubserve.instance.listen`."""

import asyncio
import socket
from pathlib import Path

from hubserve.errors import LoadFailed
from hubserve.instance.listen import GREETING, NONCE_BYTES, parse_address, proof, read_token
from hubserve.serving.model_calls import ModelCalls
from hubserve.serving.process import InstanceProcess
from hubserve.serving.spec import InstanceSpec

_CONNECT_TIMEOUT_S = 10.0


class RemoteInstance(InstanceProcess):
    """As a local one, but what ends it is the end of the connection, and its memory is its own machine's affair."""

    @property
    def place(self) -> str:
        """Its address."""
        return self.spec.address

    def memory_bytes(self) -> int:
        """Not known here: 0."""
        return 0

    def kill(self) -> None:
        """Close the connection, at which the other side ends the process."""
        if self._connection:
            self._connection.close()

    async def _spawn(self) -> None:
        address = parse_address(self.spec.address)
        token = read_token(Path(self.spec.token_file))
        try:
            sock = await asyncio.wait_for(_connect(address, token), _CONNECT_TIMEOUT_S)
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError) as error:
            raise LoadFailed(
                f"'{self.spec.module}': no instance is to be had at {self.spec.address} ({error or 'no answer'}). "
                f"Start one there: python -m hubserve.instance --listen {self.spec.address} --token-file FILE"
            ) from None
        _, self._connection = await self._loop.create_connection(lambda: self._new_connection(None), sock=sock)


async def _connect(address: tuple[str, int], token: bytes) -> socket.socket:
    loop = asyncio.get_running_loop()
    (family, kind, *_, where), *_ = await loop.getaddrinfo(*address, type=socket.SOCK_STREAM)
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, where)
        greeting = b""
        while len(greeting) < len(GREETING) + NONCE_BYTES:
            chunk = await loop.sock_recv(sock, len(GREETING) + NONCE_BYTES - len(greeting))
            if not chunk:
                raise ConnectionResetError("it closed the connection")
            greeting += chunk
        if not greeting.startswith(GREETING):
            raise ConnectionRefusedError("what listens there is no hubserve instance")
        await loop.sock_sendall(sock, proof(token, greeting[len(GREETING) :]))
    except BaseException:
        sock.close()
        raise
    return sock


def create_instance(spec: InstanceSpec, calls: ModelCalls) -> InstanceProcess:
    """An instance, not started yet, here or where its specification says."""
    return RemoteInstance(spec, calls) if spec.address else InstanceProcess(spec, calls)

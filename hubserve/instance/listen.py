"""Instances for a gateway on another machine: ``python -m hubserve.instance --listen HOST:PORT --token-file FILE``.

Each connection that proves to know the token gets an instance process of its own, which lives as long as the connection. What travels is
not encrypted: use it in networks that you trust, or through a tunnel.
"""

import hmac
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Callable, List, Tuple

from hubserve.errors import ConfigError

GREETING = b"HUB1"
NONCE_BYTES = 32
PROOF_BYTES = 32
_PROOF_TIMEOUT_S = 10.0
_MAX_CONNECTIONS = 256
_SHORTEST_TOKEN = 16


def proof(token: bytes, nonce: bytes) -> bytes:
    """What shows that its sender knows the token: 32 bytes."""
    return hmac.new(token, nonce, "sha256").digest()


def read_token(path: Path) -> bytes:
    """The secret that gateway and listener share.

    Raises:
        ConfigError: the file cannot be read, or holds too little.
    """
    try:
        token = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"cannot read the token file '{path}': {error.strerror}") from None
    if len(token) < _SHORTEST_TOKEN:
        raise ConfigError(f"the token in '{path}' is shorter than {_SHORTEST_TOKEN} bytes; make one with: openssl rand -hex 32 > '{path}'")
    return token


def parse_address(address: str) -> Tuple[str, int]:
    """``host:port`` in its parts.

    Raises:
        ConfigError: it is none.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"'{address}' is no address; it must look like 10.0.0.5:9000")
    return host.strip("[]"), int(port)


def listen(address: str, token: bytes, command: Callable[[int], List[str]]) -> int:
    """Start an instance for each gateway that connects; until the process is ended.

    Args:
        address: where to listen, ``host:port``; port 0 for any free one, which is printed.
        token: the shared secret.
        command: the command line of an instance that serves the given descriptor.
    """
    host, port = parse_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    places = threading.BoundedSemaphore(_MAX_CONNECTIONS)
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            raise ConfigError(f"cannot listen on {address}: {error.strerror}") from None
        listener.listen()
        sys.stderr.write(f"listening on {host}:{listener.getsockname()[1]}\n")
        while True:
            connection, peer = listener.accept()
            if not places.acquire(blocking=False):
                sys.stderr.write(f"refused {peer[0]}: {_MAX_CONNECTIONS} instances run\n")
                connection.close()
                continue
            threading.Thread(target=_attend, args=(connection, peer[0], token, command, places), daemon=True).start()


def _attend(connection: socket.socket, peer: str, token: bytes, command: Callable[[int], List[str]], places: threading.Semaphore) -> None:
    try:
        with connection:
            if not _is_trusted(connection, token):
                sys.stderr.write(f"refused {peer}: it does not know the token\n")
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            child = subprocess.Popen(command(connection.fileno()), pass_fds=[connection.fileno()], stdin=subprocess.DEVNULL)
        child.wait()
    finally:
        places.release()


def _is_trusted(connection: socket.socket, token: bytes) -> bool:
    nonce = os.urandom(NONCE_BYTES)
    received = b""
    connection.settimeout(_PROOF_TIMEOUT_S)
    try:
        connection.sendall(GREETING + nonce)
        while len(received) < PROOF_BYTES:
            chunk = connection.recv(PROOF_BYTES - len(received))
            if not chunk:
                return False
            received += chunk
    except OSError:
        return False
    connection.settimeout(None)
    return hmac.compare_digest(received, proof(token, nonce))

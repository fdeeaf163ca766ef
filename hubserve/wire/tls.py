"""Set up TLS between a gateway and a listener that share one key file: both present the same certificate, and accept no other.

The file (``hub key remote FILE``) holds a private key and its self-signed certificate in PEM. Any holder of it is trusted; TLS 1.3 binds
the proof of possession to the connection, so it cannot be relayed.
"""

import select
import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path
from typing import Callable, Dict, Protocol

from hubserve.errors import ConfigError

#: lines that a gateway may send after the handshake; the answer is a line, OK or a reason
ASK_INSTANCE, ASK_PROBE = "hubserve 2 instance", "hubserve 2 probe"
OK = "ok"

_CHUNK_BYTES = 64 << 10
_MAX_LINE_BYTES = 300
_CERTIFICATE = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----")


class Untrusted(ConnectionError):
    """The peer does not have the key, or does not use TLS."""


class Identity(Protocol):
    """Proof of one side to the other: :class:`SharedKey`, or :class:`hubserve.wire.peer_certificates.PeerCertificates`.

    Attributes:
        proof: what the other side must prove, for messages.
    """

    proof: str

    def wrap(self, sock: socket.socket, *, server_side: bool, host: str = "") -> ssl.SSLSocket:
        """See :meth:`SharedKey.wrap`."""

    def handshake(self, secured: ssl.SSLSocket) -> None:
        """See :meth:`SharedKey.handshake`."""


class SharedKey:
    """The identity that gateway and listener share.

    Args:
        path: the key file.

    Attributes:
        proof: what the other side must prove, for messages.

    Raises:
        ConfigError: the file cannot be read, or does not hold a key and a certificate.
    """

    proof = "that it has the key"

    def __init__(self, path: Path) -> None:
        advice = f"Make a key, and copy it to the other machine: hub key remote '{path}'"
        try:
            text = path.read_text("ascii")
        except OSError as error:
            raise ConfigError(f"cannot read the token file '{path}': {error.strerror}. {advice}") from None
        except UnicodeDecodeError:
            text = ""
        begin, end = (text.find(each) for each in _CERTIFICATE)
        if begin < 0 or end < begin:
            raise ConfigError(f"the token file '{path}' holds no key and certificate; tokens of older versions are not accepted. {advice}")
        self._path = path
        self._certificate = text[begin : end + len(_CERTIFICATE[1])] + "\n"
        try:
            self._der = ssl.PEM_cert_to_DER_cert(self._certificate)
            self._server, self._client = self._context(ssl.PROTOCOL_TLS_SERVER), self._context(ssl.PROTOCOL_TLS_CLIENT)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(f"the key in '{path}' cannot be used ({error}). {advice}") from None

    def _context(self, protocol: int) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # the certificate itself is compared
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(str(self._path), password="")
        context.load_verify_locations(cadata=self._certificate)
        if protocol == ssl.PROTOCOL_TLS_SERVER:
            context.num_tickets = 0
        return context

    def wrap(self, sock: socket.socket, *, server_side: bool, host: str = "") -> ssl.SSLSocket:  # noqa: ARG002 - only the key is compared
        """Wrap a connected socket in TLS without sending anything yet; the socket itself must not be used afterwards."""
        context = self._server if server_side else self._client
        return context.wrap_socket(sock, server_side=server_side, do_handshake_on_connect=False)

    def handshake(self, secured: ssl.SSLSocket) -> None:
        """Do the handshake within the socket's timeout.

        Raises:
            Untrusted: the peer does not have the key, or does not speak TLS 1.3.
            OSError: the connection broke, or timed out.
        """
        try:
            secured.do_handshake()
        except ssl.SSLCertVerificationError:
            raise Untrusted("it has another key") from None
        except ssl.SSLEOFError:
            raise Untrusted("it closed the connection before it proved that it has the key") from None
        except ssl.SSLError as error:
            raise Untrusted(
                f"it does not speak TLS as hubserve does ({error.reason or error}); both sides must run the same version"
            ) from None
        if secured.getpeercert(binary_form=True) != self._der:
            raise Untrusted("it has another key")


def send_line(sock: socket.socket, line: str) -> None:
    """Send one line."""
    sock.sendall(line.encode("ascii", "replace")[: _MAX_LINE_BYTES - 1].replace(b"\n", b" ") + b"\n")


def receive_line(sock: socket.socket, deadline: float) -> str:
    """Receive one line, and no byte beyond it.

    Args:
        sock: connected.
        deadline: for the whole line, on the clock of ``time.monotonic``.

    Raises:
        Untrusted: the line is too long, or the connection ended within it.
        OSError: the connection broke, or the deadline has passed.
    """
    line = b""
    while not line.endswith(b"\n"):
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            byte = sock.recv(1)
        except ssl.SSLError as error:  # in TLS 1.3 a client learns only now that its certificate was refused
            raise Untrusted(f"it refused the key or certificate ({error.reason or error})") from None
        if not byte or len(line) == _MAX_LINE_BYTES:
            raise Untrusted("it closed the connection" if not byte else "it does not speak hubserve's protocol")
        line += byte
    return line[:-1].decode("ascii", "replace")


def relay(secured: ssl.SSLSocket, local: socket.socket) -> None:
    """Relay bytes both ways until one side ends, then close both."""
    with secured, local:
        secured.setblocking(False)
        local.setblocking(False)
        with suppress(OSError):  # one side failed; all that can be reported to the other is the end
            _Relay(secured, local).run()


class _Relay:
    """Relay that holds at most one chunk per direction, so that a slow receiver slows the sender down."""

    def __init__(self, secured: ssl.SSLSocket, local: socket.socket) -> None:
        self._secured, self._local = secured, local
        self._buffers: Dict[socket.socket, bytearray] = {secured: bytearray(_CHUNK_BYTES), local: bytearray(_CHUNK_BYTES)}
        self._unsent: Dict[socket.socket, memoryview] = {secured: memoryview(b""), local: memoryview(b"")}
        self._waits: Dict[socket.socket, int] = {secured: 0, local: 0}

    def run(self) -> None:
        while True:
            self._waits = dict.fromkeys(self._waits, 0)
            moved = [self._move(self._local, self._secured), self._move(self._secured, self._local)]
            if -1 in moved:
                return
            if not any(moved):
                poll = select.poll()
                for sock, events in self._waits.items():
                    if events:
                        poll.register(sock, events)
                poll.poll()

    def _move(self, source: socket.socket, target: socket.socket) -> int:
        """Move bytes without blocking and return their number; -1 if the source has ended."""
        if not self._unsent[target]:
            count = self._try(source, lambda: source.recv_into(self._buffers[source]), select.POLLIN)
            if count == 0:
                return -1
            self._unsent[target] = memoryview(self._buffers[source])[: max(0, count)]
        if not self._unsent[target]:
            return 0
        sent = self._try(target, lambda: target.send(self._unsent[target]), select.POLLOUT)
        self._unsent[target] = self._unsent[target][max(0, sent) :]
        return max(0, sent)

    def _try(self, sock: socket.socket, action: Callable[[], int], event: int) -> int:
        """Return what the action returns; if it would block, record the event to wait for and return -1."""
        try:
            return action()
        except ssl.SSLWantReadError:
            event = select.POLLIN
        except ssl.SSLWantWriteError:
            event = select.POLLOUT
        except BlockingIOError:
            pass
        self._waits[sock] |= event
        return -1

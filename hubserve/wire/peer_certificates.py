"""Set up TLS between a gateway and a listener that have certificates of an organisation's authorities.

Both sides present one and check the other's. The files are read again when they change; connections that exist go on.
"""

import socket
import ssl
import threading
from typing import Any, Callable, Iterator, Sequence

from hubserve.errors import ConfigError
from hubserve.wire.certificates import ReloadingContext, TlsFiles
from hubserve.wire.tls import Untrusted


class PeerCertificates:
    """The identity of one side.

    Args:
        files: its certificate and key, and the authorities of the other side.
        server_side: whether it is the listener.
        names: of the other side, one of which its certificate must have: a DNS name, a URI or the common name; empty for any. A gateway
            checks the name of the address that it connects to instead.
        log: called with a sentence if changed files cannot be used; the last good ones stay in use.

    Attributes:
        proof: what the other side must prove, for messages.

    Raises:
        ConfigError: a file cannot be used.
    """

    proof = "that it has a certificate of the right authority"

    def __init__(
        self, files: TlsFiles, *, server_side: bool, names: Sequence[str] = (), log: Callable[[str], None] = lambda _: None
    ) -> None:
        self._names = {each.lower() for each in names}
        self._is_listener = server_side
        self._log = log
        self._logged = ""
        self._lock = threading.Lock()
        self._contexts = ReloadingContext(files, ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)

    def wrap(self, sock: socket.socket, *, server_side: bool, host: str = "") -> ssl.SSLSocket:
        """Wrap a connected socket in TLS without sending anything yet; the socket itself must not be used afterwards.

        Args:
            sock: connected.
            server_side: as for the constructor.
            host: of a gateway: the name or address that the listener's certificate must have.
        """
        context = self._current()
        return context.wrap_socket(sock, server_side=server_side, do_handshake_on_connect=False, server_hostname=host or None)

    def handshake(self, secured: ssl.SSLSocket) -> None:
        """Do the handshake within the socket's timeout.

        Raises:
            Untrusted: the peer has no certificate of the authorities, another name, or does not speak TLS 1.3.
            OSError: the connection broke, or timed out.
        """
        try:
            secured.do_handshake()
        except ssl.SSLCertVerificationError as error:
            raise Untrusted(f"its certificate is not accepted here ({error.verify_message})") from None
        except ssl.SSLEOFError:
            raise Untrusted("it closed the connection before it proved who it is") from None
        except ssl.SSLError as error:
            raise Untrusted(f"it has no certificate, or does not speak TLS as hubserve does ({error.reason or error})") from None
        found = list(_names(secured.getpeercert() or {}))
        if self._names and not self._names.intersection(each.lower() for each in found):
            raise Untrusted(f"its certificate is for {', '.join(found)[:200] or 'no name'}, which --tls-client-name does not list")

    def _current(self) -> ssl.SSLContext:
        with self._lock:
            try:
                self._contexts.check()
                self._logged = ""
            except ConfigError as error:
                if self._logged != error.message:  # a pair whose second file has not come yet is tried again
                    self._logged = error.message
                    self._log(f"the last good certificate stays in use: {error.message}")
            context = self._contexts.current
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            if self._is_listener:
                context.num_tickets = 0
            return context


def _names(certificate: Any) -> Iterator[str]:
    """Yield the names in a verified certificate: the alternative ones, and the common name."""
    for kind, value in certificate.get("subjectAltName", ()):
        if kind in ("DNS", "URI"):
            yield value
    for part in certificate.get("subject", ()):
        for key, value in part:
            if key == "commonName":
                yield value

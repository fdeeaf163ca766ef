"""Load certificates and keys for TLS servers, and load them again when their files change."""

import os
import ssl
from typing import List, NamedTuple, Optional, Sequence, Tuple

from hubserve.errors import ConfigError

#: of TLS 1.2; those of TLS 1.3 are all modern
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_CRL = "-----BEGIN X509 CRL-----"

_State = Tuple[Optional[Tuple[int, int, int, int]], ...]


class TlsFiles(NamedTuple):
    """PEM files of one side of TLS connections.

    Attributes:
        certificate: the certificate chain, the own one first.
        key: its private key.
        authorities: certificates of the authorities that the other side's certificate must come from, and perhaps their revocation lists;
            "" to accept clients without a certificate.
    """

    certificate: str
    key: str
    authorities: str = ""

    def context(self, protocol: int = ssl.PROTOCOL_TLS_SERVER) -> ssl.SSLContext:
        """Return a context with these files: TLS 1.2 or later, without renegotiation and compression.

        Raises:
            ConfigError: the files cannot be used.
        """
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(_CIPHERS)
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        self._load_pair(context)
        if self.authorities:
            self._load_authorities(context)
        return context

    def state(self) -> _State:
        """Return what changes when one of the files is written or replaced, also by way of a symbolic link."""
        return tuple(_file_state(path) for path in self if path)

    def _load_pair(self, context: ssl.SSLContext) -> None:
        if b"ENCRYPTED" in _read(self.key, self):
            raise ConfigError(
                f"the key '{self.key}' is encrypted, and a server starts without anyone to type its password; "
                f"decrypt it into a file that only the server's user can read: openssl pkey -in '{self.key}' -out plain-key.pem"
            )
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ValueError) as error:
            reason = "the key is not the certificate's" if "MISMATCH" in str(error) else getattr(error, "strerror", "") or error
            raise self._unusable(reason) from None

    def _unusable(self, reason: object) -> ConfigError:
        return ConfigError(
            f"'{self.certificate}' and '{self.key}' are not PEM files of a certificate and its key ({reason}); give both, of one pair"
        )

    def _load_authorities(self, context: ssl.SSLContext) -> None:
        try:
            with open(self.authorities, encoding="ascii", errors="replace") as file:
                has_revocations = _CRL in file.read()
            context.load_verify_locations(self.authorities)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", "") or error
            raise ConfigError(
                f"'{self.authorities}' is not a PEM file of certificates of authorities ({reason}); give those that sign the certificates "
                "of the other side"
            ) from None
        context.verify_mode = ssl.CERT_REQUIRED
        if has_revocations:
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF


def _read(path: str, files: TlsFiles) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise files._unusable(error.strerror) from None


def _file_state(path: str) -> Optional[Tuple[int, int, int, int]]:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class ReloadingContext:
    """Context of TLS that follows its files.

    A certificate and its key are replaced one after the other, so a pair that does not fit, or is incomplete, is tried again at the next
    check; until then the last good one stays in use.

    Args:
        files: the PEM files.
        protocol: ``ssl.PROTOCOL_TLS_SERVER`` or ``ssl.PROTOCOL_TLS_CLIENT``.
        alpn: names of the application protocols, the preferred one first.

    Attributes:
        files: see Args.
        current: the context for new connections.

    Raises:
        ConfigError: the files cannot be used.
    """

    def __init__(self, files: TlsFiles, protocol: int = ssl.PROTOCOL_TLS_SERVER, alpn: Sequence[str] = ()) -> None:
        self.files = files
        self._protocol = protocol
        self._alpn: List[str] = list(alpn)
        self._state = files.state()
        self.current = self._load()

    def check(self) -> bool:
        """Load the files again if they have changed; return True if :attr:`current` is new.

        Raises:
            ConfigError: they have changed, and cannot be used; :attr:`current` stays.
        """
        state = self.files.state()  # before reading: what changes meanwhile is seen at the next check
        if state == self._state:
            return False
        self.current = self._load()
        self._state = state
        return True

    def _load(self) -> ssl.SSLContext:
        context = self.files.context(self._protocol)
        if self._alpn:
            context.set_alpn_protocols(self._alpn)
        return context

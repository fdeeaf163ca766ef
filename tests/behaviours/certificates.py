"""Certificates for tests: an authority, and what it signs."""

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_NAMES = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])


class Authority:
    """Authority that signs certificates for localhost and 127.0.0.1.

    Attributes:
        file: its own certificate, in PEM.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.file = folder / "authority.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("authority")
        self.file.write_bytes(self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None)))

    def write(self, folder: Path, name: str, *, costly: bool = False) -> tuple[str, str]:
        """Write a new key and its certificate, whose common name is ``name``; return the paths of certificate and key.

        Args:
            folder: where to write them.
            name: also of the files.
            costly: use a key that needs much processor time for each handshake.
        """
        key: Key = rsa.generate_private_key(65537, 4096) if costly else ec.generate_private_key(ec.SECP256R1())
        certificate, own = folder / f"{name}.pem", folder / f"{name}.key"
        certificate.write_bytes(self._sign(_named(name), key, _NAMES))
        own.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        own.chmod(0o600)
        return str(certificate), str(own)

    def client(self, version: ssl.TLSVersion | None = None, alpn: list[str] | None = None) -> ssl.SSLContext:
        """Return the context of a client that trusts this authority."""
        context = ssl.create_default_context(cafile=str(self.file))
        if version:
            context.minimum_version = context.maximum_version = version
        if alpn:
            context.set_alpn_protocols(alpn)
        return context

    def _sign(self, subject: x509.Name, key: Key, extension: x509.ExtensionType) -> bytes:
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        builder = builder.not_valid_after(now + datetime.timedelta(days=30)).add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

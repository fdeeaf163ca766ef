"""Make the key that a gateway and its listeners on other machines share."""

import os
from datetime import datetime, timezone
from pathlib import Path

from hubserve.errors import ConfigError

_NAME = "hubserve remote instances"
#: the key is valid until it is replaced, however two machines' clocks are set (RFC 5280, 4.1.2.5)
_FROM, _UNTIL = datetime(2000, 1, 1, tzinfo=timezone.utc), datetime(9999, 12, 31, 23, 59, 59, tzinfo=timezone.utc)


def make_key(path: Path) -> None:
    """Write a new private key (P-256) and its self-signed certificate into a file that only its owner may read.

    Raises:
        ConfigError: the file is there already, or cannot be written.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), _FROM, _UNTIL)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    certificate = builder.sign(key, hashes.SHA256())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(private + certificate.public_bytes(Encoding.PEM))
    except FileExistsError:
        raise ConfigError(f"'{path}' exists, and keys are never overwritten. Name another file.") from None
    except OSError as error:
        raise ConfigError(f"cannot write '{path}': {error.strerror}. Name another file, or fix the problem.") from None

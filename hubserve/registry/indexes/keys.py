"""Ed25519 keys: generate, read from files, identify."""

import base64
import binascii
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from hubserve.errors import ConfigError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_PREFIX = "ed25519:"
_KEY_BYTES = 32
_MAX_KEY_FILE_BYTES = 16 << 10


def generate(path: Path) -> str:
    """Generate a key pair: the private key in ``path``, readable by its owner only, and the public one in ``path.pub``.

    Returns:
        The public key's text.
    Raises:
        ConfigError: one of the files exists already, or cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.generate()
    text = public_text(key)
    try:
        _write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
        _write_new(public_path(path), (text + "\n").encode(), 0o644)
    except FileExistsError as error:
        raise ConfigError(f"'{error.filename}' exists already, and keys are never overwritten. Name another file.") from None
    except OSError as error:
        raise ConfigError(f"cannot write '{path}': {error.strerror}. Name another file, or fix the problem.") from error
    return text


def public_path(path: Path) -> Path:
    """Return the path of the public key that belongs to a private key's file."""
    return path.with_name(path.name + ".pub")


def _write_new(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def load_private(path: Path) -> "Ed25519PrivateKey":
    """Read a private key.

    Raises:
        ConfigError: the file cannot be read, or holds no Ed25519 private key.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key: object = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise ConfigError(f"cannot read the key '{path}': {error.strerror}. 'hub key generate FILE' makes one.") from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"'{path}' holds no unencrypted Ed25519 private key in PEM. 'hub key generate FILE' makes one.")
    return key


def parse_public(text_or_file: str) -> str:
    """Return a public key's text, given that text, a file that holds it, or a PEM file.

    Raises:
        ConfigError: it is not a public key.
    """
    text = text_or_file.strip()
    if not text.startswith(_PREFIX):
        text = _read_key_file(Path(text_or_file).expanduser())
    if text.startswith("-----BEGIN PUBLIC KEY"):
        text = _from_pem(text) or text
    words = text.split()
    try:
        if words and words[0].startswith(_PREFIX) and len(base64.b64decode(words[0].removeprefix(_PREFIX), validate=True)) == _KEY_BYTES:
            return words[0]
    except binascii.Error:
        pass
    private = " It looks like a private key, which must be kept secret: give the .pub file." if "PRIVATE" in text else ""
    raise ConfigError(f"{text_or_file[:80]!a} is not a public key: it should be 'ed25519:' and 44 letters, or a file with that.{private}")


def _read_key_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_KEY_FILE_BYTES).decode("utf-8", "replace").strip()
    except OSError as error:
        raise ConfigError(f"cannot read the key '{path}': {error.strerror}. Give the .pub file of a key, or the text in it.") from None


def _from_pem(text: str) -> str:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(text.encode())
    except ValueError:
        return ""
    return _PREFIX + base64.b64encode(key.public_bytes_raw()).decode() if isinstance(key, Ed25519PublicKey) else ""


def public_text(key: "Ed25519PrivateKey") -> str:
    """Return the text of a private key's public key: ``ed25519:`` and base64 of 32 bytes."""
    return _PREFIX + base64.b64encode(key.public_key().public_bytes_raw()).decode()


def public_bytes(text: str) -> bytes:
    """Return the 32 bytes of a public key's text."""
    return base64.b64decode(text.removeprefix(_PREFIX))


def key_identifier(text: str) -> str:
    """Return the first 16 hexadecimal digits of a public key's SHA-256."""
    return hashlib.sha256(public_bytes(text)).hexdigest()[:16]

"""Ed25519 signatures of archives, and the keys that are trusted to make them."""

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hubserve.errors import ConfigError, InstallError
from hubserve.registry.configuration import read_list, write_list
from hubserve.registry.downloads.canonical import index_key
from hubserve.registry.indexes.format import Release, Signature

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_PREFIX = "ed25519:"
_KEY_BYTES = 32
_LIST = "trusted_keys"
#: Said in what is signed, so that no signature made for something else passes for one of a module.
_PURPOSE = "hubserve module 1"
_MAX_KEY_FILE_BYTES = 16 << 10


class TrustedKey(NamedTuple):
    """A public key that may sign.

    Attributes:
        name: whose it is.
        text: ``ed25519:`` and base64 of 32 bytes.
        scope: the index that it is trusted for; "" for every one.
    """

    name: str
    text: str
    scope: str = ""

    @property
    def identifier(self) -> str:
        """What signatures name it by."""
        return key_identifier(self.text)


def signed_text(name: str, release: Release) -> bytes:
    """What is signed: the canonical JSON (sorted keys, no spaces, ASCII) of purpose, name, version, digest and size."""
    fields = {"purpose": _PURPOSE, "name": name, "version": release.version, "sha256": release.sha256, "size_bytes": release.size_bytes}
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def generate(path: Path) -> str:
    """Make a key pair: the private key in ``path``, which only its owner may read, and the public one in ``path.pub``.

    Returns:
        The public key's text.
    Raises:
        ConfigError: one of the files is there already, or cannot be written.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = Ed25519PrivateKey.generate()
    text = _public_text(key)
    try:
        _write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
        _write_new(public_path(path), (text + "\n").encode(), 0o644)
    except FileExistsError as error:
        raise ConfigError(f"'{error.filename}' is there already, and keys are never overwritten. Name another file.") from None
    except OSError as error:
        raise ConfigError(f"cannot write '{path}': {error.strerror}. Name another file, or mend the cause.") from error
    return text


def public_path(path: Path) -> Path:
    """Where the public key of a private one is."""
    return path.with_name(path.name + ".pub")


def _write_new(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)


def load_private(path: Path) -> "Ed25519PrivateKey":
    """Read a private key.

    Raises:
        ConfigError: the file cannot be read, or holds no such key.
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


def sign(key: "Ed25519PrivateKey", name: str, release: Release) -> Signature:
    """Sign one version."""
    value = base64.b64encode(key.sign(signed_text(name, release))).decode()
    return Signature(key=key_identifier(_public_text(key)), value=value)


def parse_public(text_or_file: str) -> str:
    """A public key's text, out of that text, or a file that holds it, or one in PEM.

    Raises:
        ConfigError: it is none.
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
    private = " It looks like a private key, which nobody else should see: give the .pub file." if "PRIVATE" in text else ""
    raise ConfigError(f"{text_or_file[:80]!a} is no public key: it should be 'ed25519:' and 44 letters, or a file with that.{private}")


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


def _public_text(key: "Ed25519PrivateKey") -> str:
    return _PREFIX + base64.b64encode(key.public_key().public_bytes_raw()).decode()


def key_identifier(text: str) -> str:
    """16 hexadecimal digits of a public key's SHA-256."""
    return hashlib.sha256(base64.b64decode(text.removeprefix(_PREFIX))).hexdigest()[:16]


def trusted_keys(home: Path) -> list[TrustedKey]:
    """The keys that are trusted here.

    Raises:
        ConfigError: the settings are damaged.
    """
    return [TrustedKey(row.get("name", ""), parse_public(row.get("key", "")), row.get("index", "")) for row in read_list(home, _LIST)]


def trust(home: Path, name: str, text: str, scope: str = "") -> None:
    """Trust a key.

    Raises:
        ConfigError: another key has that name for the same index.
    """
    present = trusted_keys(home)
    if any(each.name == name and _place(each.scope) == _place(scope) for each in present):
        raise ConfigError(f"a key of '{name}' is trusted already; 'hub key list' shows it. Give another --name, or remove that one first.")
    _write(home, [*present, TrustedKey(name, text, scope)])


def keys_for(home: Path, location: str) -> list[TrustedKey]:
    """Return the keys that are trusted for the index at a location, in any spelling of it."""
    return [each for each in trusted_keys(home) if not each.scope or _place(each.scope) == _place(location)]


def _place(scope: str) -> str:
    return index_key(scope) if scope else ""


def distrust(home: Path, name: str) -> list[TrustedKey]:
    """Trust the keys of a name, or of an identifier, no more; returns them.

    Raises:
        ConfigError: there are none.
    """
    present = trusted_keys(home)
    gone = [each for each in present if name in (each.name, each.identifier)]
    if not gone:
        raise ConfigError(f"no key of '{name}' is trusted. 'hub key list' shows those that are.")
    _write(home, [each for each in present if each not in gone])
    return gone


def _write(home: Path, keys: Sequence[TrustedKey]) -> None:
    write_list(home, _LIST, [{"name": each.name, "key": each.text, **({"index": each.scope} if each.scope else {})} for each in keys])


def verify(name: str, release: Release, keys: Sequence[TrustedKey], *, required: bool, shown: str) -> TrustedKey | None:
    """Check who signed a version.

    Args:
        name: the module.
        release: the version, as its index has it.
        keys: those that are trusted for that index.
        required: whether a signature is asked for even if ``keys`` is empty.
        shown: what the index is called in messages.
    Returns:
        The key that signed it; None where no signature is asked for.
    Raises:
        InstallError: it is not signed by any of ``keys``.
    """
    if not keys and not required:
        return None
    what = f"{name} {release.version} from {shown} is refused"
    if not keys:
        raise InstallError(
            f"{what}: the setting install.require_signature is on, and no key is trusted. Run: hub key trust FILE --name WHO"
        )
    if release.signature is None:
        raise InstallError(
            f"{what}: nobody signed it, and keys are trusted here ({_names(keys)}). Ask its publisher for: hub publish --key FILE"
        )
    key = next((each for each in keys if each.identifier == release.signature.key), None)
    if key is None:
        raise InstallError(
            f"{what}: it is signed with the key {release.signature.key[:40]!a}, which is not trusted ({_names(keys)} are). If it should "
            "be, run: hub key trust FILE --name WHO"
        )
    if not _holds(key, release.signature, signed_text(name, release)):
        raise InstallError(f"{what}: its signature is not the one that {key.name}'s key makes. Somebody changed the index: tell its owner.")
    return key


def is_signed(name: str, release: Release, keys: Sequence[TrustedKey]) -> bool:
    """Return True if one of ``keys`` signed a version."""
    signature = release.signature
    return signature is not None and any(
        each.identifier == signature.key and _holds(each, signature, signed_text(name, release)) for each in keys
    )


def _holds(key: TrustedKey, signature: Signature, text: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    public = Ed25519PublicKey.from_public_bytes(base64.b64decode(key.text.removeprefix(_PREFIX)))
    try:
        public.verify(base64.b64decode(signature.value, validate=True), text)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return signature.algorithm == "ed25519"


def _names(keys: Sequence[TrustedKey]) -> str:
    return ", ".join(f"{each.name} {each.identifier}" for each in keys[:5])

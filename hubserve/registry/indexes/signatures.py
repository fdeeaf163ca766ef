"""Ed25519 signatures of releases: make and verify them."""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hubserve.errors import InstallError
from hubserve.registry.indexes.format import Release, Signature
from hubserve.registry.indexes.keys import key_identifier, public_bytes, public_text
from hubserve.registry.indexes.trusted_keys import TrustedKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

#: part of what is signed, so that a signature made for another purpose is not valid for a module
_PURPOSE = "hubserve module 1"


def signed_text(name: str, release: Release) -> bytes:
    """Return the bytes to sign: canonical JSON (sorted keys, no spaces, ASCII) of purpose, name, version, digest and size."""
    fields = {"purpose": _PURPOSE, "name": name, "version": release.version, "sha256": release.sha256, "size_bytes": release.size_bytes}
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def sign(key: "Ed25519PrivateKey", name: str, release: Release) -> Signature:
    """Sign one version."""
    value = base64.b64encode(key.sign(signed_text(name, release))).decode()
    return Signature(key=key_identifier(public_text(key)), value=value)


def verify(name: str, release: Release, keys: Sequence[TrustedKey], *, required: bool, shown: str) -> TrustedKey | None:
    """Verify the signature of a version.

    Args:
        name: the module's name.
        release: the version, as in its index.
        keys: those that are trusted for that index.
        required: require a signature even if ``keys`` is empty.
        shown: the index's name in messages.
    Returns:
        The key that signed it; None if no signature is required.
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
            f"{what}: it is not signed, and keys are trusted here ({_names(keys)}). Ask its publisher for: hub publish --key FILE"
        )
    key = next((each for each in keys if each.identifier == release.signature.key), None)
    if key is None:
        raise InstallError(
            f"{what}: it is signed with the key {release.signature.key[:40]!a}, which is not trusted ({_names(keys)} are). If it should "
            "be, run: hub key trust FILE --name WHO"
        )
    if not _is_valid(key, release.signature, signed_text(name, release)):
        raise InstallError(
            f"{what}: its signature by {key.name}'s key is not valid. The index was changed: report it to the index's owner."
        )
    return key


def is_signed(name: str, release: Release, keys: Sequence[TrustedKey]) -> bool:
    """Return True if one of ``keys`` signed a version."""
    signature = release.signature
    return signature is not None and any(
        each.identifier == signature.key and _is_valid(each, signature, signed_text(name, release)) for each in keys
    )


def _is_valid(key: TrustedKey, signature: Signature, text: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    public = Ed25519PublicKey.from_public_bytes(public_bytes(key.text))
    try:
        public.verify(base64.b64decode(signature.value, validate=True), text)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return signature.algorithm == "ed25519"


def _names(keys: Sequence[TrustedKey]) -> str:
    return ", ".join(f"{each.name} {each.identifier}" for each in keys[:5])

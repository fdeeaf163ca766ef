"""The public keys that this home trusts to sign modules, each for one index or for all."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import ConfigError
from hubserve.registry.configuration import read_list, write_list
from hubserve.registry.downloads.canonical import index_key
from hubserve.registry.indexes.keys import key_identifier, parse_public

_LIST = "trusted_keys"


class TrustedKey(NamedTuple):
    """A trusted public key.

    Attributes:
        name: the name of its owner.
        text: ``ed25519:`` and base64 of 32 bytes.
        scope: the index that it is trusted for; "" for every one.
    """

    name: str
    text: str
    scope: str = ""

    @property
    def identifier(self) -> str:
        """The key's identifier in signatures."""
        return key_identifier(self.text)


def trusted_keys(home: Path) -> list[TrustedKey]:
    """Return the trusted keys of a home.

    Raises:
        ConfigError: the settings are damaged.
    """
    return [TrustedKey(row.get("name", ""), parse_public(row.get("key", "")), row.get("index", "")) for row in read_list(home, _LIST)]


def keys_for(home: Path, location: str) -> list[TrustedKey]:
    """Return the keys that are trusted for the index at a location, in any spelling of it."""
    return [each for each in trusted_keys(home) if not each.scope or _canonical(each.scope) == _canonical(location)]


def trust(home: Path, name: str, text: str, scope: str = "") -> None:
    """Trust a key.

    Raises:
        ConfigError: a key with that name is trusted for the same index already.
    """
    present = trusted_keys(home)
    if any(each.name == name and _canonical(each.scope) == _canonical(scope) for each in present):
        raise ConfigError(f"a key of '{name}' is trusted already; 'hub key list' shows it. Give another --name, or remove that one first.")
    _write(home, [*present, TrustedKey(name, text, scope)])


def distrust(home: Path, name: str) -> list[TrustedKey]:
    """Stop trusting the keys with a name or an identifier, and return them.

    Raises:
        ConfigError: there are none.
    """
    present = trusted_keys(home)
    removed = [each for each in present if name in (each.name, each.identifier)]
    if not removed:
        raise ConfigError(f"no key of '{name}' is trusted. 'hub key list' shows those that are.")
    _write(home, [each for each in present if each not in removed])
    return removed


def _canonical(scope: str) -> str:
    return index_key(scope) if scope else ""


def _write(home: Path, keys: Sequence[TrustedKey]) -> None:
    write_list(home, _LIST, [{"name": each.name, "key": each.text, **({"index": each.scope} if each.scope else {})} for each in keys])

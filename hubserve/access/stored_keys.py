"""The file of keys: JSON that has the digest of each key, never the key itself."""

import fnmatch
import math
import re
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from hubserve.access.keys import AccessKey
from hubserve.errors import ConfigError

_PositiveNumber = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=1)]
#: names go into logs and metrics
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
HIGHEST_PRIORITY = 100


class StoredKey(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """One key in the file; see :class:`hubserve.access.keys.AccessKey`.

    Attributes:
        sha256: of the key's text, in hexadecimal digits.
        modules: names, or patterns with ``*``, ``?`` and ``[...]``.
        created, expires: with their time zone.
        burst: not set: the rate, rounded up.
    """

    id: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{4,32}$")]
    name: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)]
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    scopes: list[Literal["infer", "metadata", "metrics", "admin"]]
    modules: list[Annotated[str, msgspec.Meta(min_length=1, max_length=256)]] = []
    created: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    expires: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    rate: _PositiveNumber | None = None
    burst: _Count | None = None
    concurrency: _Count | None = None
    priority: Annotated[int, msgspec.Meta(ge=-HIGHEST_PRIORITY, le=HIGHEST_PRIORITY)] = 0

    def usable(self) -> AccessKey:
        """Return the key as a server uses it."""
        return AccessKey(
            self.id,
            self.name,
            bytes.fromhex(self.sha256),
            frozenset(self.scopes),
            re.compile("|".join(fnmatch.translate(each) for each in self.modules) or r"(?!)"),
            self.expires.timestamp() if self.expires else None,
            self.rate,
            self.burst or max(1, math.ceil(self.rate or 1)),
            self.concurrency,
            self.priority,
        )

    @property
    def has_expired(self) -> bool:
        """True if the key is no longer accepted."""
        return self.expires is not None and self.expires <= datetime.now(timezone.utc)


class _File(msgspec.Struct, forbid_unknown_fields=True):
    keys: list[StoredKey]


def parse_keys(content: bytes, path: Path) -> list[StoredKey]:
    """Return the keys of a file.

    Args:
        content: of the file.
        path: its name, for messages.
    Raises:
        ConfigError: it is not a file of keys; the message has no part of its content but the place of the mistake.
    """
    try:
        keys = msgspec.json.decode(content, type=_File).keys
    except msgspec.DecodeError as error:
        raise ConfigError(
            f"the file of keys '{path}' cannot be used: {error}. It is written by: hub access create '{path}' --name NAME --modules MODULE"
        ) from None
    seen: set[str] = set()
    for each in keys:
        if each.id in seen:
            raise ConfigError(f"the file of keys '{path}' has the id '{each.id}' twice. Remove one of the two keys.")
        seen.add(each.id)
    return keys


def make_key(**values: Any) -> StoredKey:
    """Return a key of some values, which are checked as those of a file.

    Raises:
        ConfigError: one cannot be used.
    """
    try:
        return msgspec.convert(msgspec.to_builtins(StoredKey(**values)), StoredKey)
    except msgspec.ValidationError as error:
        raise ConfigError(f"the key cannot be created: {error}. Choose another value.") from None


def format_keys(keys: Iterable[StoredKey]) -> bytes:
    """Return the content of a file of keys."""
    return msgspec.json.format(msgspec.json.encode(_File(list(keys))), indent=2) + b"\n"

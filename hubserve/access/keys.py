"""What an API key may do, and the text that its holder sends: ``hsk_<id>_<secret>``.

The secret is 256 random bits, so that one round of SHA-256 hides it as well as a slow hash would hide a password.
"""

import hashlib
import os
import re
import secrets
from dataclasses import dataclass, field
from enum import Enum
from re import Pattern

from hubserve.errors import ConfigError

_PREFIX = "hsk"
_ID_BYTES = 5
_SECRET_BYTES = 32
#: the longest text that can be a key
_LONGEST = 256
ADMIN = "admin"
#: environment variable with the key that clients of this package send
VARIABLE = "HUB_API_KEY"


class Need(Enum):
    """Needs of requests: what their key must permit. The value is the scope, if one is needed."""

    OPEN = "no key"
    ANY = "any key"
    INFER = "infer"
    METADATA = "metadata"
    METRICS = "metrics"
    ADMIN = ADMIN


#: the names of the scopes of a key
SCOPES = tuple(each.value for each in (Need.INFER, Need.METADATA, Need.METRICS, Need.ADMIN))
#: what the scope admin includes
_OF_ADMINS = (Need.METADATA, Need.METRICS, Need.ADMIN)


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key that a server accepts.

    Attributes:
        id: the part of the key that anybody may know.
        name: of its holder.
        digest: SHA-256 of the key's text.
        scopes: some of :data:`SCOPES`.
        modules: matches the names of the modules that it may use.
        expires_at: in seconds since 1970; None for never.
        rate: most requests per second, on average; None for any number.
        burst: most requests at once after a pause.
        concurrency: most requests in progress; None for any number.
        priority: the best one that its requests may ask for; lower ones are computed first.
        permitted: the needs that its scopes cover.
        is_limited: whether its requests are counted, for a limit.
    """

    id: str
    name: str
    digest: bytes
    scopes: frozenset[str]
    modules: Pattern[str]
    expires_at: float | None = None
    rate: float | None = None
    burst: int = 1
    concurrency: int | None = None
    priority: int = 0
    permitted: tuple[Need, ...] = field(init=False, repr=False, compare=False)
    is_limited: bool = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        of_admins = _OF_ADMINS if ADMIN in self.scopes else ()
        permitted = [each for each in Need if each.value in self.scopes or each in (Need.OPEN, Need.ANY, *of_admins)]
        object.__setattr__(self, "permitted", tuple(permitted))  # for each request; a tuple compares members by identity
        object.__setattr__(self, "is_limited", self.rate is not None or self.concurrency is not None)

    def shows(self, module: str, need: Need) -> bool:
        """Return True if a module exists for a request with this key."""
        if need is Need.INFER:
            return self.modules.fullmatch(module) is not None
        return ADMIN in self.scopes or (need is Need.METADATA and self.modules.fullmatch(module) is not None)


def new_key() -> tuple[str, str]:
    """Return a new key: its id, and the whole text."""
    key_id = secrets.token_hex(_ID_BYTES)
    return key_id, f"{_PREFIX}_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"


def id_of(text: str) -> str:
    """Return the id in the text of a key; "" for other texts. The secret may contain the separator."""
    parts = text.split("_", 2) if len(text) <= _LONGEST else ()
    return parts[1] if len(parts) == 3 and parts[0] == _PREFIX else ""


def key_in(api_key: str, authorization: str) -> str:
    """Return the key that a client has sent, in any protocol; "" for none.

    Args:
        api_key: the value of ``X-API-Key``, which counts first, because the other header may be for a proxy.
        authorization: the value of ``Authorization``.
    """
    if api_key:
        return api_key.strip()
    scheme, _, value = authorization.partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def key_to_send(given: str | None) -> str:
    """Return the key that a client sends: the one given, or that of the variable ``HUB_API_KEY``; "" for none.

    Raises:
        ConfigError: it has characters that no key has, such as a line break; the message does not show it.
    """
    text = (os.environ.get(VARIABLE, "") if given is None else given).strip()
    if not re.fullmatch(r"[!-~]*", text):
        where = f"the variable {VARIABLE}" if given is None else "the given key"
        raise ConfigError(
            f"{where} cannot be an API key: it has spaces or characters other than printable ASCII. Copy the whole key, and only that."
        )
    return text


def digest_of(text: str) -> bytes:
    """Return the SHA-256 of the text of a key."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()

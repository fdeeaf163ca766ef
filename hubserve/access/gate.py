"""Check the key of each request, whatever protocol carries it."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hubserve.access.keyring import Keyring
from hubserve.access.keys import ADMIN, AccessKey, Need
from hubserve.access.limits import Usage
from hubserve.access.refusals import Forbidden, LimitReached, Unauthenticated
from hubserve.errors import HubError

_MISSING = "this server needs a key: send it as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'"
#: the same for a wrong secret, an unknown id and a revoked key
_INVALID = "the key is not valid on this server: it is wrong, or was revoked; ask the server's operator for a new one"
_MOST_USAGES = 4096


class Grant:
    """Permission of one request, or of one stream of requests.

    Args:
        key: the client's; None where none is needed.
        need: what the request needs.
        on_end: called once when it ends; None for nothing.

    Attributes:
        key: the client's; None where none is needed.
        need: what the request needs.
    """

    __slots__ = ("_on_end", "key", "need")

    def __init__(self, key: AccessKey | None, need: Need, on_end: Callable[[], None] | None = None) -> None:
        self.key = key
        self.need = need
        self._on_end = on_end

    @property
    def name(self) -> str:
        """The name of the key's holder; "" for none."""
        return self.key.name if self.key else ""

    @property
    def is_admin(self) -> bool:
        """True if the client may use the admin surface."""
        return self.key is not None and ADMIN in self.key.scopes

    def shows(self, module: str) -> bool:
        """Return True if a module exists for this request."""
        return self.key is not None and self.key.shows(module, self.need)

    def priority(self, asked: int) -> int:
        """Return the priority of a request that asks for one, where lower ones are computed first."""
        return max(asked, self.key.priority) if self.key else asked

    def end(self) -> None:
        """End the request or the stream; further calls have no effect."""
        on_end, self._on_end = self._on_end, None
        if on_end is not None:
            on_end()


class Gate:
    """Check of keys and their limits.

    Args:
        path: of the file of keys.
        refused: counts refusals by their reason.
    Raises:
        ConfigError: the file cannot be used.
    """

    def __init__(self, path: Path, refused: Counter[str]) -> None:
        self._keys = Keyring(path)
        self._refused = refused
        self._usages: dict[str, Usage] = {}

    def reload(self) -> None:
        """Read the file of keys if it has changed.

        Raises:
            ConfigError: it cannot be used; the last good keys stay in use.
        """
        self._keys.reload()

    def admit(self, text: str, need: Need, *, is_stream: bool = False) -> Grant:
        """Return the permission of a request, whose end must be reported to it.

        Args:
            text: the client's key; "" for none.
            need: what the request needs.
            is_stream: whether it is a stream of requests, each of which is then checked by :meth:`request`.
        Raises:
            Unauthenticated: there is no key, or none that is valid.
            Forbidden: the key does not permit it.
            LimitReached: the key's limits do not permit it now.
        """
        if need is Need.OPEN:
            return Grant(None, need)
        if not text:
            raise self._refusal("key_missing", Unauthenticated(_MISSING))
        now = time.monotonic()
        return self._admit(self._keys.find(text, now), need, now, is_stream=is_stream)

    @contextmanager
    def request(self, stream: Grant) -> Iterator[Grant]:
        """Yield the permission of one request of a stream; its key may have changed meanwhile.

        Raises:
            HubError: see :meth:`admit`.
        """
        if stream.key is None:
            yield stream
            return
        now = time.monotonic()
        grant = self._admit(self._keys.current(stream.key, now), stream.need, now)
        try:
            yield grant
        finally:
            grant.end()

    def _admit(self, key: AccessKey | None, need: Need, now: float, *, is_stream: bool = False) -> Grant:
        if key is None:
            raise self._refusal("key_invalid", Unauthenticated(_INVALID, is_invalid=True))
        if key.expires_at is not None and key.expires_at <= time.time():  # only the holder of the right secret learns this
            text = f"the key '{key.name}' expired on {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(key.expires_at))}; ask for a new one"
            raise self._refusal("key_expired", Unauthenticated(text, is_invalid=True))
        if need not in key.permitted:
            raise self._refusal("key_scope", Forbidden(f"the key '{key.name}' does not permit this: it lacks the scope '{need.value}'"))
        if not key.is_limited:
            return Grant(key, need)
        usage = self._usages.get(key.id) or self._new_usage(key.id)
        try:
            if is_stream:
                usage.begin_stream(key)
            else:
                usage.begin_request(key, now)
        except LimitReached as error:
            raise self._refusal("key_limit", error) from None
        return Grant(key, need, usage.end_stream if is_stream else usage.end_request)

    def _new_usage(self, key_id: str) -> Usage:
        if len(self._usages) >= _MOST_USAGES:  # keys that were rotated out
            self._usages = {each: used for each, used in self._usages.items() if self._keys.has(each) or not used.is_idle}
        usage = self._usages[key_id] = Usage()
        return usage

    def _refusal(self, reason: str, error: HubError) -> HubError:
        self._refused[reason] += 1
        return error

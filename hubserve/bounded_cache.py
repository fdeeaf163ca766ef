"""A dict of bounded size."""

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedCache(dict[K, V]):
    """Size-bounded cache, oldest entry first out: clients may send new keys forever.

    Reading or overwriting an entry does not make it newer.

    Args:
        limit: the number of entries that it keeps.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def __setitem__(self, key: K, value: V) -> None:
        if len(self) >= self._limit and key not in self:
            del self[next(iter(self))]
        super().__setitem__(key, value)

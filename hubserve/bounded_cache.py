"""What was found out lately, kept so that it need not be found out again."""

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(dict[K, V]):
    """A dict that forgets what it was given first once it is full: clients may send what is new for ever.

    Args:
        limit: how many entries it keeps.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._limit = limit

    def __setitem__(self, key: K, value: V) -> None:
        if len(self) >= self._limit and key not in self:
            del self[next(iter(self))]
        super().__setitem__(key, value)

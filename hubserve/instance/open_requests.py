"""Requests that a module has not finished, and the flow control of their responses."""

import threading
from collections import deque
from typing import Deque, Dict, List, Sequence, Set

#: responses to one request, or one call, that may be on their way, and their bytes; one response always may
WINDOW_RESPONSES = 32
WINDOW_BYTES = 8 << 20
#: cancellations that may arrive before their requests; older ones beyond these are forgotten
_MAX_EARLY_CANCELLATIONS = 1024


class OpenRequests:
    """The unfinished requests of an instance by their keys; any thread may use it.

    Attributes:
        is_closed: whether no response can be sent any more.
    """

    def __init__(self) -> None:
        self.is_closed = False
        self._changed = threading.Condition()
        self._open: Set[int] = set()
        self._cancelled: Set[int] = set()
        self._acted: Set[int] = set()  # requests for which something was sent or asked
        self._unconsumed: Dict[int, Deque[int]] = {}  # of each request, the sizes of the responses that were not consumed

    def __contains__(self, key: int) -> bool:
        return key in self._open

    def keys(self) -> List[int]:
        """Return the keys of all open requests."""
        with self._changed:
            return list(self._open)

    def add(self, keys: Sequence[int]) -> None:
        """Add requests that the module is about to be given."""
        with self._changed:
            self._open.update(keys)

    def remove(self, keys: Sequence[int]) -> None:
        """Remove requests that are answered."""
        with self._changed:
            self._open.difference_update(keys)
            self._cancelled.difference_update(keys)
            self._acted.difference_update(keys)
            for key in keys:
                self._unconsumed.pop(key, None)
            self._changed.notify_all()

    def discard(self, key: int) -> bool:
        """Remove a request without locking, because the calling thread may hold the lock; return whether it was open."""
        if key not in self._open:
            return False
        self._open.discard(key)
        self._acted.discard(key)
        self._cancelled.discard(key)
        self._unconsumed.pop(key, None)
        return True

    def mark_acted(self, keys: Sequence[int]) -> None:
        """Record that something was sent or asked for requests."""
        with self._changed:
            self._acted.update(self._open.intersection(keys))

    def has_acted(self, keys: Sequence[int]) -> bool:
        """Return whether something was sent or asked for any of these requests."""
        return not self._acted.isdisjoint(keys)

    def cancel(self, key: int) -> None:
        """Record that the answer of a request is not wanted any more; that may arrive before the request itself."""
        with self._changed:
            self._cancelled.add(key)
            if len(self._cancelled) > len(self._open) + _MAX_EARLY_CANCELLATIONS:
                self._cancelled = {each for each in self._cancelled if each >= min(self._open, default=key)}
            self._changed.notify_all()

    def is_cancelled(self, key: int) -> bool:
        """Return whether the answer of a request is not wanted any more."""
        return key in self._cancelled or self.is_closed

    def consumed(self, key: int, count: int) -> None:
        """Record that the client has consumed responses to a request."""
        with self._changed:
            unconsumed = self._unconsumed.get(key, ())
            for _ in range(min(count, len(unconsumed))):
                unconsumed.popleft()  # type: ignore[union-attr]  # count > 0: it is a deque
            self._changed.notify_all()

    def wait_for_window(self, key: int, size: int) -> bool:
        """Wait until a response of ``size`` bytes may be sent, and count it; False if it is not wanted any more."""
        with self._changed:
            while True:
                if self.is_closed or key not in self._open or key in self._cancelled:
                    return False
                unconsumed = self._unconsumed.setdefault(key, deque())
                if not unconsumed or (len(unconsumed) < WINDOW_RESPONSES and sum(unconsumed) + size <= WINDOW_BYTES):
                    unconsumed.append(size)
                    return True
                self._changed.wait()

    def close(self) -> None:
        """End all waiting, because no response can be sent any more."""
        with self._changed:
            self.is_closed = True
            self._changed.notify_all()

    def reset_lock(self) -> None:
        """Replace the lock in a forked process, where a thread that held it will never release it."""
        self._changed = threading.Condition()

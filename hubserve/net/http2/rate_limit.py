"""A bucket of tokens: so many at once, and so many per second."""

import time


class Bucket:
    """Bounds how often something happens, or how much of something there is.

    Args:
        size: how often it may happen at once.
        per_s: how often per second in the long run.
    """

    def __init__(self, size: float, per_s: float) -> None:
        self._size = float(size)
        self._per_s = per_s
        self._left = float(size)
        self._since = time.monotonic()

    def take(self, count: float = 1) -> bool:
        """Count something that happens; returns whether that is within the bounds.

        Args:
            count: how often it happens, or how much of it.
        """
        self._left -= count
        if self._left < 0:
            now = time.monotonic()
            self._left = max(-self._size, min(self._size - count, self._left + (now - self._since) * self._per_s))
            self._since = now
        return self._left >= 0

"""A bucket of tokens: so many at once, and so many per second."""

import time


class Bucket:
    """Bounds how often something happens.

    Args:
        size: how often it may happen at once.
        per_s: how often per second in the long run.
    """

    def __init__(self, size: int, per_s: float) -> None:
        self._size = size
        self._per_s = per_s
        self._left = float(size)
        self._since = time.monotonic()

    def take(self) -> bool:
        """It happens; returns whether that is within the bounds."""
        self._left -= 1
        if self._left < 0:
            now = time.monotonic()
            self._left = min(self._size - 1.0, self._left + (now - self._since) * self._per_s)
            self._since = now
        return self._left >= 0

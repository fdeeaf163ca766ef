"""Limit the rate of events by a token bucket."""

import time


class TokenBucket:
    """Token bucket: a burst, and a rate per second.

    Args:
        size: the burst.
        per_s: the rate in the long run.
    """

    def __init__(self, size: float, per_s: float) -> None:
        self._size = float(size)
        self._per_s = per_s
        self._left = float(size)
        self._since = time.monotonic()

    def consume(self, count: float = 1) -> bool:
        """Consume tokens; return True if that is within the limit.

        Args:
            count: how many tokens.
        """
        self._left -= count
        if self._left < 0:
            now = time.monotonic()
            self._left = max(-self._size, min(self._size - count, self._left + (now - self._since) * self._per_s))
            self._since = now
        return self._left >= 0

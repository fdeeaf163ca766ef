"""Count how many instances of a module compute at the same time."""

import time

#: a call counts as shared if on average more instances than this computed during it
SHARED_FROM = 1.25


class Concurrency:
    """Sum of the computing time of all instances. Times are on the clock of ``time.monotonic``."""

    def __init__(self) -> None:
        self._computing = 0
        self._since = time.monotonic()
        self._total_s = 0.0

    def begin(self, now: float) -> float:
        """Record that an idle instance starts computing, and return :meth:`total_s`."""
        total_s = self.total_s(now)
        self._computing += 1
        return total_s

    def end(self, now: float) -> None:
        """Record that an instance becomes idle."""
        self.total_s(now)
        self._computing -= 1

    def total_s(self, now: float) -> float:
        """Return the seconds that all instances together have computed by now."""
        self._total_s += self._computing * (now - self._since)
        self._since = now
        return self._total_s

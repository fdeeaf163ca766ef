"""Counts how many instances of a module compute at the same time."""

import time

#: A call counts as alone if fewer instances than this computed during it, on average.
_ALONE = 1.25


class Concurrency:
    """How many instances compute, added up over time."""

    def __init__(self) -> None:
        self._computing = 0
        self._since = time.monotonic()
        self._instance_s = 0.0

    def begin(self, now: float) -> None:
        """An instance that was idle computes.

        Args:
            now: on the clock of ``time.monotonic``.
        """
        self.instance_s(now)
        self._computing += 1

    def end(self, now: float) -> None:
        """An instance that computed is idle."""
        self.instance_s(now)
        self._computing -= 1

    def instance_s(self, now: float) -> float:
        """Seconds that all instances have computed by now, added up."""
        self._instance_s += self._computing * (now - self._since)
        self._since = now
        return self._instance_s

    def was_shared(self, since_instance_s: float, seconds: float, now: float) -> bool:
        """Whether others computed during a call that ends now.

        Args:
            since_instance_s: what :meth:`instance_s` gave when it began.
            seconds: how long it took.
            now: on the clock of ``time.monotonic``.
        """
        return self.instance_s(now) - since_instance_s > _ALONE * seconds

"""What one key uses of its limits: a token bucket for its rate, and counts of what is in progress."""

import math

from hubserve.access.keys import AccessKey
from hubserve.access.refusals import LimitReached


class Usage:
    """Use of one key, whatever its present limits are.

    Attributes:
        requests: in progress.
        streams: open.
    """

    __slots__ = ("_refilled_at", "_spent", "requests", "streams")

    def __init__(self) -> None:
        self.requests = 0
        self.streams = 0
        self._spent = 0.0
        self._refilled_at = 0.0

    @property
    def is_idle(self) -> bool:
        """True if nothing is in progress."""
        return not self.requests and not self.streams

    def begin_request(self, key: AccessKey, now: float) -> None:
        """Count a request, which ends with :meth:`end_request`.

        Args:
            key: the limits.
            now: on the clock of ``time.monotonic``.
        Raises:
            LimitReached: it is one too many.
        """
        if key.concurrency is not None and self.requests >= key.concurrency:
            raise LimitReached(
                f"the key '{key.name}' has {self.requests} requests in progress, which is its limit; send the next one when one is answered"
            )
        if key.rate is not None:
            self._spend(key, key.rate, now)
        self.requests += 1

    def _spend(self, key: AccessKey, rate: float, now: float) -> None:
        spent = max(0.0, self._spent - (now - self._refilled_at) * rate)
        self._refilled_at = now
        if spent > key.burst - 1:
            self._spent = spent
            wait_s = max(1, math.ceil((spent - key.burst + 1) / rate))
            raise LimitReached(
                f"the key '{key.name}' may send {rate:g} requests per second; send the next one in {wait_s} s", retry_after_s=wait_s
            )
        self._spent = spent + 1

    def end_request(self) -> None:
        """Count a request no longer as in progress."""
        self.requests -= 1

    def begin_stream(self, key: AccessKey) -> None:
        """Count a stream, whose requests are counted by themselves, and which ends with :meth:`end_stream`.

        Raises:
            LimitReached: it is one too many.
        """
        if key.concurrency is not None and self.streams >= key.concurrency:
            raise LimitReached(f"the key '{key.name}' has {self.streams} streams open, which is its limit; end one of them first")
        self.streams += 1

    def end_stream(self) -> None:
        """Count a stream no longer as open."""
        self.streams -= 1

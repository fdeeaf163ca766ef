"""Remembers how long calls took, by their number of items."""

import math
import statistics
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence

#: the median of this many times is used: one call that the machine disturbed does not count
_REMEMBERED = 21
#: a median of one sample may be wrong by this share, one of n samples by this share divided by the root of n
_UNCERTAIN_SHARE = 0.1
#: of normally distributed times the median's standard error is this times their median absolute deviation, divided by the root of n
_DEVIATIONS = 1.86


class Samples:
    """The last durations of each size of call.

    Attributes:
        medians: of each size, in seconds, as of the last :meth:`refresh`.
        cautious: the medians, made worse by their standard error for larger calls and better for one item: chance must not merge.
        known: the sizes that were computed at least twice, ascending; all sizes while there is none.
        merged_at: when a call of several items was observed last, on the clock of ``time.monotonic``; 0 for never.
    """

    def __init__(self) -> None:
        self.medians: dict[int, float] = {}
        self.cautious: dict[int, float] = {}
        self.known: list[int] = []
        self.merged_at = 0.0
        self._times: dict[int, deque[float]] = {}
        self._seen_at: dict[int, float] = {}
        self._first: set[int] = set()
        self._changed: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._times)

    def add(self, items: int, seconds: float) -> bool:
        """Remember one call; returns whether little was known of its size before."""
        now = self._seen_at[items] = time.monotonic()
        if items > 1:
            self.merged_at = now
        self._changed.add(items)
        times = self._times.get(items)
        if times is None:
            self._times[items] = deque([seconds], maxlen=_REMEMBERED)
            self._first.add(items)
            return True
        if items in self._first:  # an engine prepares itself when it first sees a shape: that time does not predict the next
            self._first.discard(items)
            times[0] = min(times[0], seconds)
            return True
        times.append(seconds)
        return False

    def believe(self, items: int, seconds: float) -> None:
        """Remember a time that is not a first call's: measured by a warm-up, or by an earlier start of the server."""
        self.add(items, seconds)
        self._first.discard(items)

    def drop_above(self, limit: int) -> None:
        """Forget larger calls."""
        self.refresh()
        for items in [each for each in self._times if each > limit]:
            del self._times[items], self.medians[items], self.cautious[items]
            self._first.discard(items)

    def refresh(self) -> None:
        """Compute the medians."""
        for items in self._changed:
            times = self._times[items]
            median = self.medians[items] = statistics.median(times)
            deviation = statistics.median(abs(each - median) for each in times)
            error = max(_UNCERTAIN_SHARE * median, _DEVIATIONS * deviation) / math.sqrt(len(times))
            self.cautious[items] = median + (error if items > 1 else -min(error, median / 2))
        self._changed.clear()
        self.known = sorted(items for items in self._times if items not in self._first) or sorted(self._times)

    def count(self, items: int) -> int:
        """Return how many calls of a size are remembered."""
        return len(self._times.get(items, ()))

    def age_s(self, items: int, now: float) -> float:
        """Seconds since a size was observed last."""
        return now - self._seen_at.get(items, 0.0)


def interpolated(costs: Mapping[int, float], known: Sequence[int], items: int) -> float:
    """Interpolate the cost of a number of items from those of known numbers.

    Below the smallest known number it is proportional. Beyond the largest it keeps its last slope; if only one was ever measured,
    two are assumed to cost the same, so that they are tried.

    Args:
        costs: of each known number, in seconds.
        known: the numbers, ascending, at least one.
        items: the number in question.
    """
    above = bisect_left(known, items)
    if above < len(known):
        if known[above] == items:
            return costs[items]
        if above == 0:
            return costs[known[0]] * items / known[0]
        low, high = known[above - 1], known[above]
        return costs[low] + (items - low) / (high - low) * (costs[high] - costs[low])
    last = known[-1]
    if last == 1:
        return costs[1]
    each_s = costs[last] / last
    if len(known) > 1:
        before = known[max(0, bisect_left(known, last // 2 + 1) - 1)]
        each_s = min(each_s, max(0.0, (costs[last] - costs[before]) / (last - before)))
    return costs[last] + each_s * (items - last)

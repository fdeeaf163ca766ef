"""Recent durations of calls, by their number of items."""

import math
import statistics
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Mapping, Sequence

#: samples per size; their median is used, so that a single disturbed call does not count
_MAX_SAMPLES = 21
#: assumed error of a single sample; the median of n samples is wrong by this divided by the root of n
_SAMPLE_ERROR = 0.1
#: the standard error of the median of normally distributed times is this times their median absolute deviation / sqrt(n)
_ERROR_PER_DEVIATION = 1.86


class LatencySamples:
    """Most recent durations of calls of each size.

    Attributes:
        medians: of each size, in seconds, as of the last :meth:`refresh`.
        cautious: the medians plus their standard error, minus it for one item, so that chance does not merge requests.
        known: the sizes observed at least twice, ascending; all observed sizes if there are none.
        merged_at: when a call of several items was last observed, on the clock of ``time.monotonic``; 0 for never.
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
        """Add one call, and return whether little was known about its size before."""
        now = self._seen_at[items] = time.monotonic()
        if items > 1:
            self.merged_at = now
        self._changed.add(items)
        times = self._times.get(items)
        if times is None:
            self._times[items] = deque([seconds], maxlen=_MAX_SAMPLES)
            self._first.add(items)
            return True
        if items in self._first:  # an engine prepares itself at the first call of a shape, so that time does not predict the next
            self._first.discard(items)
            times[0] = min(times[0], seconds)
            return True
        times.append(seconds)
        return False

    def adopt(self, items: int, seconds: float) -> None:
        """Add a time that is not that of a first call: one from a warm-up, or from an earlier run of the server."""
        self.add(items, seconds)
        self._first.discard(items)

    def drop_above(self, limit: int) -> None:
        """Forget calls with more items than ``limit``."""
        self.refresh()
        for items in [each for each in self._times if each > limit]:
            del self._times[items], self.medians[items], self.cautious[items]
            self._first.discard(items)

    def refresh(self) -> None:
        """Recompute the medians of sizes with new samples."""
        for items in self._changed:
            times = self._times[items]
            median = self.medians[items] = statistics.median(times)
            deviation = statistics.median(abs(each - median) for each in times)
            error = max(_SAMPLE_ERROR * median, _ERROR_PER_DEVIATION * deviation) / math.sqrt(len(times))
            self.cautious[items] = median + (error if items > 1 else -min(error, median / 2))
        self._changed.clear()
        self.known = sorted(items for items in self._times if items not in self._first) or sorted(self._times)

    def count(self, items: int) -> int:
        """Return the number of samples of a size."""
        return len(self._times.get(items, ()))

    def age_s(self, items: int, now: float) -> float:
        """Return the seconds since a size was last observed."""
        return now - self._seen_at.get(items, 0.0)


def interpolate(costs: Mapping[int, float], known: Sequence[int], items: int) -> float:
    """Interpolate the cost of a number of items from those of known numbers.

    Below the smallest known number the cost is proportional; beyond the largest it keeps its last slope. If only calls of one item were
    measured, calls of two are assumed to cost the same, so that they are tried.

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

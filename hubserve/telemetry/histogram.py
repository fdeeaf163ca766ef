"""Histograms that cost little to add to: the hot path pays for one binary search."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

#: seconds; from a do-nothing request to a timeout
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Histogram:
    """Counts of values by size.

    Args:
        bounds: upper bounds of the buckets, ascending; values beyond the last one have a bucket of their own.

    Attributes:
        total: of all values.
    """

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Count a value one or several times."""
        self._counts[bisect_left(self._bounds, value)] += times
        self.total += value * times

    def cumulative(self) -> Iterator[tuple[str, int]]:
        """Yield each bucket's upper bound, as Prometheus writes it, with the number of values up to it."""
        count = 0
        for bound, own in zip((*map(repr, map(float, self._bounds)), "+Inf"), tuple(self._counts), strict=True):
            count += own
            yield bound, count

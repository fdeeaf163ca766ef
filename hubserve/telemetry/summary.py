"""Quantiles of the last minute, for dashboards that want them from the server instead of histograms."""

import random
from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import accumulate

#: those of Triton
QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
_SLICE_S = 12.0
_SLICES = 5
#: values of one slice that are kept; of more, a random choice
_MOST = 1000


class Summary:
    """Number and sum of all values, and quantiles of those of the last minute, in steps of 12 s.

    Attributes:
        count: of all values.
        total: their sum.
    """

    __slots__ = ("_current", "_number", "_seen", "_slices", "count", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self._number = 0  # of the current slice of time
        self._seen = 0  # values in it
        self._current: list[float] = []
        self._slices: deque[tuple[int, int, list[float]]] = deque(maxlen=_SLICES)  # number, values seen, values kept

    def add(self, value: float, at: float) -> None:
        """Add a value.

        Args:
            value: to add.
            at: when it came, on the clock of ``time.monotonic``; a little earlier than the one before at most.
        """
        number = int(at / _SLICE_S)
        if number > self._number:
            self._slices.append((self._number, self._seen, self._current))
            self._number, self._seen, self._current = number, 0, []
        self.count += 1
        self.total += value
        self._seen += 1
        if len(self._current) < _MOST:
            self._current.append(value)
        elif (place := int(random.random() * self._seen)) < _MOST:  # noqa: S311 - a sample
            self._current[place] = value

    def quantiles(self, at: float, wanted: Sequence[float] = QUANTILES) -> Iterator[tuple[float, float]]:
        """Yield each quantile with its value, which is NaN without values in the last minute.

        Args:
            at: now, on the clock of ``time.monotonic``.
            wanted: quantiles, from 0 to 1.
        """
        oldest = int(at / _SLICE_S) - _SLICES
        slices = [*self._slices, (self._number, self._seen, self._current)]
        weighted = sorted(
            (value, seen / len(kept)) for number, seen, values in slices if number > oldest and (kept := list(values)) for value in kept
        )
        below = list(accumulate(weight for _, weight in weighted))
        for quantile in wanted:
            if weighted:
                place = bisect_left(below, quantile * below[-1] * (1 - 1e-12))  # sums of weights are rounded
                yield quantile, weighted[place][0]
            else:
                yield quantile, float("nan")

"""Learns how long batches take, and says which sizes are worth computing.

For every form of item (input names, dtypes and shapes) of a module, ``t(n)`` is how long one call of its batch method takes with ``n``
items. Instances report it with every answer. Merging helps where ``t(n) / n`` falls: much on a GPU, often not at all on a CPU.
"""

import json
import logging
import statistics
import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

log = logging.getLogger("hubserve")

#: the median of so many times is believed: one call that the machine disturbed does not count
_REMEMBERED = 9
#: A larger call must be better by this much: noise alone must not make requests wait for each other.
_MARGIN = 0.05
_PLAN_EVERY_S = 0.25
#: of the sizes that were measured, so many with the least time for an item are considered as parts of larger ones
_MOST_CANDIDATES = 16
#: a size that has not been computed for so long is tried once more
_STALE_S = 60.0
_USUAL_OVERHEAD_S = 0.0002
#: what an instance spends around one call of a module
_CALL_OVERHEAD_S = 0.00005
_MAX_FORMS = 64
_SCHEMA = 1
#: the form of requests that a module answers one by one: they can only travel together
ONE_BY_ONE = "one by one"
_MOST_TRAVEL_TOGETHER = 16
#: all are answered when the last one is: the first must not wait long for that
_TRAVEL_TOGETHER_S = 0.002


class BatchTimes:
    """``t(n)`` of one form of item, and the plan that follows from it.

    Args:
        limit: the most items in one call.
        overhead_s: what a batch costs besides the calls: the way to the instance and back.
        one_by_one: each item is a call of its own, whatever travels together.
    """

    def __init__(self, limit: int, overhead_s: float = _USUAL_OVERHEAD_S, one_by_one: bool = False) -> None:
        self.limit = limit
        self._one_by_one = one_by_one
        self._overhead_s = overhead_s
        self._observed: dict[int, deque[float]] = {}
        self._seen_at: dict[int, float] = {}
        self._first: set[int] = set()
        self._planned_at = 0.0
        self._stale = True
        self._retry = 0
        self._medians: dict[int, float] = {}
        self._known: list[int] = []
        self._calls = self._batches = [0] * (limit + 1)  # by number of items: the size of the first part

    def lower_limit(self, limit: int) -> None:
        """Plan for fewer items in one call from now on."""
        if self._one_by_one:
            return
        self.limit = min(self.limit, limit)
        for items in [each for each in self._observed if each > self.limit]:
            del self._observed[items]
        self._stale, self._planned_at = True, 0.0

    def observe(self, items: int, seconds: float) -> None:
        """Learn from one call."""
        if not (0 < items <= self.limit and 0 <= seconds < float("inf")):
            return
        times = self._observed.get(items)
        self._seen_at[items] = time.monotonic()
        if times is None:
            self._observed[items] = deque([seconds], maxlen=_REMEMBERED)
            self._first.add(items)
            self._planned_at = 0.0
        elif items in self._first:  # an engine prepares itself for a shape when it first sees it, which is no measure of the second time
            self._first.discard(items)
            times[0] = min(times[0], seconds)
            self._planned_at = 0.0
        else:
            times.append(seconds)
        self._stale = True

    def observe_overhead(self, seconds: float) -> None:
        """Learn what a batch took besides its calls; rare long ones hardly count."""
        self._overhead_s += 0.05 * (min(seconds, 4 * self._overhead_s) - self._overhead_s)

    def estimate(self, items: int) -> float | None:
        """Seconds that one call with so many items takes; None if nothing is known yet.

        Between measured sizes it is interpolated. More items than were ever measured are taken to cost nothing more:
        so they are tried.
        """
        if not self._observed:
            return None
        self._plan()
        return self._estimate(self._known, items)

    def batch_size(self, waiting: int) -> int:
        """How many of the waiting items to give to an instance at once."""
        waiting = min(waiting, self.limit)
        if not self._observed:
            return waiting  # nothing is known: the whole is tried
        self._plan()
        if 0 < self._retry <= waiting:
            waiting, self._retry = self._retry, 0
            return waiting
        return self._batches[waiting]

    def call_sizes(self, items: int) -> list[int]:
        """The sizes of the calls into which an instance is to divide a batch of so many items."""
        if not self._observed:
            return [self.limit] * (items // self.limit) + ([items % self.limit] if items % self.limit else [])
        self._plan()
        sizes = []
        while items > 0:
            sizes.append(self._calls[min(items, self.limit)])
            items -= sizes[-1]
        return sizes

    def to_json(self) -> dict[str, float]:
        """Number of items to milliseconds, as measured."""
        self._plan()
        return {str(items): round(1e3 * self._medians[items], 3) for items in self._known}

    def _plan(self) -> None:
        now = time.monotonic()
        if not self._observed or not self._stale or now - self._planned_at < _PLAN_EVERY_S:
            return
        self._planned_at, self._stale = now, False
        self._medians = {items: statistics.median(times) for items, times in self._observed.items()}
        known = self._known = sorted(self._medians)
        if self._one_by_one:
            each_s = self._medians[known[0]]
            most = min(self.limit, max(1, int(_TRAVEL_TOGETHER_S / max(each_s, 1e-9))))
            self._batches = [min(items, most) for items in range(self.limit + 1)]
            return
        costs = [0.0] + [self._estimate(known, items) for items in range(1, self.limit + 1)]
        quickest = sorted(known, key=lambda items: self._medians[items] / items)[:_MOST_CANDIDATES]
        candidates = sorted({1, *quickest, *(1 << power for power in range(self.limit.bit_length())), self.limit}, reverse=True)
        self._calls, whole = _cheapest(costs, candidates, _CALL_OVERHEAD_S, lambda items: items > 1)
        # what travels together and is then computed in several calls keeps the first answers waiting
        self._batches, _ = _cheapest(whole, candidates, self._overhead_s, lambda items: items > self._calls[items])
        old = [items for items in known if now - self._seen_at[items] > _STALE_S]
        self._retry = old[-1] if old else 0

    def _estimate(self, known: Sequence[int], items: int) -> float:
        above = bisect_left(known, items)
        if above == len(known):
            return self._medians[known[-1]]
        if known[above] == items:
            return self._medians[items]
        if above == 0:
            return self._medians[known[0]] * items / known[0]
        low, high = known[above - 1], known[above]
        share = (items - low) / (high - low)
        return self._medians[low] + share * (self._medians[high] - self._medians[low])


def _cheapest(
    costs: Sequence[float], candidates: Sequence[int], overhead_s: float, is_dear: Callable[[int], bool]
) -> tuple[list[int], list[float]]:
    """Divide every number of items into the parts that cost least.

    Args:
        costs: of a part, by its size from 0 up.
        candidates: sizes that a part may have, besides the whole; the largest first.
        overhead_s: of each part.
        is_dear: whether a part of that size must be better than smaller ones by the margin.
    Returns:
        By number of items: the size of the first part, and the cost of all parts without their overhead.
    """
    first, total, pure = [0], [0.0], [0.0]
    parts = [overhead_s + cost * (1 + _MARGIN if is_dear(size) else 1) for size, cost in enumerate(costs)]
    for items in range(1, len(costs)):
        best, best_total = items, parts[items]
        for size in candidates:
            if size < items:
                cost = parts[size] + total[items - size]
                if cost < best_total * (1 - 1e-9):  # of equals the largest
                    best, best_total = size, cost
        first.append(best)
        total.append(best_total)
        pure.append(costs[best] + pure[items - best])
    return first, pure


class TimesBook:
    """The times of all forms of item of one module version, kept on disk from one start of the server to the next.

    Args:
        path: the file.
        about: what the times depend on: those of another engine, CPU or number of threads are not used.
    """

    def __init__(self, path: Path, about: str) -> None:
        self.limit = 1
        self._path = path
        self._about = about
        self._forms: dict[Hashable, BatchTimes] = {}
        self._saved = ""

    def of(self, form: Hashable) -> BatchTimes:
        """The times of a form of item."""
        times = self._forms.get(form)
        if times is None:
            if len(self._forms) >= _MAX_FORMS:  # sequence lengths can be many; the oldest form is learned again if it comes back
                self._forms.pop(next(iter(self._forms)))
            one_by_one = form == ONE_BY_ONE
            times = BatchTimes(_MOST_TRAVEL_TOGETHER if one_by_one else self.limit, one_by_one=one_by_one)
            self._forms[form] = times
        return times

    def lower_limit(self, limit: int) -> None:
        """Allow fewer items in one call from now on, for all forms."""
        self.limit = min(self.limit, limit)
        for times in self._forms.values():
            times.lower_limit(self.limit)

    def is_empty(self) -> bool:
        """Whether nothing is known."""
        return not any(times.to_json() for times in self._forms.values())

    def is_saved(self) -> bool:
        """Whether there is a file to load."""
        return self._path.is_file()

    def to_json(self) -> list[dict[str, Any]]:
        """Every form with its times in milliseconds."""
        return [{"form": form, "ms": times.to_json()} for form, times in self._forms.items()]

    def load(self) -> None:
        """Take over what was saved; a missing, damaged or foreign file leaves the book empty."""
        try:
            saved = json.loads(self._path.read_text("utf-8"))
            if saved["schema"] != _SCHEMA or saved["about"] != self._about:
                return
            for each in saved["times"]:
                times = self.of(_hashable(each["form"]))
                for items, ms in each["ms"].items():
                    times.observe(int(items), float(ms) / 1e3)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return

    def save(self) -> None:
        """Write what is known, if it has changed; it is only a help, so failing to write it is only logged."""
        text = json.dumps({"schema": _SCHEMA, "about": self._about, "times": self.to_json()}, indent=1)
        if text == self._saved or self.is_empty():
            return
        self._saved = text
        partial = self._path.with_suffix(".partial")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(text, "utf-8")
            partial.replace(self._path)
        except OSError as error:
            log.warning("what was learned about batches cannot be kept in '%s': %s", self._path, error.strerror or error)


def _hashable(value: Any) -> Any:
    return tuple(_hashable(each) for each in value) if isinstance(value, list) else value


def form_of(arrays: Iterable[dict[str, Any]]) -> Hashable:
    """The form of an item: names, dtypes and shapes without the batch dimension, from the arrays' descriptions in a frame."""
    return tuple((each["name"], each["dtype"], *each["shape"][1:]) for each in arrays)

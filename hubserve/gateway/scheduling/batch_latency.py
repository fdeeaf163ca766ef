"""Learns how long batches take, and says which sizes are worth computing.

For every form of item (input names, dtypes and shapes) of a module, ``t(n)`` is how long one call of its batch method takes with ``n``
items. Instances report it with every answer. Merging helps where ``t(n) / n`` falls: much on a GPU, often not at all on a CPU.
Instances that compute at the same time slow each other down, so such calls are remembered apart from those that had the machine alone.
"""

import statistics
import time

from hubserve.gateway.scheduling.batch_plan import GAIN, NO_PLAN, Plan, make_plan
from hubserve.gateway.scheduling.latency_samples import Samples, interpolated

_PLAN_EVERY_S = 0.25
#: of the sizes that were measured, so many with the least time for an item are considered as parts of larger ones
_MOST_CANDIDATES = 16
#: fewer calls than this may mislead
_FEW = 8
#: a size that has not been computed for so long is tried once more
_STALE_S = 60.0
#: the same, as long as it was computed only a few times
_FEW_STALE_S = 2.0
#: trying sizes that turn out to gain nothing may take this share of the time that is spent computing
_EXPLORING_SHARE = 0.01
#: how often it is tried at most that one of several idle instances computes all
_TRY_ALONE_EVERY_S = 5.0
_USUAL_OVERHEAD_S = 0.0002
#: all are answered when the last one is: the first must not wait long for that
_TRAVEL_TOGETHER_S = 0.002


#: medians and cautious costs by number of items, in seconds
_Tables = tuple[dict[int, float], dict[int, float]]


class BatchLatency:
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
        self._alone = Samples()
        self._shared = Samples()
        self._planned_at = 0.0
        self._stale = True
        self._costs: dict[int, float] = {}  # medians, with other instances computing if that was ever observed
        self._known: list[int] = []
        self._largest = 0  # of the known sizes
        self._best_each_s = 0.0
        self._tried = 0  # the size that was tried last
        self._exploring_s = 0.0  # what that took, as long as it is not made up for
        self._old: list[int] = []
        self._promising: list[int] = []
        self._try_alone_at = 0.0  # when it may be tried again that one instance computes all, if it is not known what that takes
        self._plan = NO_PLAN
        self._alone_tables: _Tables | None = None  # the tables that the plan below is made from, once it is needed
        self._alone_plan = NO_PLAN

    def lower_limit(self, limit: int) -> None:
        """Plan for fewer items in one call from now on."""
        if self._one_by_one:
            return
        self.limit = min(self.limit, limit)
        self._alone.drop_above(self.limit)
        self._shared.drop_above(self.limit)
        self._stale, self._planned_at, self._known = True, 0.0, []

    def observe(self, items: int, seconds: float, shared: bool = False) -> None:
        """Learn from one call.

        Args:
            items: how many it computed.
            seconds: how long it took.
            shared: other instances computed at the same time.
        """
        if not (0 < items <= self.limit and 0 <= seconds < float("inf")):
            return
        if (self._shared if shared else self._alone).add(items, seconds):
            self._planned_at = 0.0
        self._stale = True
        if self._exploring_s > 0:
            gains = items == self._tried and seconds * (1 + GAIN) <= items * self._best_each_s
            self._exploring_s = 0.0 if gains else self._exploring_s - _EXPLORING_SHARE * seconds

    def believe(self, items: int, seconds: float, shared: bool = False) -> None:
        """Adopt times that were measured earlier."""
        if 0 < items <= self.limit and 0 <= seconds < float("inf"):
            (self._shared if shared else self._alone).believe(items, seconds)
            self._stale, self._planned_at = True, 0.0

    def observe_overhead(self, seconds: float) -> None:
        """Learn what a batch took besides its calls; rare long ones hardly count."""
        self._overhead_s += 0.05 * (min(seconds, 4 * self._overhead_s) - self._overhead_s)

    def estimate(self, items: int) -> float | None:
        """Return the seconds that one call with this many items takes, interpolated if not measured; None if nothing is known yet."""
        return interpolated(self._costs, self._known, items) if self._is_planned() else None

    def full_size(self) -> int:
        """From how many items on waiting for more makes a batch no better."""
        if not self._is_planned():
            return self.limit
        size = self._plan.batches[self.limit]
        return size if size <= self._largest or self._exploring_s <= 0 else self._plan.batches[min(self.limit, self._largest)]

    def batch_size(self, waiting: int) -> int:
        """How many of the waiting items to give to an instance at once."""
        waiting = min(waiting, self.limit)
        if not self._is_planned():
            return waiting  # nothing is known: the whole is tried
        size = self._plan.batches[waiting]
        return self._explored(waiting, size) if size > self._largest or self._promising or self._old else size

    def _explored(self, waiting: int, size: int) -> int:
        """Choose a size of which too little is known, if the budget allows it; ``size`` is the best as far as it is known."""
        if self._exploring_s > 0:
            return size if size <= self._largest else self._plan.batches[min(waiting, self._largest)]
        if size <= self._largest:
            for sizes, most in ((self._promising, waiting), (self._old, min(waiting, 2 * size))):
                found = next((each for each in sizes if each <= most and each != size), 0)
                if found:
                    sizes.remove(found)
                    break
            else:
                return size
            size = found
        self._try(size)
        return size

    def _try(self, size: int) -> None:
        self._tried, self._exploring_s = size, interpolated(self._costs, self._known, size)

    def share(self, waiting: int, idle: int, alone: bool) -> int:
        """Return how many of the waiting items one of several idle instances takes, so that the last of them is answered soonest.

        Args:
            waiting: the number of items.
            idle: how many instances could take some of them.
            alone: no other instance computes.
        """
        even = -(-waiting // idle)
        if not alone or even == waiting or waiting > self.limit or not self._shared or not self._is_planned():
            return even
        now = time.monotonic()
        if self._plan.totals_s[even] >= self._alone_totals_s()[waiting]:
            # one instance was better when both were measured; that is believed for some time only
            return waiting if now - self._shared.merged_at < _STALE_S else even
        if self._plan.batches[waiting] == waiting and now >= self._try_alone_at and now - self._alone.merged_at > _STALE_S:
            self._try_alone_at = now + _TRY_ALONE_EVERY_S
            return waiting
        return even

    def last_answer_s(self, waiting: int, size: int, idle: int, alone: bool) -> float:
        """When the last of the waiting items is answered if instances compute batches of this size.

        Args:
            waiting: the items.
            size: of each batch; as many seconds are taken where nothing is known.
            idle: how many instances take part.
            alone: no other instance computes.
        """
        batches = -(-waiting // size)
        seconds = float(size)
        if self._is_planned():
            totals_s = self._alone_totals_s() if alone and min(batches, idle) == 1 else self._plan.totals_s
            seconds = totals_s[min(size, self.limit)]
        return -(-batches // idle) * seconds

    def call_sizes(self, items: int) -> list[int]:
        """The sizes of the calls into which an instance is to divide a batch of so many items."""
        if not self._is_planned():
            return [self.limit] * (items // self.limit) + ([items % self.limit] if items % self.limit else [])
        sizes = []
        while items > 0:
            sizes.append(self._plan.calls[min(items, self.limit)])
            items -= sizes[-1]
        return sizes

    def to_json(self, shared: bool = False) -> dict[str, float]:
        """Number of items to milliseconds, as measured.

        Args:
            shared: while other instances computed, instead of alone.
        """
        samples = self._shared if shared else self._alone
        samples.refresh()
        return {str(items): round(1e3 * samples.medians[items], 3) for items in sorted(samples.medians)}

    def _is_planned(self) -> bool:
        """Bring the plan up to date; returns whether there is one."""
        if self._stale:
            now = time.monotonic()
            if now - self._planned_at >= _PLAN_EVERY_S and (self._alone or self._shared):
                self._planned_at, self._stale = now, False
                self._make_plan(now)
        return bool(self._known)

    def _make_plan(self, now: float) -> None:
        self._alone.refresh()
        self._shared.refresh()
        slowed = self._contention()
        alone = self._table(self._alone, self._shared, 1 / slowed)
        medians, cautious = self._table(self._shared, self._alone, slowed) if self._shared else alone
        self._costs, self._known = medians, sorted(medians)
        self._largest = self.limit if self._one_by_one else self._known[-1]
        self._best_each_s = min(cost / items for items, cost in medians.items())
        self._plan = self._plan_for(medians, cautious, self._plan)
        self._alone_tables = alone
        if not self._one_by_one:
            self._old = [items for items in self._known if self._is_old(items, now)]
            promising = (items for items in self._known if self._is_promising(items))
            self._promising = sorted(promising, key=lambda items: medians[items] / items)

    def _alone_totals_s(self) -> list[float]:
        """Return how long one instance takes for every number of items, if no other one computes."""
        if self._alone_tables:
            self._alone_plan = self._plan_for(*self._alone_tables, self._alone_plan)
            self._alone_tables = None
        return self._alone_plan.totals_s

    def _is_promising(self, items: int) -> bool:
        """Return True if more calls of a size may change the plan: it would be worth merging if it took as long as it did the few times
        that it was measured, or others are merged because of the few times that one item was.
        """
        if self._alone.count(items) + self._shared.count(items) >= _FEW:
            return False
        if items == 1:
            return self._plan.batches[self.limit] > 1
        return self._plan.batches[items] != items and self._costs[items] * (1 + GAIN) <= items * self._costs.get(1, self._best_each_s)

    def _is_old(self, items: int, now: float) -> bool:
        age_s = min(self._alone.age_s(items, now), self._shared.age_s(items, now))
        few = self._alone.count(items) + self._shared.count(items) < _FEW // 2
        return age_s > (_FEW_STALE_S if few else _STALE_S)

    def _contention(self) -> float:
        """Return how many times as long a call takes while other instances compute; 1 if that was not observed for the same size."""
        alone, shared = self._alone, self._shared
        both = [items for items in shared.known if items in alone.medians and alone.medians[items] > 0]
        return max(1.0, statistics.median(shared.medians[items] / alone.medians[items] for items in both)) if both else 1.0

    @staticmethod
    def _table(own: Samples, other: Samples, scale: float) -> _Tables:
        """Medians and cautious costs of every known size; of those that ``own`` lacks, the ``scale``-fold of ``other``'s."""
        medians: dict[int, float] = {}
        cautious: dict[int, float] = {}
        for samples, times in ((other, scale), (own, 1.0)):
            for items in samples.known:
                medians[items] = samples.medians[items] * times
                cautious[items] = samples.cautious[items] * times
        return medians, cautious

    def _plan_for(self, medians: dict[int, float], cautious: dict[int, float], before: Plan) -> Plan:
        known = sorted(medians)
        if self._one_by_one:
            each_s = medians[known[0]]
            most = min(self.limit, max(1, int(_TRAVEL_TOGETHER_S / max(each_s, 1e-9))))
            batches = [min(items, most) for items in range(self.limit + 1)]
            return Plan([min(items, 1) for items in range(self.limit + 1)], batches, [each_s * items for items in range(self.limit + 1)])
        # twice the largest known size is tried, if that promises a gain
        largest = min(self.limit, 2 * known[-1])
        tables = [
            [0.0, *(interpolated(table, known, items) if items <= largest else float("inf") for items in range(1, self.limit + 1))]
            for table in (medians, cautious)
        ]
        quickest = sorted(known, key=lambda items: medians[items] / items)[:_MOST_CANDIDATES]
        powers = (1 << power for power in range(self.limit.bit_length()))
        candidates = sorted({each for each in (1, *quickest, *powers, self.limit) if each <= largest}, reverse=True)
        return make_plan(tables[0], tables[1], candidates, self._overhead_s, largest, before)

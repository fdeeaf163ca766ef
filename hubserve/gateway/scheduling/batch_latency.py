"""Learn how long batches take, and plan which sizes are worth computing.

For requests of one batch key (input names, dtypes and shapes), ``t(n)`` is how long one call of the module's batch method takes with ``n``
items. Instances report it with every answer. Merging helps where ``t(n) / n`` falls: steeply on a GPU, often not at all on a CPU.
Instances that compute at the same time slow each other down, so calls that shared the machine are kept apart from exclusive ones.
"""

import statistics
import time

from hubserve.gateway.scheduling.batch_plan import GAIN, NO_PLAN, Plan, make_plan
from hubserve.gateway.scheduling.latency_samples import LatencySamples, interpolate

_PLAN_EVERY_S = 0.25
#: this many of the measured sizes, those with the least time per item, are considered as parts of larger ones
_MAX_CANDIDATES = 16
#: fewer calls than this may mislead
_FEW = 8
#: a size that was not computed for this long is tried once more
_STALE_S = 60.0
#: the same for a size with few samples
_FEW_STALE_S = 2.0
#: how often at most one of several idle instances is given all items to find out how long that takes
_TRY_EXCLUSIVE_EVERY_S = 5.0
#: share of the computing time that may be spent on sizes that turn out to gain nothing
_BUDGET_SHARE = 0.01
_TYPICAL_OVERHEAD_S = 0.0002
#: requests answered one by one share a frame for at most this long: all are answered when the last one is, so the first must not wait long
_MAX_FRAME_S = 0.002


#: medians and cautious costs by number of items, in seconds
_Tables = tuple[dict[int, float], dict[int, float]]


class Exploration:
    """Batch sizes to try because their latency is not known well enough, within a budget of computing time.

    Attributes:
        promising: sizes with few samples that may change the plan, the most promising first.
        stale: sizes that were not computed for long.
    """

    def __init__(self) -> None:
        self.promising: list[int] = []
        self.stale: list[int] = []
        self._tried = 0  # the size of the last try
        self._debt_s = 0.0

    @property
    def in_debt(self) -> bool:
        """True while the last try has not paid off yet."""
        return self._debt_s > 0

    def observe(self, items: int, seconds: float, best_each_s: float) -> None:
        """Pay back the last try by the budget that a call earns; a try that gained costs nothing.

        Args:
            items: the number of items of the call.
            seconds: how long it took.
            best_each_s: the shortest known time per item.
        """
        if self._debt_s > 0:
            gains = items == self._tried and seconds * (1 + GAIN) <= items * best_each_s
            self._debt_s = 0.0 if gains else self._debt_s - _BUDGET_SHARE * seconds

    def begin(self, items: int, seconds: float) -> None:
        """Record that a size is tried that is expected to take ``seconds``."""
        self._tried, self._debt_s = items, seconds

    def pop_candidate(self, waiting: int, size: int) -> int:
        """Remove and return a size to try instead of ``size``, of at most ``waiting`` items; 0 if there is none."""
        for sizes, most in ((self.promising, waiting), (self.stale, min(waiting, 2 * size))):
            found = next((each for each in sizes if each <= most and each != size), 0)
            if found:
                sizes.remove(found)
                return found
        return 0


class BatchLatency:
    """``t(n)`` for the requests of one batch key, and the plan that follows from it.

    Args:
        limit: the most items in one call.
        overhead_s: cost of a batch besides its calls: the round trip to the instance.
        one_by_one: each item is a call of its own, although several share a frame.
    """

    def __init__(self, limit: int, overhead_s: float = _TYPICAL_OVERHEAD_S, one_by_one: bool = False) -> None:
        self.limit = limit
        self._one_by_one = one_by_one
        self._overhead_s = overhead_s
        self._exclusive = LatencySamples()
        self._shared = LatencySamples()
        self._exploration = Exploration()
        self._planned_at = 0.0
        self._outdated = True
        self._costs: dict[int, float] = {}  # medians, of shared calls if there were any
        self._known: list[int] = []
        self._largest = 0  # of the known sizes
        self._best_each_s = 0.0
        self._try_exclusive_at = 0.0  # when one instance may be given all items again, if it is not known how long that takes
        self._plan = NO_PLAN
        self._exclusive_tables: _Tables | None = None  # what the plan below is made from when it is first needed
        self._exclusive_plan = NO_PLAN

    def lower_limit(self, limit: int) -> None:
        """Plan for fewer items in one call from now on."""
        if self._one_by_one:
            return
        self.limit = min(self.limit, limit)
        self._exclusive.drop_above(self.limit)
        self._shared.drop_above(self.limit)
        self._outdated, self._planned_at, self._known = True, 0.0, []

    # --- measurements ---

    def observe(self, items: int, seconds: float, shared: bool = False) -> None:
        """Learn from one call.

        Args:
            items: how many it computed.
            seconds: how long it took.
            shared: whether other instances computed at the same time.
        """
        if not (0 < items <= self.limit and 0 <= seconds < float("inf")):
            return
        if (self._shared if shared else self._exclusive).add(items, seconds):
            self._planned_at = 0.0
        self._outdated = True
        self._exploration.observe(items, seconds, self._best_each_s)

    def adopt(self, items: int, seconds: float, shared: bool = False) -> None:
        """Adopt a time that was measured earlier."""
        if 0 < items <= self.limit and 0 <= seconds < float("inf"):
            (self._shared if shared else self._exclusive).adopt(items, seconds)
            self._outdated, self._planned_at = True, 0.0

    def observe_overhead(self, seconds: float) -> None:
        """Learn what a batch cost besides its calls; rare long ones hardly count."""
        self._overhead_s += 0.05 * (min(seconds, 4 * self._overhead_s) - self._overhead_s)

    def to_json(self, shared: bool = False) -> dict[str, float]:
        """Return the measured milliseconds by number of items.

        Args:
            shared: of calls while other instances computed, instead of exclusive ones.
        """
        samples = self._shared if shared else self._exclusive
        samples.refresh()
        return {str(items): round(1e3 * samples.medians[items], 3) for items in sorted(samples.medians)}

    # --- decisions ---

    def estimate(self, items: int) -> float | None:
        """Return the seconds that one call with this many items takes, interpolated if not measured; None if nothing is known yet."""
        return interpolate(self._costs, self._known, items) if self._is_planned() else None

    def full_size(self) -> int:
        """Return the number of items from which on a batch gains nothing by waiting for more."""
        if not self._is_planned():
            return self.limit
        size = self._plan.batches[self.limit]
        return size if size <= self._largest or not self._exploration.in_debt else self._plan.batches[min(self.limit, self._largest)]

    def batch_size(self, waiting: int) -> int:
        """Return how many of the waiting items to send to an instance in one batch."""
        waiting = min(waiting, self.limit)
        if not self._is_planned():
            return waiting  # nothing is known: try all
        size = self._plan.batches[waiting]
        explores = size > self._largest or self._exploration.promising or self._exploration.stale
        return self._explore(waiting, size) if explores else size

    def _explore(self, waiting: int, size: int) -> int:
        """Return a size about which too little is known, if the budget allows it; ``size`` is the best as far as is known."""
        if self._exploration.in_debt:
            return size if size <= self._largest else self._plan.batches[min(waiting, self._largest)]
        if size <= self._largest:
            candidate = self._exploration.pop_candidate(waiting, size)
            if not candidate:
                return size
            size = candidate
        self._exploration.begin(size, interpolate(self._costs, self._known, size))
        return size

    def share(self, waiting: int, idle: int, exclusive: bool) -> int:
        """Return how many of the waiting items one of several idle instances takes, so that the last of them is answered soonest.

        Args:
            waiting: the number of items.
            idle: how many instances could take some of them.
            exclusive: whether no other instance computes.
        """
        even = -(-waiting // idle)
        if not exclusive or even == waiting or waiting > self.limit or not self._shared or not self._is_planned():
            return even
        now = time.monotonic()
        if self._plan.totals_s[even] >= self._exclusive_totals_s()[waiting]:
            # one instance was faster when both were measured; that holds for some time only
            return waiting if now - self._shared.merged_at < _STALE_S else even
        if self._plan.batches[waiting] == waiting and now >= self._try_exclusive_at and now - self._exclusive.merged_at > _STALE_S:
            self._try_exclusive_at = now + _TRY_EXCLUSIVE_EVERY_S
            return waiting
        return even

    def last_answer_s(self, waiting: int, size: int, idle: int, exclusive: bool) -> float:
        """Return in how many seconds the last of the waiting items is answered if instances compute batches of this size.

        Args:
            waiting: the number of items.
            size: of each batch; counts as its number of seconds if nothing is known.
            idle: how many instances take part.
            exclusive: whether no other instance computes.
        """
        batches = -(-waiting // size)
        seconds = float(size)
        if self._is_planned():
            totals_s = self._exclusive_totals_s() if exclusive and min(batches, idle) == 1 else self._plan.totals_s
            seconds = totals_s[min(size, self.limit)]
        return -(-batches // idle) * seconds

    def call_sizes(self, items: int) -> list[int]:
        """Return the sizes of the calls into which an instance divides a batch of this many items."""
        if not self._is_planned():
            return [self.limit] * (items // self.limit) + ([items % self.limit] if items % self.limit else [])
        sizes = []
        while items > 0:
            sizes.append(self._plan.calls[min(items, self.limit)])
            items -= sizes[-1]
        return sizes

    # --- planning ---

    def _is_planned(self) -> bool:
        """Update the plan if it is outdated, and return whether there is one."""
        if self._outdated:
            now = time.monotonic()
            if now - self._planned_at >= _PLAN_EVERY_S and (self._exclusive or self._shared):
                self._planned_at, self._outdated = now, False
                self._make_plan(now)
        return bool(self._known)

    def _make_plan(self, now: float) -> None:
        self._exclusive.refresh()
        self._shared.refresh()
        slowdown = self._contention()
        exclusive = _tables(self._exclusive, self._shared, 1 / slowdown)
        medians, cautious = _tables(self._shared, self._exclusive, slowdown) if self._shared else exclusive
        self._costs, self._known = medians, sorted(medians)
        self._largest = self.limit if self._one_by_one else self._known[-1]
        self._best_each_s = min(cost / items for items, cost in medians.items())
        self._plan = self._plan_for(medians, cautious, self._plan)
        self._exclusive_tables = exclusive
        if not self._one_by_one:
            self._exploration.stale = [items for items in self._known if self._is_stale(items, now)]
            promising = (items for items in self._known if self._is_promising(items))
            self._exploration.promising = sorted(promising, key=lambda items: medians[items] / items)

    def _exclusive_totals_s(self) -> list[float]:
        """Return how long one instance takes for every number of items while no other one computes."""
        if self._exclusive_tables:
            self._exclusive_plan = self._plan_for(*self._exclusive_tables, self._exclusive_plan)
            self._exclusive_tables = None
        return self._exclusive_plan.totals_s

    def _is_promising(self, items: int) -> bool:
        """Return whether more calls of a size may change the plan.

        That is so if the size would be worth merging at the latency of its few samples, or if others are merged only because of the few
        samples of one item.
        """
        if self._exclusive.count(items) + self._shared.count(items) >= _FEW:
            return False
        if items == 1:
            return self._plan.batches[self.limit] > 1
        return self._plan.batches[items] != items and self._costs[items] * (1 + GAIN) <= items * self._costs.get(1, self._best_each_s)

    def _is_stale(self, items: int, now: float) -> bool:
        age_s = min(self._exclusive.age_s(items, now), self._shared.age_s(items, now))
        few = self._exclusive.count(items) + self._shared.count(items) < _FEW // 2
        return age_s > (_FEW_STALE_S if few else _STALE_S)

    def _contention(self) -> float:
        """Return the factor by which other computing instances slow a call down; 1 if no size was measured in both ways."""
        exclusive, shared = self._exclusive, self._shared
        both = [items for items in shared.known if items in exclusive.medians and exclusive.medians[items] > 0]
        return max(1.0, statistics.median(shared.medians[items] / exclusive.medians[items] for items in both)) if both else 1.0

    def _plan_for(self, medians: dict[int, float], cautious: dict[int, float], before: Plan) -> Plan:
        known = sorted(medians)
        if self._one_by_one:
            each_s = medians[known[0]]
            most = min(self.limit, max(1, int(_MAX_FRAME_S / max(each_s, 1e-9))))
            batches = [min(items, most) for items in range(self.limit + 1)]
            return Plan([min(items, 1) for items in range(self.limit + 1)], batches, [each_s * items for items in range(self.limit + 1)])
        # twice the largest known size is tried, if that promises a gain
        largest = min(self.limit, 2 * known[-1])
        tables = [
            [0.0, *(interpolate(table, known, items) if items <= largest else float("inf") for items in range(1, self.limit + 1))]
            for table in (medians, cautious)
        ]
        quickest = sorted(known, key=lambda items: medians[items] / items)[:_MAX_CANDIDATES]
        powers = (1 << power for power in range(self.limit.bit_length()))
        candidates = sorted({each for each in (1, *quickest, *powers, self.limit) if each <= largest}, reverse=True)
        return make_plan(tables[0], tables[1], candidates, self._overhead_s, largest, before)


def _tables(own: LatencySamples, other: LatencySamples, scale: float) -> _Tables:
    """Return the medians and cautious costs of all known sizes; those that ``own`` lacks are ``scale`` times those of ``other``."""
    medians: dict[int, float] = {}
    cautious: dict[int, float] = {}
    for samples, factor in ((other, scale), (own, 1.0)):
        for items in samples.known:
            medians[items] = samples.medians[items] * factor
            cautious[items] = samples.cautious[items] * factor
    return medians, cautious

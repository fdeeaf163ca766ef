"""Plan which batch sizes are worth computing, from the cost of calls of each size."""

from collections.abc import Sequence
from typing import NamedTuple

#: a larger call must be better by this share: noise alone must not make requests wait for each other
_MARGIN = 0.05
#: requests are merged only if that answers this share more of them in the same time, because each waits for all
GAIN = 0.10
#: the time an instance spends around one call of a module
_CALL_OVERHEAD_S = 0.00005


class Plan(NamedTuple):
    """A division of any number of items into calls and batches; each list is indexed by that number.

    Attributes:
        calls: the size of the first call into which an instance divides the items of one batch.
        batches: the size of the first batch of so many waiting items.
        totals_s: how long one instance takes for so many waiting items.
    """

    calls: list[int]
    batches: list[int]
    totals_s: list[float]


NO_PLAN = Plan([], [], [])


def make_plan(
    costs: Sequence[float], cautious: Sequence[float], candidates: Sequence[int], overhead_s: float, largest: int, before: Plan = NO_PLAN
) -> Plan:
    """Return a plan for every number of items.

    Args:
        costs: of one call, in seconds, by its size from 0 up; infinite for sizes that must not be computed in one call.
        cautious: the same, plus the measurement error of larger calls; decides whether requests are merged.
        candidates: sizes that a part may have, besides all items; the largest first, 1 among them.
        overhead_s: cost of a batch besides its calls.
        largest: the largest batch allowed.
        before: the previous plan; sizes that it merges stay merged until they clearly gain nothing.
    """
    calls = _calls(costs, candidates)
    in_one_batch = [0.0]
    for items in range(1, len(costs)):
        in_one_batch.append(cautious[calls[items]] + in_one_batch[items - calls[items]])
    merged = {items for items, size in enumerate(before.batches) if size == items}
    return Plan(calls, *_batches(in_one_batch, candidates, overhead_s, largest, merged))


def _calls(costs: Sequence[float], candidates: Sequence[int]) -> list[int]:
    """Return the size of the first call for every number of items."""
    first, total = [0], [0.0]
    parts = [_CALL_OVERHEAD_S + cost * (1 + _MARGIN if size > 1 else 1) for size, cost in enumerate(costs)]
    for items in range(1, len(costs)):
        best, best_total = items, parts[items]
        for size in candidates:
            if size < items:
                cost = parts[size] + total[items - size]
                if cost < best_total * (1 - 1e-9):  # of equal ones the largest
                    best, best_total = size, cost
        first.append(best)
        total.append(best_total)
    return first


def _batches(
    in_one_batch: Sequence[float], candidates: Sequence[int], overhead_s: float, largest: int, merged: set[int]
) -> tuple[list[int], list[float]]:
    """Return the size of the first batch for every number of items, and the cost of all its batches."""
    first, total = [0], [0.0]
    single_s = in_one_batch[1] + overhead_s
    for items in range(1, len(in_one_batch)):
        best, best_total = 1, single_s + total[items - 1]
        for size in candidates:
            # a size that is not worth merging on its own is not worth it as a part either
            if size < items and first[size] == size:
                cost = in_one_batch[size] + overhead_s + total[items - size]
                if cost < best_total * (1 - 1e-9):
                    best, best_total = size, cost
        cost = in_one_batch[items] + overhead_s
        margin, gain = (0.0, GAIN / 2) if items in merged else (_MARGIN, GAIN)
        if items == 1 or (items <= largest and cost * (1 + margin) <= best_total and cost * (1 + gain) <= items * single_s):
            best, best_total = items, cost
        # the largest part goes first: while requests keep arriving, a later part would never be reached
        first.append(max(best, first[items - best]))
        total.append(best_total)
    return first, total

"""Choose which sequences are computed in one batch, by Triton's scheduling strategies."""

import time

from hubserve.gateway.scheduling.latency_store import LatencyStore
from hubserve.gateway.scheduling.sequence_plan import DIRECT, SequencePlan
from hubserve.gateway.scheduling.sequence_slots import InstanceSlots, Sequence


class SequencePolicy:
    """The scheduling strategy of a :class:`~hubserve.gateway.scheduling.sequence_plan.SequencePlan`.

    Args:
        plan: names the strategy, and its sizes and delays.
        latencies: its limit is the most items in one call.
    """

    def __init__(self, plan: SequencePlan, latencies: LatencyStore) -> None:
        self._plan = plan
        self._latencies = latencies

    @property
    def _limit(self) -> int:
        return max(1, self._latencies.limit)

    @property
    def slot_count(self) -> int:
        """Number of slots of an instance."""
        count = self._plan.slots or self._limit
        return min(count, self._limit) if self._plan.strategy == DIRECT else count

    def wait_s(self, slots: InstanceSlots, ready: list[Sequence], since: float) -> float:
        """Return how long to wait for requests of more sequences; 0 or less for not at all.

        Args:
            slots: the instance's.
            ready: its sequences that have a request.
            since: when the oldest of these requests was queued.
        """
        plan = self._plan
        if not plan.max_delay_s:
            return 0.0
        if plan.strategy == DIRECT:
            enough = len(ready) >= plan.min_utilization * len(slots.by_slot)
        else:
            enough = len(ready) >= min(max(plan.preferred_sizes, default=self._limit), len(slots.by_slot))
        return 0.0 if enough else since + plan.max_delay_s - time.monotonic()

    def together(self, ready: list[Sequence], first: Sequence) -> list[Sequence]:
        """Return the ready sequences whose next requests may be merged with that of ``first``."""
        key = first.queue[0].key
        return [first] if key is None else [each for each in ready if each.queue[0].key == key]

    def oldest(self, together: list[Sequence], first: Sequence) -> list[Sequence]:
        """Return ``first`` and those of the others that began first, up to a preferred size."""
        sizes = [size for size in self._plan.preferred_sizes if size <= len(together)]
        most = min(self._limit, max(sizes, default=self._limit))
        others = sorted((each for each in together if each is not first), key=lambda each: each.number)
        return [first, *others][:most]


def in_slots(slots: InstanceSlots, together: list[Sequence]) -> list[Sequence | None]:
    """Return the sequences by their slots, up to the last slot that holds one of them; None for every other slot."""
    chosen = set(together)
    by_slot = [each if each in chosen else None for each in slots.by_slot]
    while by_slot[-1] is None:
        by_slot.pop()
    return by_slot

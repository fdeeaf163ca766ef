"""Decide which waiting requests are computed together.

By default there is no waiting window: an instance that becomes free takes what is queued at that moment, up to the size at which the time
per item stops falling (see :mod:`hubserve.gateway.scheduling.batch_latency`). Under light load a request is computed immediately and by
itself; under heavy load batches form without waiting, where they help. A batch that would not grow by waiting is sent ahead to a busy
instance, which then does not wait for the gateway between two batches.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from hubserve.errors import HubError
from hubserve.gateway.queued_request import InstanceHandle, QueuedRequest
from hubserve.gateway.scheduling.batch_key import ONE_BY_ONE
from hubserve.gateway.scheduling.batch_latency import BatchLatency
from hubserve.gateway.scheduling.expiry import queue_full
from hubserve.gateway.scheduling.lanes import Lane, Lanes
from hubserve.gateway.scheduling.latency_store import LatencyStore
from hubserve.gateway.scheduling.queue_policy import QueuePolicies

#: an instance is sent its next batch this long before it is expected to finish: about the time that a round trip takes
_LEAD_S = 0.001
#: shorter batches are not worth a timer
_MIN_TIMER_S = 0.004
#: how many batches are sent ahead to busy instances while an older request waits for an idle one, or for its batch to grow
_MAX_OVERTAKES = 4


@dataclass(frozen=True)
class BatchSettings:
    """Settings of how requests are queued and merged.

    Attributes:
        max_queue_size: how many requests may wait.
        preferred_sizes: numbers of items to merge up to, ascending; empty: as learned.
        max_delay_s: how long a request may be delayed for others although an instance is idle.
        merge: whether requests are merged at all.
        greedy: an instance takes all that waits, up to the most items in one call, whatever that costs.
        policies: how long requests of each priority may wait, and how many.
        preserve_ordering: answers are given in the order in which the requests arrived.
    """

    max_queue_size: int = 1024
    preferred_sizes: Sequence[int] = ()
    max_delay_s: float = 0.0
    merge: bool = True
    greedy: bool = False
    policies: QueuePolicies = field(default_factory=QueuePolicies)
    preserve_ordering: bool = False


class _Target(NamedTuple):
    """The instance chosen for a batch, and the state of the others.

    Attributes:
        instance: it is sent the batch.
        idle: how many instances are idle; 0 if the batch is sent ahead to one that still computes.
        busy: whether any instance computes.
        only_complete: send no batch that would grow by waiting.
    """

    instance: InstanceHandle
    idle: int
    busy: bool
    only_complete: bool


class Batcher:
    """A bounded queue of requests, and the instances that compute them.

    Args:
        module: the served name, for messages.
        settings: see there.
        latencies: how long batches take; its limit is the most items in one call.
        schedule: calls its argument once all requests that have arrived by now are queued, so that requests that arrived together are
            computed together, even by idle instances.
    """

    def __init__(
        self, module: str, settings: BatchSettings, latencies: LatencyStore, schedule: Callable[[Callable[[], None]], Any]
    ) -> None:
        self.settings = settings
        self._module = module
        self._latencies = latencies
        self._schedule = schedule
        self._is_dispatch_scheduled = False
        self._lanes = Lanes(module, settings.policies, settings.merge, latencies)
        self._last_number = 0
        self._instances: list[InstanceHandle] = []
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return self._lanes.size

    def allow_merging(self) -> None:
        """Merge requests although the settings do not; call this only while the queue is empty."""
        self.settings = replace(self.settings, merge=True)
        self._lanes.merge = True

    # --- instances ---

    def add_instance(self, instance: InstanceHandle) -> None:
        """Start to send batches to an instance."""
        self._instances.append(instance)
        self.dispatch()

    def remove_instance(self, instance: InstanceHandle) -> None:
        """Stop sending batches to an instance."""
        if instance in self._instances:
            self._instances.remove(instance)

    # --- requests ---

    def check_room(self) -> None:
        """Raise Overloaded if the queue is full."""
        if self._lanes.size >= self.settings.max_queue_size:
            if self._is_dispatch_scheduled:
                self.dispatch()
            self._lanes.purge()
            if self._lanes.size >= self.settings.max_queue_size:
                raise queue_full(self._module, self._lanes.size)

    def put(self, request: QueuedRequest) -> None:
        """Queue a new request.

        Raises:
            Overloaded: the queue is full.
        """
        self.check_room()
        self._last_number += 1
        request.number, request.queued_at = self._last_number, time.monotonic()
        self._lanes.apply_policy(request)
        self._lanes.append(request)
        if not self._is_dispatch_scheduled:
            self._is_dispatch_scheduled = True
            self._schedule(self._dispatch_scheduled)

    def _dispatch_scheduled(self) -> None:
        self._is_dispatch_scheduled = False
        self.dispatch()

    def requeue(self, requests: list[QueuedRequest]) -> None:
        """Queue requests of an instance that died in front of their lanes; they were admitted before, so no limit applies."""
        for request in reversed(requests):
            self._lanes.append_left(request)
        self.dispatch()

    def fail_all(self, error: HubError) -> None:
        """Answer all waiting requests with an error."""
        self._lanes.fail_all(error)

    # --- batches ---

    def dispatch(self) -> None:
        """Send all batches that can be sent now."""
        while self._lanes.size:
            chosen, fewest, idle, busy = None, 0, 0, False
            for each in self._instances:
                in_flight = each.in_flight
                if in_flight:
                    busy = True
                    if not idle and each.is_open and (chosen is None or in_flight < fewest):
                        chosen, fewest = each, in_flight
                elif each.is_open:
                    if not idle or each.unfinished < chosen.unfinished:  # type: ignore[union-attr]  # idle > 0: one is chosen
                        chosen = each
                    idle += 1
            if chosen is None:
                return
            # An idle instance takes what there is. A busy one gets its next batch ahead only if that would not grow by waiting.
            batch = self._next_batch(_Target(chosen, idle, busy, only_complete=not idle))
            if not batch:
                return
            self._send(chosen, batch)

    def on_batch_done(self, instance: InstanceHandle) -> None:
        """Send further batches; call this whenever an instance has answered one."""
        instance.expected_s.popleft()
        if instance.in_flight == 1:
            self._schedule_next(instance)
        self.dispatch()

    def _send(self, instance: InstanceHandle, batch: list[QueuedRequest]) -> None:
        call_sizes = self._call_sizes(batch)
        latency = self._latencies.of(batch[0].key) if call_sizes else None
        instance.expected_s.append(sum(latency.estimate(size) or 0.0 for size in call_sizes) if latency else 0.0)
        instance.give(batch, call_sizes)
        if instance.in_flight == 1:
            self._schedule_next(instance)

    def _schedule_next(self, instance: InstanceHandle) -> None:
        """Have an instance that begins a batch sent the next one shortly before it is expected to finish."""
        if instance.expected_s[0] > _MIN_TIMER_S:
            asyncio.get_running_loop().call_later(instance.expected_s[0] - _LEAD_S, self._send_ahead, instance, instance.given)

    def _send_ahead(self, instance: InstanceHandle, given: int) -> None:
        """Send the batch that an instance would take next, so that it need not wait for the round trip."""
        if instance.given == given and instance.in_flight == 1 and instance.is_alive:
            batch = self._next_batch(_Target(instance, 0, True, only_complete=False))
            if batch:
                self._send(instance, batch)

    def _next_batch(self, target: _Target) -> list[QueuedRequest]:
        """Remove and return the batch to compute next; empty if there is nothing to compute now."""
        now = time.monotonic()
        lanes = self._lanes.in_order(now)
        overtaken: list[Lane] = []
        for lane in lanes:
            # urgent requests must not wait behind others whose batch happens to be complete
            may = (target.idle or lane.name[:2] == lanes[0].name[:2]) and target.instance.admits(lane.queue[0])
            size = self._size_of_batch(lane, target, now) if may else 0
            if size:
                for each in overtaken:
                    each.overtaken += 1
                return self._pop_batch(lane, size, now)
            if not target.idle or lane.queue[0].isolated:
                if lane.overtaken >= _MAX_OVERTAKES:
                    return []  # instances become idle, and take it then
                overtaken.append(lane)
        return []

    def _size_of_batch(self, lane: Lane, target: _Target, now: float) -> int:
        """Return how many of a lane's items to compute now; 0 to let them wait."""
        latency, waiting = lane.latency, lane.items
        if latency is None:
            return 1
        settings, limit = self.settings, self._latencies.limit
        one_by_one = lane.name[2] == ONE_BY_ONE
        preferred = () if one_by_one else settings.preferred_sizes
        greedy = settings.greedy and not one_by_one
        full_size = min(preferred[-1], limit) if preferred else limit if greedy else latency.full_size()
        if waiting < full_size:
            if target.only_complete:
                return 0
            wait_s = lane.queue[0].queued_at + settings.max_delay_s - now
            if settings.max_delay_s and not lane.released and not one_by_one and wait_s > 0:
                self._dispatch_in(wait_s)
                return 0
        exclusive, share = not target.busy, waiting
        if target.idle > 1:
            share = -(-waiting // target.idle) if greedy else latency.share(waiting, target.idle, exclusive)
            lane.released = waiting  # the others take their share now
        if preferred:
            return min(_preferred_size(latency, preferred, waiting, share, target), limit)
        return min(share, limit) if greedy else latency.batch_size(share)

    def _dispatch_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self.dispatch()

    def _pop_batch(self, lane: Lane, size: int, now: float) -> list[QueuedRequest]:
        """Remove and return at least one request, with up to ``size`` items in all, as far as they meet the first of their deadlines."""
        batch: list[QueuedRequest] = []
        count, deadline = 0, float("inf")
        longest_s = (lane.latency.estimate(size) or 0.0) if lane.latency and len(lane.queue) > 1 else 0.0
        while lane.queue:
            request = lane.queue[0]
            if self._lanes.skip_head(lane, now):
                continue
            deadline = min(deadline, request.deadline or deadline)
            is_late = longest_s > deadline - now and _would_be_late(lane, count + request.count, deadline - now)
            if batch and (is_late or count + request.count > size):
                break
            request.queue_deadline = 0.0
            batch.append(self._lanes.pop(lane))
            count += request.count
            if lane.latency is None:
                break
        lane.overtaken, lane.released = 0, max(0, lane.released - count)
        self._lanes.discard_if_empty(lane)
        return batch

    def _call_sizes(self, batch: list[QueuedRequest]) -> list[int]:
        first = batch[0]
        if first.key is None or first.key == ONE_BY_ONE:
            return []
        items = sum(request.count for request in batch)
        if (self.settings.preferred_sizes or self.settings.greedy) and items <= self._latencies.limit:
            return [items]
        return self._latencies.of(first.key).call_sizes(items)


def _would_be_late(lane: Lane, items: int, left_s: float) -> bool:
    estimate = lane.latency.estimate(items) if lane.latency and left_s != float("inf") else None
    return estimate is not None and estimate > left_s


def _preferred_size(latency: BatchLatency, preferred: Sequence[int], waiting: int, share: int, target: _Target) -> int:
    """Return the preferred size that answers the last of the waiting items soonest, the largest of equals; their share if none fits."""
    fitting = [size for size in preferred if size <= waiting]
    if len(fitting) < 2 or target.idle < 2:
        return fitting[-1] if fitting else share
    return min(reversed(fitting), key=lambda size: latency.last_answer_s(waiting, size, target.idle, not target.busy))

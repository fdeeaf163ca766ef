"""Queued requests of a module, in lanes of requests that may be merged."""

import time
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from hubserve.errors import HubError, Overloaded
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.gateway.scheduling.batch_latency import BatchLatency
from hubserve.gateway.scheduling.expiry import is_abandoned
from hubserve.gateway.scheduling.latency_store import LatencyStore
from hubserve.gateway.scheduling.queue_policy import REJECT, QueuePolicies

#: a full queue is purged of abandoned requests at most this often, not for every request that it refuses
_PURGE_EVERY_S = 0.02

#: priority, whether it is delayed, batch key
_LaneName = tuple[int, bool, Hashable | None]


@dataclass(slots=True, eq=False)
class Lane:
    """Requests of one priority that may be merged, oldest first.

    Attributes:
        name: priority, whether the requests are delayed, batch key.
        latency: how long batches of them take; None if they are never merged.
        queue: the requests.
        items: how many items these hold.
        released: items that no longer wait for others, because idle instances share them.
        overtaken: how many batches of newer requests were sent ahead of them.
    """

    name: _LaneName
    latency: BatchLatency | None
    queue: deque[QueuedRequest] = field(default_factory=deque)
    items: int = 0
    released: int = 0
    overtaken: int = 0


class Lanes:
    """Queued requests, in one lane for each priority and batch key.

    Args:
        module: the served name, for messages.
        policies: how long requests of each priority may wait, and how many.
        merge: whether requests are merged at all.
        latencies: how long batches take.

    Attributes:
        size: the number of requests.
        merge: as given; may change while the lanes are empty.
    """

    def __init__(self, module: str, policies: QueuePolicies, merge: bool, latencies: LatencyStore) -> None:
        self.size = 0
        self.merge = merge
        self._module = module
        self._policies = policies if policies.has_limits else None
        self._latencies = latencies
        self._lanes: dict[_LaneName, Lane] = {}
        self._purged_at = 0.0

    def apply_policy(self, request: QueuedRequest) -> None:
        """Set until when a new request may wait.

        Raises:
            Overloaded: too many requests of its priority wait.
        """
        if not self._policies:
            return
        policy = self._policies.of(request.priority)
        if policy.max_queue_size and self._waiting(request.priority) >= policy.max_queue_size:
            self.purge()
            waiting = self._waiting(request.priority)
            if waiting >= policy.max_queue_size:
                raise Overloaded(
                    f"Exceeds maximum queue size: module '{self._module}' has {waiting} requests of this priority waiting, "
                    "which is their limit; try again later"
                )
        wait_s = policy.wait_s(request.requested_wait_s)
        if wait_s:
            request.queue_deadline = request.queued_at + wait_s
            if policy.timeout_action == REJECT:
                request.due = min(request.due or request.queue_deadline, request.queue_deadline)

    def _waiting(self, priority: int) -> int:
        return sum(len(lane.queue) for name, lane in self._lanes.items() if name[0] == priority)

    def append(self, request: QueuedRequest) -> None:
        """Add a request behind the others of its lane."""
        self._lane_of(request).queue.append(request)
        self.size += 1

    def append_left(self, request: QueuedRequest) -> None:
        """Add a request in front of the others of its lane."""
        self._lane_of(request).queue.appendleft(request)
        self.size += 1

    def _lane_of(self, request: QueuedRequest) -> Lane:
        """Return the request's lane, with the request's items already counted."""
        key = request.key if self.merge and not request.isolated else None
        name = (request.priority, request.delayed, key)
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = Lane(name, None if key is None else self._latencies.of(key))
        lane.items += request.count
        return lane

    def in_order(self, now: float) -> list[Lane]:
        """Return the lanes, the one whose first request comes first in front; abandoned requests at their heads are dropped."""
        for lane in list(self._lanes.values()):
            while lane.queue and self.skip_head(lane, now):
                pass
            self.discard_if_empty(lane)
        lanes = list(self._lanes.values())
        if len(lanes) > 1:
            lanes.sort(key=lambda lane: (lane.name[0], lane.name[1], lane.queue[0].number))
        return lanes

    def skip_head(self, lane: Lane, now: float) -> bool:
        """Return whether a lane's first request must not be computed, or not yet; if so, it has been removed from the lane."""
        request = lane.queue[0]
        if is_abandoned(request, self._module, now):
            self.pop(lane)
            return True
        if not self._policies or not 0 < request.queue_deadline <= now:
            return False
        self.pop(lane)
        request.queue_deadline = 0.0
        if self._policies.of(request.priority).timeout_action == REJECT:
            request.refuse()
        else:
            request.delayed = True
            self.append(request)
        return True

    def pop(self, lane: Lane) -> QueuedRequest:
        """Remove and return a lane's first request."""
        request = lane.queue.popleft()
        lane.items -= request.count
        self.size -= 1
        return request

    def discard_if_empty(self, lane: Lane) -> None:
        """Forget a lane without requests."""
        if not lane.queue:
            del self._lanes[lane.name]

    def purge(self) -> None:
        """Drop all abandoned requests, unless that was done a moment ago."""
        now = time.monotonic()
        if now - self._purged_at < _PURGE_EVERY_S:
            return
        self._purged_at = now
        for lane in list(self._lanes.values()):
            lane.queue = deque(request for request in lane.queue if not is_abandoned(request, self._module, now))
            lane.items = sum(request.count for request in lane.queue)
            self.discard_if_empty(lane)
        self.size = sum(len(lane.queue) for lane in self._lanes.values())

    def fail_all(self, error: HubError) -> None:
        """Answer all requests with an error, and forget them."""
        for lane in self._lanes.values():
            for request in lane.queue:
                if not request.answer.done():
                    request.answer.set_exception(error)
        self._lanes.clear()
        self.size = 0

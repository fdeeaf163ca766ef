"""Decides which waiting requests are computed together.

By default there is no waiting window: an instance that becomes free takes what is queued at that moment, up to the size at which the
time per item stops falling (see :mod:`hubserve.gateway.scheduling.batch_latency`). Under light load a request is computed at once and
alone; under heavy load batches form by themselves, where they help. A batch that would not grow by waiting is sent ahead
to a busy instance, which then does not wait for the gateway between two batches.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from hubserve.errors import DeadlineExceeded, HubError, Overloaded
from hubserve.gateway.queued_request import InstanceHandle, QueuedRequest
from hubserve.gateway.scheduling.batch_latency import ONE_BY_ONE, BatchTimes, TimesBook
from hubserve.gateway.scheduling.queue_policy import REJECT, QueuePolicies, QueuePolicy

#: a full queue is searched for work that nobody waits for any more, but not for every request that it refuses
_SWEEP_EVERY_S = 0.02
#: An instance is given its next batch so long before it is expected to finish: about what the way there and back takes.
_LEAD_S = 0.001
_WORTH_A_TIMER_S = 0.004
#: how many batches are sent ahead to busy instances while older work waits that can only be given to an idle one, or may still grow
_MOST_OVERTAKING = 4


@dataclass(frozen=True)
class BatchSettings:
    """How requests are queued and merged.

    Attributes:
        max_queue_size: how many requests may wait.
        preferred_sizes: numbers of items to merge up to, ascending; empty: as learned.
        max_delay_s: how long a request may be kept waiting for others although an instance is idle.
        merge: whether requests are put together at all.
        takes_all: an instance takes whatever waits, up to the most items in one call, without regard to what that costs.
        policies: how long requests of each priority may wait, and how many.
        preserve_ordering: answers are given in the order in which the requests came.
    """

    max_queue_size: int = 1024
    preferred_sizes: Sequence[int] = ()
    max_delay_s: float = 0.0
    merge: bool = True
    takes_all: bool = False
    policies: QueuePolicies = field(default_factory=QueuePolicies)
    preserve_ordering: bool = False


@dataclass(slots=True, eq=False)
class _Lane:
    """Work of one priority that may be merged, in the order in which it came.

    Attributes:
        key: of its work; None if that is never merged.
        times: how long its batches take.
        queue: the work.
        items: how many it holds.
        released: how many of these no longer wait for others, because idle instances share them.
        overtaken: how many batches of newer work were sent ahead of it.
    """

    key: Hashable | None
    times: BatchTimes | None
    queue: deque[QueuedRequest] = field(default_factory=deque)
    items: int = 0
    released: int = 0
    overtaken: int = 0


class _Takers(NamedTuple):
    """The instances that may take a batch.

    Attributes:
        seat: the one that is chosen.
        idle: how many are idle; 0 if the batch is sent ahead to one that still computes.
        busy: whether any computes.
        only_complete: not a batch that would grow by waiting.
    """

    seat: InstanceHandle
    idle: int
    busy: bool
    only_complete: bool


#: priority, whether it is delayed, key
_LaneName = tuple[int, bool, Hashable | None]


class Batcher:
    """A bounded queue of work, and the instances that compute it.

    Args:
        module: the served name, for messages.
        settings: see there.
        book: how long batches take; its limit is the most items in one call.
        soon: calls what it is given once everything that came by now is queued, so that requests that came together are computed
            together, also by instances that are idle.

    Attributes:
        settings: as given, until its module asks for others while nothing waits.
    """

    def __init__(self, module: str, settings: BatchSettings, book: TimesBook, soon: Callable[[Callable[[], None]], Any]) -> None:
        self._module = module
        self.settings = settings
        self._book = book
        self._soon = soon
        self._dispatches_soon = False
        self._policies = settings.policies if settings.policies.bound else None
        self._lanes: dict[_LaneName, _Lane] = {}
        self._size = 0
        self._numbers = 0
        self._swept_at = 0.0
        self._seats: list[InstanceHandle] = []
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return self._size

    @property
    def is_full(self) -> bool:
        """Whether new work would be refused."""
        if self._size >= self.settings.max_queue_size:
            if self._dispatches_soon:
                self.dispatch()
            self._sweep()
        return self._size >= self.settings.max_queue_size

    def add(self, seat: InstanceHandle) -> None:
        """An instance is ready."""
        self._seats.append(seat)
        self.dispatch()

    def remove(self, seat: InstanceHandle) -> None:
        """An instance is gone."""
        if seat in self._seats:
            self._seats.remove(seat)

    def put(self, work: QueuedRequest) -> None:
        """Queue new work, or hand it to a free instance.

        Raises:
            Overloaded: the queue is full.
        """
        self.check_room()
        self._numbers += 1
        work.number, work.queued_at = self._numbers, time.monotonic()
        if self._policies:
            self._apply(self._policies.of(work.priority), work)
        self._lane_of(work).queue.append(work)
        self._size += 1
        if not self._dispatches_soon:
            self._dispatches_soon = True
            self._soon(self._dispatch_now)

    def _dispatch_now(self) -> None:
        self._dispatches_soon = False
        self.dispatch()

    def check_room(self) -> None:
        """Raise Overloaded if the queue is full."""
        if self.is_full:
            raise Overloaded(f"module '{self._module}' has {self._size} requests waiting, which is its limit; try again later")

    def _apply(self, policy: QueuePolicy, work: QueuedRequest) -> None:
        """Refuse work that is one too many of its priority, and note how long it may wait.

        Raises:
            Overloaded: its priority's part of the queue is full.
        """
        if policy.max_queue_size and self._waiting(work.priority) >= policy.max_queue_size:
            self._sweep()
            waiting = self._waiting(work.priority)
            if waiting >= policy.max_queue_size:
                raise Overloaded(
                    f"Exceeds maximum queue size: module '{self._module}' has {waiting} requests of this priority waiting, "
                    "which is their limit; try again later"
                )
        wait_s = policy.wait_s(work.requested_wait_s)
        if wait_s:
            work.queue_deadline = work.queued_at + wait_s
            if policy.timeout_action == REJECT:
                work.due = min(work.due or work.queue_deadline, work.queue_deadline)

    def _waiting(self, priority: int) -> int:
        return sum(len(lane.queue) for name, lane in self._lanes.items() if name[0] == priority)

    def put_back(self, works: list[QueuedRequest]) -> None:
        """Queue work again, in its place in front, because its instance died; it was admitted before, so no limit applies."""
        for work in reversed(works):
            self._lane_of(work).queue.appendleft(work)
            self._size += 1
        self.dispatch()

    def fail_all(self, error: HubError) -> None:
        """Answer everything that waits with an error."""
        for lane in self._lanes.values():
            for work in lane.queue:
                if not work.answer.done():
                    work.answer.set_exception(error)
        self._lanes.clear()
        self._size = 0

    def dispatch(self) -> None:
        """Hand out what can be handed out."""
        while self._size:
            seat, fewest, idle, busy = None, 0, 0, False
            for each in self._seats:
                in_flight = each.in_flight
                if in_flight:
                    busy = True
                    if not idle and each.is_open and (seat is None or in_flight < fewest):
                        seat, fewest = each, in_flight
                elif each.is_open:
                    if not idle or each.unfinished < seat.unfinished:  # type: ignore[union-attr]  # there is one
                        seat = each
                    idle += 1
            if seat is None:
                return
            # An idle instance takes what there is. A busy one gets its next batch in advance only if that would not grow by waiting.
            batch = self._next_batch(_Takers(seat, idle, busy, only_complete=not idle))
            if not batch:
                return
            self._give(seat, batch)

    def answered(self, seat: InstanceHandle) -> None:
        """A seat has answered a batch: call it after each."""
        seat.expected_s.popleft()
        if seat.in_flight == 1:
            self._plan_ahead(seat)
        self.dispatch()

    def _give(self, seat: InstanceHandle, batch: list[QueuedRequest]) -> None:
        call_sizes = self._call_sizes(batch)
        times = self._book.of(batch[0].key) if call_sizes else None
        seat.expected_s.append(sum(times.estimate(size) or 0.0 for size in call_sizes) if times else 0.0)
        seat.give(batch, call_sizes)
        if seat.in_flight == 1:
            self._plan_ahead(seat)

    def _plan_ahead(self, seat: InstanceHandle) -> None:
        """A seat begins with a batch: shortly before it is expected to finish, it is to be given the next one."""
        if seat.expected_s[0] > _WORTH_A_TIMER_S:
            asyncio.get_running_loop().call_later(seat.expected_s[0] - _LEAD_S, self._give_ahead, seat, seat.given)

    def _give_ahead(self, seat: InstanceHandle, given: int) -> None:
        """Give what the seat would take next, so that it need not wait for the way there and back."""
        if seat.given == given and seat.in_flight == 1 and seat.is_alive:
            batch = self._next_batch(_Takers(seat, 0, True, only_complete=False))
            if batch:
                self._give(seat, batch)

    def _lane_of(self, work: QueuedRequest) -> _Lane:
        """The lane that the work belongs to, counted as if it were in it."""
        key = work.key if self.settings.merge and not work.isolated else None
        name = (work.priority, work.delayed, key)
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane(key, None if key is None else self._book.of(key))
        lane.items += work.count
        return lane

    def _next_batch(self, takers: _Takers) -> list[QueuedRequest]:
        """Take a batch out of the lane whose first work comes first; empty if there is nothing to compute now."""
        now = time.monotonic()
        self._drop_unwanted_heads(now)
        names = list(self._lanes)
        if len(names) > 1:
            names.sort(key=lambda name: (name[0], name[1], self._lanes[name].queue[0].number))
        overtaken: list[_Lane] = []
        for name in names:
            lane = self._lanes[name]
            # urgent work must not wait behind work that happens to be complete
            may = (takers.idle or name[:2] == names[0][:2]) and takers.seat.admits(lane.queue[0])
            size = self._size_of_batch(lane, takers, now) if may else 0
            if size:
                for each in overtaken:
                    each.overtaken += 1
                return self._take(name, lane, size, now)
            if not takers.idle or lane.queue[0].isolated:
                if lane.overtaken >= _MOST_OVERTAKING:
                    return []  # instances become idle, and take it then
                overtaken.append(lane)
        return []

    def _drop_unwanted_heads(self, now: float) -> None:
        """Forget work that nobody waits for any more, where it would come next."""
        for name, lane in list(self._lanes.items()):
            while lane.queue and self._is_set_aside(lane, now):
                pass
            if not lane.queue:
                del self._lanes[name]

    def _pop(self, lane: _Lane) -> QueuedRequest:
        work = lane.queue.popleft()
        lane.items -= work.count
        self._size -= 1
        return work

    def _is_set_aside(self, lane: _Lane, now: float) -> bool:
        """Whether a lane's first work is not to be computed, or not yet; then it is no longer in it."""
        work = lane.queue[0]
        if self._is_unwanted(work, now):
            self._pop(lane)
            return True
        if not self._policies or not 0 < work.queue_deadline <= now:
            return False
        self._pop(lane)
        work.queue_deadline = 0.0
        if self._policies.of(work.priority).timeout_action == REJECT:
            work.refuse()
            return True
        work.delayed = True
        self._lane_of(work).queue.append(work)
        self._size += 1
        return True

    def _is_unwanted(self, work: QueuedRequest, now: float) -> bool:
        if not work.answer.done() and work.deadline is not None and now >= work.deadline:
            message = f"Request timeout expired: module '{self._module}' was too busy to start on the request in time"
            work.answer.set_exception(DeadlineExceeded(message))
        return work.answer.done()

    def _size_of_batch(self, lane: _Lane, takers: _Takers, now: float) -> int:
        """How many of a lane's items to compute now; 0 to let them wait."""
        times, waiting = lane.times, lane.items
        if times is None:
            return 1
        settings = self.settings
        preferred = () if lane.key == ONE_BY_ONE else settings.preferred_sizes
        takes_all = settings.takes_all and lane.key != ONE_BY_ONE
        full_size = min(preferred[-1], self._book.limit) if preferred else self._book.limit if takes_all else times.full_size()
        if waiting < full_size:
            if takers.only_complete:
                return 0
            wait_s = lane.queue[0].queued_at + settings.max_delay_s - now
            if settings.max_delay_s and not lane.released and lane.key != ONE_BY_ONE and wait_s > 0:
                self._look_again_in(wait_s)
                return 0
        alone, share = not takers.busy, waiting
        if takers.idle > 1:
            share = -(-waiting // takers.idle) if takes_all else times.share(waiting, takers.idle, alone)
            lane.released = waiting  # the others take their share at once
        if preferred:
            return min(_preferred_size(times, preferred, waiting, share, takers), self._book.limit)
        return min(share, self._book.limit) if takes_all else times.batch_size(share)

    def _look_again_in(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._look_again)

    def _look_again(self) -> None:
        self._timer = None
        self.dispatch()

    def _take(self, name: _LaneName, lane: _Lane, size: int, now: float) -> list[QueuedRequest]:
        """Take work of up to ``size`` items, and at least one; not more than can be computed before the first deadline of them."""
        batch: list[QueuedRequest] = []
        count, deadline = 0, float("inf")
        longest_s = (lane.times.estimate(size) or 0.0) if lane.times and len(lane.queue) > 1 else 0.0
        while lane.queue:
            work = lane.queue[0]
            if self._is_set_aside(lane, now):
                continue
            deadline = min(deadline, work.deadline or deadline)
            is_late = longest_s > deadline - now and self._would_be_late(lane, count + work.count, deadline - now)
            if batch and (is_late or count + work.count > size):
                break
            work.queue_deadline = 0.0
            batch.append(self._pop(lane))
            count += work.count
            if lane.times is None:
                break
        lane.overtaken, lane.released = 0, max(0, lane.released - count)
        if not lane.queue:
            del self._lanes[name]
        return batch

    def _would_be_late(self, lane: _Lane, items: int, left_s: float) -> bool:
        estimate = lane.times.estimate(items) if lane.times and left_s != float("inf") else None
        return estimate is not None and estimate > left_s

    def _call_sizes(self, batch: list[QueuedRequest]) -> list[int]:
        first = batch[0]
        if first.key is None or first.key == ONE_BY_ONE:
            return []
        items = sum(work.count for work in batch)
        if (self.settings.preferred_sizes or self.settings.takes_all) and items <= self._book.limit:
            return [items]
        return self._book.of(first.key).call_sizes(items)

    def _sweep(self) -> None:
        """Forget all work that nobody waits for any more."""
        now = time.monotonic()
        if now - self._swept_at < _SWEEP_EVERY_S:
            return
        self._swept_at = now
        for name, lane in list(self._lanes.items()):
            lane.queue = deque(work for work in lane.queue if not self._is_unwanted(work, now))
            lane.items = sum(work.count for work in lane.queue)
            if not lane.queue:
                del self._lanes[name]
        self._size = sum(len(lane.queue) for lane in self._lanes.values())


def _preferred_size(times: BatchTimes, preferred: Sequence[int], waiting: int, share: int, takers: _Takers) -> int:
    """Return the preferred size that answers the last of the waiting items soonest, the largest of equals; their share if none fits."""
    fitting = [size for size in preferred if size <= waiting]
    if len(fitting) < 2 or takers.idle < 2:
        return fitting[-1] if fitting else share
    return min(reversed(fitting), key=lambda size: times.last_answer_s(waiting, size, takers.idle, not takers.busy))

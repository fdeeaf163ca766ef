"""Decides which waiting requests are computed together.

There is no waiting window: an instance that becomes free takes what is queued at that moment, up to ``max_batch_size`` items. Under
light load a request is computed at once and alone; under heavy load batches form by themselves. A batch that cannot grow any more is sent
ahead to a busy instance, so that it need not wait for the gateway between two batches.
"""

import asyncio
import time
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol

from hubserve.errors import DeadlineExceeded, Overloaded
from hubserve.types import InferResponse

#: work that ended this many instances is not tried again
_MAX_ATTEMPTS = 2
_in_flight = attrgetter("in_flight")


@dataclass(slots=True, eq=False)
class Work:
    """One admitted request.

    Attributes:
        call: its part of an ``infer`` frame's header, the buffers' indices counted from 0.
        buffers: its buffers.
        count: how many items it holds.
        key: only work with the same key may be merged; None for work that may not be merged at all.
        answer: its asker waits for this.
        deadline: on the clock of ``time.monotonic``; None for none.
        attempts: how many instances have been given it.
        alone: it may have ended an instance, so it is not put together with others again.
    """

    call: dict[str, Any]
    buffers: list[Any]
    count: int
    key: Hashable | None
    answer: "asyncio.Future[InferResponse]"
    deadline: float | None = None
    attempts: int = 0
    alone: bool = False

    @property
    def may_be_retried(self) -> bool:
        """Whether another instance may be given it after the first one died."""
        return self.attempts < _MAX_ATTEMPTS


class Seat(Protocol):
    """Where batches go: an instance, as the batcher sees it."""

    @property
    def in_flight(self) -> int:
        """How many batches it has been given and has not answered."""

    @property
    def is_open(self) -> bool:
        """Whether it may be given another one."""

    def give(self, batch: list[Work]) -> None:
        """Compute a batch; the batcher is told by :meth:`Batcher.dispatch` when it is answered."""


class Batcher:
    """A bounded queue of work, and the instances that compute it.

    Args:
        module: the served name, for messages.
        max_queue_size: how many requests may wait.
    """

    def __init__(self, module: str, max_queue_size: int) -> None:
        self.max_batch_size = 1
        self._module = module
        self._max_queue_size = max_queue_size
        self._queue: deque[Work] = deque()
        self._seats: list[Seat] = []

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, seat: Seat) -> None:
        """An instance is ready."""
        self._seats.append(seat)
        self.dispatch()

    def remove(self, seat: Seat) -> None:
        """An instance is gone."""
        if seat in self._seats:
            self._seats.remove(seat)

    def put(self, work: Work) -> None:
        """Queue new work, or hand it to a free instance.

        Raises:
            Overloaded: the queue is full.
        """
        if len(self._queue) >= self._max_queue_size:
            self._drop_unwanted()
        if len(self._queue) >= self._max_queue_size:
            raise Overloaded(f"module '{self._module}' has {len(self._queue)} requests waiting, which is its limit; try again later")
        self._queue.append(work)
        self.dispatch()

    def put_back(self, works: list[Work]) -> None:
        """Queue work again, in front, because its instance died; it was admitted before, so no limit applies."""
        self._queue.extendleft(reversed(works))
        self.dispatch()

    def fail_all(self, error: Exception) -> None:
        """Answer everything that waits with an error."""
        while self._queue:
            work = self._queue.popleft()
            if not work.answer.done():
                work.answer.set_exception(error)

    def dispatch(self) -> None:
        """Hand out what can be handed out: call it when a seat has answered."""
        while self._queue:
            seat = min((each for each in self._seats if each.is_open), key=_in_flight, default=None)
            # An idle instance takes what there is. A busy one gets its next batch in advance only if that would not grow by waiting.
            if seat is None or (seat.in_flight and not self._head_is_complete()):
                return
            batch = self._next_batch()
            if not batch:
                return
            seat.give(batch)

    def _head_is_complete(self) -> bool:
        first = self._queue[0]
        if first.alone:
            return False  # it may end the instance, so it is not queued behind others' work
        if first.key is None:
            return True
        return sum(work.count for work in self._queue if work.key == first.key) >= self.max_batch_size

    def _next_batch(self) -> list[Work]:
        self._drop_unwanted()
        if not self._queue:
            return []
        first = self._queue.popleft()
        batch, count = [first], first.count
        if first.key is None or first.alone or count >= self.max_batch_size:
            return batch
        rest: deque[Work] = deque()
        while self._queue and count < self.max_batch_size:
            work = self._queue.popleft()
            if work.key == first.key and not work.alone and count + work.count <= self.max_batch_size:
                batch.append(work)
                count += work.count
            else:
                rest.append(work)
        self._queue.extendleft(reversed(rest))
        return batch

    def _drop_unwanted(self) -> None:
        """Forget work whose asker has gone, and answer work whose deadline has passed, before either is computed."""
        now = time.monotonic()
        kept: deque[Work] = deque()
        for work in self._queue:
            if work.answer.done():
                continue
            if work.deadline is not None and now >= work.deadline:
                work.answer.set_exception(DeadlineExceeded(f"module '{self._module}' was too busy to start on the request in time"))
                continue
            kept.append(work)
        self._queue = kept

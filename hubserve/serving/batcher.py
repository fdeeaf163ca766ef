"""Decides which waiting requests are computed together.

There is no waiting window: an instance that becomes free takes what is queued at that moment, up to ``max_batch_size`` items. Under
light load a request is computed at once and alone; under heavy load batches form by themselves.
"""

import asyncio
import time
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from hubserve.errors import DeadlineExceeded, Overloaded
from hubserve.types import InferResponse

#: work that ended this many instances is not tried again
_MAX_ATTEMPTS = 2


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


class Batcher:
    """A bounded queue of work, and the instances that wait for some.

    Args:
        module: the served name, for messages.
        max_queue_size: how many requests may wait.
    """

    def __init__(self, module: str, max_queue_size: int) -> None:
        self.max_batch_size = 1
        self._module = module
        self._max_queue_size = max_queue_size
        self._queue: deque[Work] = deque()
        self._free: deque[asyncio.Future[list[Work]]] = deque()

    def __len__(self) -> int:
        return len(self._queue)

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
        self._dispatch()

    def put_back(self, works: list[Work]) -> None:
        """Queue work again, in front, because its instance died; it was admitted before, so no limit applies."""
        self._queue.extendleft(reversed(works))
        self._dispatch()

    def take(self) -> "asyncio.Future[list[Work]]":
        """The next batch for a free instance, as a future; cancel it, or set an exception, if the instance dies first."""
        waiter: asyncio.Future[list[Work]] = asyncio.get_running_loop().create_future()
        self._free.append(waiter)
        self._dispatch()
        return waiter

    def fail_all(self, error: Exception) -> None:
        """Answer everything that waits with an error."""
        while self._queue:
            work = self._queue.popleft()
            if not work.answer.done():
                work.answer.set_exception(error)

    def _dispatch(self) -> None:
        while self._queue and self._free:
            waiter = self._free.popleft()
            if waiter.done():
                continue
            batch = self._next_batch()
            if not batch:
                self._free.appendleft(waiter)
                return
            waiter.set_result(batch)

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

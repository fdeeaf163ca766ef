"""Gives requests to an instance whose module may have further ones before it has answered, such as a model with ``async def execute``.

The frame of a batch is answered as soon as the module has begun with it, and each request when its response comes by the second socket.
"""

import time
from typing import Any

from hubserve.errors import HubError
from hubserve.gateway.instances.dispatcher import InstanceDispatcher
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.wire.frames import Frame

#: so many requests at most are at an instance at the same time; others wait in the queue, where they can still go to another one
MOST_AT_ONCE = 1024


class Suspects:
    """Requests that an instance had when it ended. Nothing says which of them it ended of, so they are tried again in halves."""

    def __init__(self, works: list[QueuedRequest]) -> None:
        self._works = works

    @property
    def is_one(self) -> bool:
        """Return whether one request alone is to blame if the instance ends."""
        return len(self._works) == 1

    @property
    def waits(self) -> bool:
        """Return whether one of them waits in the queue."""
        return any(work.raw.channel is None and not work.answer.done() for work in self._works)


class ConcurrentDispatcher(InstanceDispatcher):
    """See the module; arguments as the base class."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        assert self._channel is not None, "its module is given whole requests"
        self._with_many = self._channel
        self._tried: QueuedRequest | None = None  # one of those that are tried again at this instance, apart from all others
        self._with_many.on_fewer = self._on_fewer
        self._with_many.on_late_response = self._on_late_response
        self._with_many.on_orphans = self._take_orphans

    @property
    def is_open(self) -> bool:
        """Return whether it may be given another batch."""
        if self._tried and not (self._tried.suspects and self._tried.suspects.waits):
            return False
        streams = self._with_many.decoupled  # those may be open for as long as their clients like
        return super().is_open and (streams or len(self._with_many.open) < MOST_AT_ONCE)

    def admits(self, work: QueuedRequest) -> bool:
        """Return whether work may be computed beside the present work: requests that may have ended an instance are computed alone."""
        if self._tried:
            return work.isolated and work.suspects is not None and work.suspects is self._tried.suspects
        return not work.isolated or not (self.in_flight or self._with_many.open)

    def give(self, batch: list[QueuedRequest], call_sizes: list[int]) -> None:
        """See the base class."""
        now = time.monotonic()
        for work in batch:
            work.raw.begun_at = now
        self._tried = batch[0] if batch[0].isolated else None
        super().give(batch, call_sizes)

    def _would_blame(self, batch: list[QueuedRequest]) -> bool:
        suspects = batch[0].suspects
        return super()._would_blame(batch) and not self._with_many.open and (suspects is None or suspects.is_one)

    def _on_fewer(self) -> None:
        if not self._with_many.open:
            self._tried = None
        self._batcher.dispatch()

    def _note_answer(self, answer: Frame) -> None:
        if any(result.get("later") is not False for result in answer.header["results"]):
            super()._note_answer(answer)

    def _count(self, batch: list[QueuedRequest], header: dict[str, Any], begun_at: float, busy_s: float) -> None:
        both = zip(batch, header["results"], strict=True)
        counted = [(work, result) for work, result in both if work.raw.stream is not None or result.get("later") is not False]
        if counted:
            works, results = map(list, zip(*counted, strict=True))
            super()._count(works, {**header, "results": results}, begun_at, busy_s)

    def _on_late_response(self, work: QueuedRequest) -> None:
        """Count a request whose response has come."""
        self.has_answered = True
        begun_at = work.raw.begun_at
        took_s = time.monotonic() - begun_at
        if work.answer.done() and not work.answer.cancelled() and work.answer.exception() is None:
            header = {"results": [{}], "times": [(work.count, took_s)], "took_s": took_s}
            self._statistics.answered([work], header, begun_at, took_s)

    def _take_orphans(self, works: list[QueuedRequest], died: HubError) -> list[QueuedRequest]:
        """Have other instances compute what this one had, but for streams."""
        again = [work for work in works if work.raw.stream is None and not work.answer.done() and self._may_go_on(work, died, merged=True)]
        middle = (len(again) + 1) // 2
        for half in (again[:middle], again[middle:]):
            suspects = Suspects(half)
            for work in half:
                work.suspects = suspects
        self._batcher.put_back(again)
        return [work for work in works if work.raw.stream is not None]

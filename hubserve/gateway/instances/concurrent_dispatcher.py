"""Send requests to an instance whose module takes further ones before it has answered, such as a model with ``async def execute``.

The frame of a batch is answered as soon as the module has begun with it, each request when its response comes on the side channel.
"""

import time
from typing import Any

from hubserve.errors import HubError
from hubserve.gateway.instances.dispatcher import InstanceDispatcher
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.wire.frames import Frame

#: requests at one instance at the same time; others wait in the queue, from where they can still go to another instance
MAX_CONCURRENT = 1024


class Suspects:
    """Requests that an instance had when it ended. Nothing shows which of them ended it, so they are retried in halves."""

    def __init__(self, works: list[QueuedRequest]) -> None:
        self._works = works

    @property
    def is_single(self) -> bool:
        """True if there is only one of them."""
        return len(self._works) == 1

    @property
    def is_queued(self) -> bool:
        """True if one of them waits in the queue."""
        return any(work.raw.channel is None and not work.answer.done() for work in self._works)


class ConcurrentDispatcher(InstanceDispatcher):
    """An instance whose module computes several batches at the same time; arguments as the base class."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        assert self._channel is not None, "its module takes raw requests"
        self._requests = self._channel
        self._retried: QueuedRequest | None = None  # one of the suspects that are retried at this instance, apart from other requests
        self._requests.on_fewer = self._on_fewer
        self._requests.on_late_response = self._on_late_response
        self._requests.on_orphans = self._retry_orphans

    @property
    def is_open(self) -> bool:
        """True if it may be given another batch."""
        if self._retried and not (self._retried.suspects and self._retried.suspects.is_queued):
            return False
        streams = self._requests.decoupled  # they may stay open for as long as their clients want
        return super().is_open and (streams or len(self._requests.open) < MAX_CONCURRENT)

    def admits(self, work: QueuedRequest) -> bool:
        """Return whether a request may be computed beside those at the instance: one that may have ended an instance may not."""
        if self._retried:
            return work.isolated and work.suspects is not None and work.suspects is self._retried.suspects
        return not work.isolated or not (self.in_flight or self._requests.open)

    def give(self, batch: list[QueuedRequest], call_sizes: list[int]) -> None:
        """Send a batch; see the base class."""
        now = time.monotonic()
        for work in batch:
            work.raw.begun_at = now
        self._retried = batch[0] if batch[0].isolated else None
        super().give(batch, call_sizes)

    def _has_one_suspect(self, batch: list[QueuedRequest]) -> bool:
        suspects = batch[0].suspects
        return super()._has_one_suspect(batch) and not self._requests.open and (suspects is None or suspects.is_single)

    def _on_fewer(self) -> None:
        if not self._requests.open:
            self._retried = None
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
        """Count a request whose response came on the side channel."""
        self.has_answered = True
        begun_at = work.raw.begun_at
        took_s = time.monotonic() - begun_at
        if work.answer.done() and not work.answer.cancelled() and work.answer.exception() is None:
            header = {"results": [{}], "times": [(work.count, took_s)], "took_s": took_s}
            self._statistics.add_batch([work], header, begun_at, took_s)

    def _retry_orphans(self, works: list[QueuedRequest], died: HubError) -> list[QueuedRequest]:
        """Requeue the requests of the instance that ended; returns the streams, which are not retried."""
        again = [work for work in works if work.raw.stream is None and not work.answer.done() and self._may_retry(work, died, merged=True)]
        middle = (len(again) + 1) // 2
        for half in (again[:middle], again[middle:]):
            suspects = Suspects(half)
            for work in half:
                work.suspects = suspects
        self._batcher.requeue(again)
        return [work for work in works if work.raw.stream is not None]

"""What is queued, and where it goes: one admitted request, and an instance as the queue sees it."""

import asyncio
import time
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Protocol

from hubserve.errors import DeadlineExceeded, Unavailable
from hubserve.types import InferResponse, SequencePart

#: work that ended this many instances by itself is not tried again
_MAX_ATTEMPTS = 2


@dataclass(slots=True, eq=False)
class QueuedRequest:
    """One admitted request.

    Attributes:
        call: its part of an ``infer`` frame's header, the buffers' indices counted from 0.
        buffers: its buffers.
        count: how many items it holds.
        key: only work with the same key is given to an instance together; None for work that is always given alone.
        answer: its asker waits for this.
        deadline: on the clock of ``time.monotonic``; None for none.
        priority: lower ones go first.
        attempts: how many instances have been given it alone.
        isolated: it may have ended an instance, so it is not put together with others again.
        suspects: those of whom one may have ended an instance, and which are tried again together; None where it is tried again alone.
        due: when to look whether it is overdue, for :class:`hubserve.net.deadline_monitor.DeadlineMonitor`; 0 for never.
        number: when it was queued first, among all work.
        queued_at: the same, on the clock of ``time.monotonic``.
        marks: the request's.
        requested_wait_s: the longest wait that it asks for; 0 for none. The queue's policy says whether that counts.
        queue_deadline: when it has waited too long, on the clock of ``time.monotonic``; 0 for never.
        delayed: it has waited too long, and is to wait until all others of its priority are computed.
        part: of which sequence it is part.
        sequence: that sequence, as :mod:`hubserve.gateway.scheduling.sequence_batcher` keeps it.
        has_controls: what the module is told of its sequence is in it.
        once: it is not to be computed a second time, whatever happens.
        filler: nobody asked for it; it only takes a place in a batch.
        raw: a :class:`hubserve.gateway.instances.raw_requests.RawRequest`, for modules that are given whole requests; None for others.
    """

    call: dict[str, Any]
    buffers: list[Any]
    count: int
    key: Hashable | None
    answer: "asyncio.Future[InferResponse]"
    deadline: float | None = None
    priority: int = 0
    attempts: int = 0
    isolated: bool = False
    suspects: Any = None
    due: float = 0.0
    number: int = 0
    queued_at: float = 0.0
    marks: dict[str, int] | None = None
    requested_wait_s: float = 0.0
    queue_deadline: float = 0.0
    delayed: bool = False
    part: SequencePart | None = None
    sequence: Any = None
    has_controls: bool = False
    once: bool = False
    filler: bool = False
    raw: Any = None

    def on_timeout(self) -> None:
        """The deadline has passed, or it has waited too long: whoever asked is told."""
        now = time.monotonic()
        if self.answer.done():
            return
        if self.deadline is not None and now >= self.deadline:
            self.answer.set_exception(
                DeadlineExceeded("Request timeout expired: the answer did not come in time; the request was given up")
            )
        elif 0 < self.queue_deadline <= now:
            self.refuse()
        else:
            self.due = self.deadline or 0.0

    def refuse(self) -> None:
        """It has waited too long: whoever asked is told."""
        self.answer.set_exception(Unavailable("Request timeout expired: the module was too busy to begin with it in time; try again later"))

    @property
    def may_be_retried(self) -> bool:
        """Whether another instance may be given it after the first one died."""
        return self.attempts < _MAX_ATTEMPTS


class InstanceHandle(Protocol):
    """Where batches go: an instance, as the batcher sees it.

    Attributes:
        expected_s: of each batch that is not answered, how long it is expected to take; 0 where that is not known.
    """

    expected_s: deque[float]

    @property
    def in_flight(self) -> int:
        """How many batches it has been given and has not answered."""

    @property
    def given(self) -> int:
        """How many batches it has ever been given."""

    @property
    def is_alive(self) -> bool:
        """Whether it computes what it is given."""

    @property
    def unfinished(self) -> int:
        """Return the number of unanswered batches, or of requests if they are answered one by one."""

    @property
    def is_open(self) -> bool:
        """Whether it may be given another one."""

    def admits(self, work: QueuedRequest) -> bool:
        """Return whether work may be computed behind or beside the present work: False for work that may end the instance."""

    def give(self, batch: list[QueuedRequest], call_sizes: list[int]) -> None:
        """Compute a batch, divided into calls of the given sizes; then call :meth:`Batcher.on_batch_done`."""

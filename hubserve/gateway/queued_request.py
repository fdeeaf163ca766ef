"""The batcher's view of a request and of an instance."""

import asyncio
import time
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Protocol

from hubserve.errors import DeadlineExceeded, Unavailable
from hubserve.gateway.call_trace import CallTrace
from hubserve.telemetry.request_record import RequestRecord
from hubserve.types import InferResponse, SequencePart

#: a request that ended this many instances by itself is not retried
_MAX_ATTEMPTS = 2


@dataclass(slots=True, eq=False)
class QueuedRequest:
    """One admitted request.

    Attributes:
        call: its part of an ``infer`` frame's header, with buffer indices from 0.
        buffers: its buffers.
        count: the number of items that it holds.
        key: only requests with the same key are given to an instance together; None for one that is always given alone.
        answer: the future that its caller waits for.
        deadline: on the clock of ``time.monotonic``; None for none.
        priority: lower ones go first.
        attempts: how many instances were given it alone.
        isolated: whether it may have ended an instance, so that it is no longer merged with others.
        suspects: the requests of which one may have ended an instance, and which are retried together; None if it is retried alone.
        due: when to call :meth:`on_timeout`, for :class:`hubserve.net.deadline_monitor.DeadlineMonitor`; 0 for never.
        number: its position in the order of first queueing.
        queued_at: when it was first queued, on the clock of ``time.monotonic``.
        marks: of the request; see :class:`hubserve.types.InferRequest`.
        record: of the client's request; None for one that has no client.
        trace: of the call; None if it is not traced.
        requested_wait_s: the longest wait that it asks for; 0 for none. The queue's policy says whether that counts.
        queue_deadline: until when it may wait in the queue, on the clock of ``time.monotonic``; 0 for as long as it must.
        delayed: whether it has waited too long, and goes after all others of its priority now.
        part: its part of a sequence; None for none.
        sequence: that sequence, as :mod:`hubserve.gateway.scheduling.sequence_batcher` keeps it.
        has_controls: whether it holds the control inputs of its sequence.
        once: whether it must not be computed a second time.
        filler: whether it comes from no client, and only fills a slot of a batch.
        raw: a :class:`hubserve.gateway.instances.raw_requests.RawRequest`, for modules that take raw requests; None for others.
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
    marks: dict[str, float] | None = None
    record: RequestRecord | None = None
    trace: CallTrace | None = None
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
        """Fail the request if its deadline or its time in the queue has passed."""
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
        """Fail the request because it has waited too long in the queue."""
        self.answer.set_exception(Unavailable("Request timeout expired: the module was too busy to begin with it in time; try again later"))

    @property
    def may_be_retried(self) -> bool:
        """True if it may be retried at another instance after one died."""
        return self.attempts < _MAX_ATTEMPTS


class InstanceHandle(Protocol):
    """An instance, as the batcher sees it.

    Attributes:
        expected_s: the expected duration of each unanswered batch; 0 if unknown.
    """

    expected_s: deque[float]

    @property
    def in_flight(self) -> int:
        """Number of unanswered batches."""

    @property
    def given(self) -> int:
        """Number of batches that it was ever given."""

    @property
    def is_alive(self) -> bool:
        """True if it computes what it is given."""

    @property
    def unfinished(self) -> int:
        """Number of unanswered batches, or of requests if they are answered one by one."""

    @property
    def is_open(self) -> bool:
        """True if it may be given another batch."""

    def admits(self, work: QueuedRequest) -> bool:
        """Return whether a request may be computed behind or beside those in flight: False for one that may end the instance."""

    def give(self, batch: list[QueuedRequest], call_sizes: list[int]) -> None:
        """Compute a batch, divided into calls of the given sizes; then call the batcher's ``on_batch_done``."""

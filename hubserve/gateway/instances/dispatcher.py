"""Send batches to one instance, and resolve each request's future."""

import logging
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from hubserve.errors import HubError, InstanceDied
from hubserve.gateway.instances.batch_trace import BatchTrace, begin_batch
from hubserve.gateway.instances.connection import NotComputed
from hubserve.gateway.instances.frame_records import ids_of
from hubserve.gateway.instances.instance import BROKEN, Instance
from hubserve.gateway.instances.outcomes import Outcome, outcome_of, resolve
from hubserve.gateway.instances.raw_requests import encode_raw_batch
from hubserve.gateway.instances.request_references import described_requests
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.gateway.scheduling.batch_key import ONE_BY_ONE
from hubserve.gateway.scheduling.concurrency import SHARED_FROM
from hubserve.gateway.scheduling.latency_store import LatencyStore
from hubserve.gateway.scheduling.sequence_batcher import Queue
from hubserve.gateway.statistics import ModuleStatistics
from hubserve.wire.arena import MAX_IN_FLIGHT
from hubserve.wire.frames import Frame, WireError

log = logging.getLogger("hubserve")

#: a batch that is sent ahead waits for the current one, while another instance might become free: not worth it for slower modules
_QUICK_S = 0.1


class InstanceDispatcher:
    """An instance as the batcher sees it; see :class:`hubserve.gateway.queued_request.InstanceHandle`.

    Args:
        instance: a loaded one.
        batcher: its batches come from there.
        latencies: learns how long they take.
        statistics: counts every answered batch.
        on_out_of_memory: called with the number of items for which the engine had no memory.

    Attributes:
        in_flight: number of unanswered batches.
        given: number of batches that it was ever given.
        expected_s: the expected duration of each batch in flight.
        has_answered: whether it has computed anything yet.
        closed: whether the server stops, so that requests are not retried.
        retired: whether it is given no more batches, because it is about to be replaced.
    """

    def __init__(
        self,
        instance: Instance,
        batcher: Queue,
        latencies: LatencyStore,
        statistics: ModuleStatistics,
        on_out_of_memory: Callable[[int], None],
    ) -> None:
        self.in_flight = 0
        self.given = 0
        self.has_answered = False
        self.closed = False
        self.retired = False
        self.expected_s: deque[float] = deque()
        self._usual_s = _QUICK_S
        self._given_at: deque[float] = deque()
        self._answered_at = 0.0
        self._total_s = 0.0  # computing time of all instances when this one began with its batch
        self._instance = instance
        self._channel = instance.side_channel
        self._output = instance.output
        self._frames = instance.frames
        self._is_here = not instance.spec.address
        self._log_fields = instance.spec.log_fields()
        if self._channel:
            self._channel.on_rescheduled = lambda work: batcher.requeue([work])
        self._batcher = batcher
        self._latencies = latencies
        self._statistics = statistics
        self._on_out_of_memory = on_out_of_memory

    @property
    def is_alive(self) -> bool:
        """True if it computes what it is given."""
        return not (self.retired or self._instance.is_dead or (self._channel is not None and self._channel.is_blocked))

    @property
    def unfinished(self) -> int:
        """Number of unanswered batches, or of requests if they are answered one by one."""
        return max(self.in_flight, len(self._channel.open)) if self._channel else self.in_flight

    @property
    def is_open(self) -> bool:
        """True if it may be given another batch: one if it is idle, and one ahead if it is quick."""
        if not self.is_alive:
            return False
        return not self.in_flight or (self.in_flight < MAX_IN_FLIGHT and self._usual_s < _QUICK_S)

    def admits(self, work: QueuedRequest) -> bool:
        """Return whether a request may be sent behind those in flight: False for one that may end the instance."""
        return not (work.isolated and self.in_flight)

    def give(self, batch: list[QueuedRequest], call_sizes: list[int]) -> None:
        """Send a batch to the instance, whose answer resolves the requests' futures."""
        if self._has_one_suspect(batch):
            batch[0].attempts += 1
        try:
            header, buffers = encode_raw_batch(batch, self._channel) if self._channel else _encode_batch(batch)
            if call_sizes:
                header["call_sizes"] = call_sizes
            if batch[0].once:
                header["once"] = True
            traced = begin_batch(batch, self._instance)
            requests = described_requests(batch, self._is_here)
            if requests:
                header["requests"] = requests
            if self._output is not None and self._output.is_unmarked:
                header["mark_output"] = True
            keys = [call["key"] for call in header["calls"]] if self._channel else []
        except Exception:
            self._fail_unsent(batch)
            return
        now = time.monotonic()
        self._given_at.append(now)
        if not self.in_flight:
            self._total_s = self._latencies.concurrency.begin(now)
        self.given += 1
        self.in_flight += 1
        self._frames.begin([work.record for work in batch])
        try:
            self._instance.infer(header, buffers, partial(self._answered, batch, keys, traced))
        except Exception:
            self._fail_unsent(batch)

    def _has_one_suspect(self, batch: list[QueuedRequest]) -> bool:
        """Return True if a single request is the cause if the instance ends now."""
        return len(batch) == 1

    def _fail_unsent(self, batch: list[QueuedRequest]) -> None:
        """Fail a batch that could not be sent, so that its requests do not wait for ever."""
        log.exception("an unexpected error while a batch was given to an instance", extra=self._about(batch))
        self.retired = True
        self._instance.end("could not be given a batch")
        _fail(batch, HubError("the server failed; see the server log"))

    def _about(self, batch: list[QueuedRequest]) -> dict[str, str]:
        """Return by which lines of the log name the instance and the requests of a batch."""
        return {**self._log_fields, "request_id": ids_of([work.record for work in batch])}

    def _answered(self, batch: list[QueuedRequest], keys: list[int], traced: BatchTrace | None, answer: Frame | InstanceDied) -> None:
        self.in_flight -= 1
        now = time.monotonic()
        given_at = self._given_at.popleft()
        took_s = now - given_at
        # the instance begins with a batch that was sent ahead when it has answered the one before
        begun_at = max(given_at, self._answered_at)
        busy_s = now - begun_at
        self._answered_at = now
        total_s = self._latencies.concurrency.total_s(now)
        shared = total_s - self._total_s > SHARED_FROM * busy_s
        self._total_s = total_s
        if not self.in_flight:
            self._latencies.concurrency.end(now)
        # a rise counts at once, a fall gradually
        self._usual_s = max(took_s, 0.9 * self._usual_s + 0.1 * took_s)
        if isinstance(answer, InstanceDied):
            self._retry(batch, keys, answer, traced)
            return
        try:
            outcomes = _outcomes(batch, answer)
        except WireError as error:  # the connection ends the instance for it
            self.retired = True
            self._retry(batch, keys, self._instance.death(BROKEN + error.message), traced)
            raise
        self._note_answer(answer)
        try:
            self._learn(batch, answer.header, busy_s, shared)
            if batch[-1].sequence is not None:
                _update_sequences(batch, answer)
            if self._channel:  # calls that the module's threads still make do not block the next batch
                self._channel.executing.difference_update(keys)
            self._batcher.on_batch_done(self)  # first: the instance must not wait for the resolving of all requests
        except Exception:  # the requests are resolved in any case
            log.exception("an unexpected error while a batch was answered", extra=self._about(batch))
        if self._channel:
            for work, key, outcome in zip(batch, keys, outcomes, strict=True):
                self._channel.on_frame_answered(work, key, outcome)
        else:
            for work, outcome in zip(batch, outcomes, strict=True):
                if outcome is not None:
                    resolve(work, outcome, self._log_fields)
        self._count(batch, answer.header, begun_at, busy_s)
        if traced is not None:
            traced.answered(answer.header, begun_at, busy_s)

    def _note_answer(self, _: Frame) -> None:
        self.has_answered = True

    def _count(self, batch: list[QueuedRequest], header: dict[str, Any], begun_at: float, busy_s: float) -> None:
        self._statistics.add_batch(batch, header, begun_at, busy_s)

    def _retry(self, batch: list[QueuedRequest], keys: list[int], died: InstanceDied, traced: BatchTrace | None) -> None:
        """Requeue the requests of an instance that died, or fail those that may not be retried."""
        if traced is not None:
            traced.failed(died.message)
        merged = len(batch) > 1
        if self._channel:  # except those that the instance has answered or handed back already
            batch = [work for work, key in zip(batch, keys, strict=False) if self._channel.forget(key)]
        again = [work for work in batch if not (work.filler or work.answer.done()) and self._may_retry(work, died, merged)]
        try:
            self._batcher.requeue(again)
        except Exception:
            log.exception("an unexpected error while requests of an instance that died were requeued", extra=self._about(batch))
            _fail(again, died)

    def _learn(self, batch: list[QueuedRequest], header: dict[str, Any], busy_s: float, shared: bool) -> None:
        key = batch[0].key
        if key is not None:
            times = self._latencies.of(key)
            for items, seconds in [(1, header["took_s"] / len(batch))] if key == ONE_BY_ONE else header["times"]:
                times.observe(items, seconds, shared)
            times.observe_overhead(max(0.0, busy_s - header["took_s"]))
        if "out_of_memory" in header:
            self._on_out_of_memory(header["out_of_memory"])

    def _may_retry(self, work: QueuedRequest, error: BaseException, merged: bool) -> bool:
        """Return True if a request of an instance that died is retried, in isolation, so that only the one that ends instances fails."""
        blameless = isinstance(error, NotComputed)  # it waited behind the batch at which the instance died
        has_responses = work.raw is not None and work.raw.stream is not None and work.raw.stream.started
        if self.closed or has_responses or not (blameless or work.may_be_retried):
            work.answer.set_exception(error)
            return False
        if not blameless:
            work.isolated = True
        elif not merged:
            work.attempts -= 1
        return True


def _encode_batch(batch: list[QueuedRequest]) -> tuple[dict[str, Any], list[Any]]:
    """Return the header and buffers of an ``infer`` frame; arrays are concatenated, so that the instance need not merge them."""
    buffers: list[Any] = []
    if all("inputs" in work.call for work in batch):
        first = batch[0].call["inputs"]
        count = sum(work.count for work in batch)
        inputs = [{**each, "shape": [count, *each["shape"][1:]], "buffer": index} for index, each in enumerate(first)]
        buffers = [[work.buffers[index] for work in batch] for index in range(len(first))]
        return {"op": "infer", "merged": {"inputs": inputs, "calls": [[work.count, work.call["answer"]] for work in batch]}}, buffers
    calls = []
    for work in batch:
        calls.append(_shifted(work.call, len(buffers)))
        buffers.extend(work.buffers)
    return {"op": "infer", "calls": calls}, buffers


def _shifted(call: dict[str, Any], by: int) -> dict[str, Any]:
    """Return a call whose buffers begin at index ``by`` of the frame instead of 0."""
    if not by:
        return call
    shifted = dict(call)
    if "arguments" in call:
        shifted["arguments"] = call["arguments"] + by
    if "pictures" in call:
        shifted["pictures"] = [index + by for index in call["pictures"]]
    if "inputs" in call:
        shifted["inputs"] = [{**each, "buffer": each["buffer"] + by} for each in call["inputs"]]
    return shifted


def _update_sequences(batch: list[QueuedRequest], frame: Frame) -> None:
    for work, result in zip(batch, frame.header["results"], strict=True):
        if work.sequence is not None:
            work.sequence.on_computed(work, result, frame)


def _outcomes(batch: list[QueuedRequest], frame: Frame) -> list[Outcome]:
    """Return the outcome of each request of a batch.

    Raises:
        WireError: the frame is invalid.
    """
    most = sum(work.count for work in batch)
    if any(items > most for items, _ in frame.header["times"]):
        raise WireError(f"a frame reports calls with more than the {most} items that were sent")
    return [outcome_of(result, frame.buffers) for result in frame.header["results"]]


def _fail(works: list[QueuedRequest], error: HubError) -> None:
    for work in works:
        if not work.answer.done():
            work.answer.set_exception(error)

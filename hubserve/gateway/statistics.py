"""Count what a served module has done since it was loaded.

A request's time is divided into: waiting in the queue until its instance begins with its batch, decoding and merging the *input*,
*computing*, and cutting, encoding and returning the *output*. Half of the transfer time to the instance and back counts as input, half
as output. Every request of a batch is counted with the full time of its batch.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hubserve.errors import Cancelled, HubError, InstanceDied, ModuleFailed, Unavailable
from hubserve.gateway.latency_summaries import LatencySummaries
from hubserve.gateway.scheduling.batch_key import ONE_BY_ONE
from hubserve.telemetry.histogram import ITEMS, SECONDS, Histogram

T = TypeVar("T")

#: error -> the label ``reason`` of ``nv_inference_request_failure``; the first match wins
_REASONS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((Unavailable,), "REJECTED"),
    ((asyncio.CancelledError, GeneratorExit, Cancelled), "CANCELED"),
    ((ModuleFailed, InstanceDied), "BACKEND"),
)


@dataclass(slots=True)
class Tally:
    """Number and total duration of events."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float, count: int = 1) -> None:
        """Add ``count`` events that took ``seconds`` in total."""
        self.count += count
        self.seconds += seconds

    @property
    def ns(self) -> int:
        """Total duration in nanoseconds."""
        return int(self.seconds * 1e9)


@dataclass(slots=True)
class Execution:
    """Number and durations of a module's calls with one number of items; in one object, because it is updated often."""

    count: int = 0
    input_s: float = 0.0
    infer_s: float = 0.0
    output_s: float = 0.0

    def add(self, input_s: float, infer_s: float, output_s: float, count: int = 1) -> None:
        """Add ``count`` calls with their total durations."""
        self.count += count
        self.input_s += input_s
        self.infer_s += infer_s
        self.output_s += output_s

    @property
    def compute_input(self) -> Tally:
        """Decoding and merging of inputs."""
        return Tally(self.count, self.input_s)

    @property
    def compute_infer(self) -> Tally:
        """Computing."""
        return Tally(self.count, self.infer_s)

    @property
    def compute_output(self) -> Tally:
        """Cutting and encoding of outputs."""
        return Tally(self.count, self.output_s)


@dataclass(slots=True)
class Responses:
    """The n-th responses to requests of a decoupled module.

    Attributes:
        compute_infer: from the previous response, or from when the request was begun, to this one.
        compute_output: passing it on.
        success, fail, cancel: by how each ended.
        empty: those that only end the stream.
    """

    compute_infer: Tally = field(default_factory=Tally)
    compute_output: Tally = field(default_factory=Tally)
    success: Tally = field(default_factory=Tally)
    fail: Tally = field(default_factory=Tally)
    empty: Tally = field(default_factory=Tally)
    cancel: Tally = field(default_factory=Tally)


class ModuleStatistics:
    """The counters of one served module.

    Args:
        has_summaries: whether quantiles of latencies are wanted.

    Attributes:
        requests: the number of requests, including those in progress.
        failures: the number of requests that failed.
        last_inference_ms: when the last batch was answered, in milliseconds since 1970; 0 for never.
        inference_count: items of successful requests.
        execution_count: calls of the module.
        success, fail: requests, from when they are checked until they are answered; successes include those from the response cache.
        queue: the waiting of successful requests.
        computed: the computing of successful requests.
        cache_hit, cache_miss: lookups in the response cache; a miss includes adding the response.
        executions: number of items in a call to the calls with it.
        failed: reason, as Triton names it, to the number of requests that failed for it.
        queue_times, compute_times: of requests and of calls, in seconds.
        batch_sizes: items in each call.
        responses: position of a response, from 0, to the responses at it.
        first_responses: milliseconds until the first response to each request of a decoupled module; None for other modules.
        summaries: quantiles of latencies; None unless they are wanted.
    """

    def __init__(self, has_summaries: bool = False) -> None:
        self.requests = 0
        self.failures = 0
        self.last_inference_ms = 0
        self.inference_count = 0
        self.execution_count = 0
        self.success = Tally()
        self.fail = Tally()
        self.queue = Tally()
        self.computed = Execution()
        self.cache_hit = Tally()
        self.cache_miss = Tally()
        self.executions: dict[int, Execution] = {}
        self.failed: Counter[str] = Counter()
        self.queue_times = Histogram(SECONDS)
        self.compute_times = Histogram(SECONDS)
        self.batch_sizes = Histogram(ITEMS)
        self.responses: dict[int, Responses] = {}
        self.first_responses: Histogram | None = None
        self.summaries = LatencySummaries() if has_summaries else None

    def response(self, position: int) -> Responses:
        """Return the counters of the responses at a position, from 0."""
        found = self.responses.get(position)
        if found is None:
            found = self.responses[position] = Responses()
        return found

    def add_ended(self, came_at: float, has_succeeded: bool) -> None:
        """Count a request that has ended.

        Args:
            came_at: when it came, on the clock of ``time.monotonic``.
            has_succeeded: whether it was answered without an error.
        """
        now = time.monotonic()
        if not has_succeeded:
            self.fail.add(now - came_at)
            return
        self.success.add(now - came_at)
        if self.summaries is not None:
            self.summaries.request.add(now - came_at, now)

    def add_failure(self, error: BaseException) -> None:
        """Count why a request failed."""
        self.failed[next((reason for classes, reason in _REASONS if isinstance(error, classes)), "OTHER")] += 1

    def add_cache_hit(self, lookup_s: float, took_s: float) -> None:
        """Count a request that the response cache answered.

        Args:
            lookup_s: of the lookup.
            took_s: of the request, lookup included.
        """
        self.cache_hit.add(lookup_s)
        self.queue.add(0.0)
        self.success.add(took_s)
        if self.summaries is not None:
            now = time.monotonic()
            self.summaries.request.add(took_s, now)
            self.summaries.queue.add(0.0, now)

    async def streamed(self, responses: AsyncIterator[T]) -> AsyncIterator[T]:
        """Count the responses to one request while passing them on.

        Args:
            responses: to pass on.
        """
        position, since = 0, time.monotonic()
        try:
            async for response in responses:
                now = time.monotonic()
                if not position and self.first_responses is not None:
                    self.first_responses.add((now - since) * 1e3)
                yield response
                counted, position = self.response(position), position + 1
                counted.compute_infer.add(now - since)
                counted.compute_output.add(time.monotonic() - now)
                counted.success.add(time.monotonic() - since)
                since = time.monotonic()
        except HubError:
            self.response(position).fail.add(time.monotonic() - since)
            raise
        except (asyncio.CancelledError, GeneratorExit):
            self.response(position).cancel.add(time.monotonic() - since)
            raise

    def add_batch(self, batch: Sequence[Any], header: dict[str, Any], begun_at: float, busy_s: float) -> None:
        """Count one answered batch.

        Args:
            batch: its :class:`hubserve.gateway.queued_request.QueuedRequest`.
            header: of the ``results`` frame.
            begun_at: when the instance began with it, on the clock of ``time.monotonic``.
            busy_s: from then until the answer arrived.
        """
        counted = [
            work
            for work, result in zip(batch, header["results"], strict=True)
            # failed requests, those that the module wants once more, and fillers do not count
            if "error" not in result and result.get("later") is not True and not work.filler
        ]
        if not counted:
            return
        prepare_s, took_s, times = header.get("prepare_s", 0.0), header["took_s"], header["times"]
        calls_s = header.get("calls_s", took_s)
        # comparisons in place of max() here and below: this is done for each batch, and most batches are one request
        transfer_s = (busy_s - prepare_s - took_s) / 2 if busy_s > prepare_s + took_s else 0.0
        input_s, output_s = prepare_s + transfer_s, (took_s - calls_s if took_s > calls_s else 0.0) + transfer_s
        self.last_inference_ms = int(time.time() * 1e3)
        for work in batch:
            if work.marks is not None:
                _mark(work, begun_at, begun_at + input_s, begun_at + busy_s - output_s, begun_at + busy_s)
        number = len(counted)
        for work in counted:
            self.inference_count += work.count
            waited_s = begun_at - work.queued_at if begun_at > work.queued_at else 0.0
            self.queue.seconds += waited_s
            self.queue_times.add(waited_s)
            if self.summaries is not None:
                self.summaries.queue.add(waited_s, begun_at + busy_s)
                self.summaries.add_computed(input_s, calls_s, output_s, begun_at + busy_s)
        self.queue.count += number
        if not times and (batch[0].key is None or batch[0].key == ONE_BY_ONE):
            share = number / len(batch)
            self.computed.add(input_s * share, calls_s * share, output_s * share, number)
            self._executed(1, input_s * share, calls_s * share, output_s * share, number)
            return
        self.computed.add(input_s * number, calls_s * number, output_s * number, number)
        if not times:
            self._executed(sum([work.count for work in batch]), input_s, calls_s, output_s, 1)
            return
        for items, seconds in times:
            self._executed(items, input_s / len(times), seconds, output_s / len(times), 1)

    def _executed(self, items: int, input_s: float, infer_s: float, output_s: float, count: int) -> None:
        self.execution_count += count
        self.batch_sizes.add(items, count)
        self.compute_times.add(infer_s / count, count)
        execution = self.executions.get(items)
        if execution is None:
            execution = self.executions[items] = Execution()
        execution.add(input_s, infer_s, output_s, count)

    def by_batch_size(self) -> Iterable[tuple[int, Execution]]:
        """Return numbers of items in a call, ascending, with the counters of the calls."""
        return sorted(self.executions.items())


def _mark(work: Any, begun_at: float, input_end: float, output_start: float, answered_at: float) -> None:
    """Record the times of a request's steps at its last instance."""
    marks = work.marks
    marks["queued"], marks["begun"], marks["computing"] = work.queued_at, begun_at, input_end
    marks["computed"], marks["answered"] = output_start, answered_at

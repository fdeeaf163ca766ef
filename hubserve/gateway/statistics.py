"""What a served module has done since it was loaded, in numbers.

The way of a request is divided so: it waits in the queue until its instance begins with its batch; its *input* is decoded and merged, the
module *computes*, and its *output* is cut, encoded and handed back. What the way to the instance and back takes belongs to input and
output by halves. Every request of a batch is counted with the whole time of its batch.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from hubserve.errors import HubError
from hubserve.gateway.scheduling.batch_key import ONE_BY_ONE

T = TypeVar("T")


@dataclass(slots=True)
class Tally:
    """How often something happened, and how long it took in all."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float, count: int = 1) -> None:
        """It happened ``count`` times and took so long in all."""
        self.count += count
        self.seconds += seconds

    @property
    def ns(self) -> int:
        """Nanoseconds."""
        return int(self.seconds * 1e9)


@dataclass(slots=True)
class Execution:
    """Calls of a module with one number of items; all are counted together, because they are counted often."""

    count: int = 0
    input_s: float = 0.0
    infer_s: float = 0.0
    output_s: float = 0.0

    def add(self, input_s: float, infer_s: float, output_s: float, count: int = 1) -> None:
        """So many calls took so long in all."""
        self.count += count
        self.input_s += input_s
        self.infer_s += infer_s
        self.output_s += output_s

    @property
    def compute_input(self) -> Tally:
        """Decoding and merging."""
        return Tally(self.count, self.input_s)

    @property
    def compute_infer(self) -> Tally:
        """Computing."""
        return Tally(self.count, self.infer_s)

    @property
    def compute_output(self) -> Tally:
        """Cutting and encoding."""
        return Tally(self.count, self.output_s)


@dataclass(slots=True)
class Responses:
    """What modules that may answer one request many times gave as the n-th response of a request.

    Attributes:
        compute_infer: from the response before it, or from when the request was begun, to this one.
        compute_output: handing it on.
        success, fail, cancel: how each ended.
        empty: those that only say that there are no more.
    """

    compute_infer: Tally = field(default_factory=Tally)
    compute_output: Tally = field(default_factory=Tally)
    success: Tally = field(default_factory=Tally)
    fail: Tally = field(default_factory=Tally)
    empty: Tally = field(default_factory=Tally)
    cancel: Tally = field(default_factory=Tally)


class ModuleStatistics:
    """The numbers of one served module.

    Attributes:
        requests: how many there were, in progress or ended.
        failures: how many of them failed.
        last_inference_ms: when a batch was answered last, in milliseconds since 1970; 0 for never.
        inference_count: items of successful requests.
        execution_count: calls of the module.
        success, fail: requests, from when they are admitted until they are answered; successes include answers of the response cache.
        queue: waiting of successful requests.
        computed: the computing of successful requests.
        cache_hit, cache_miss: looking into the response cache; of a miss, and putting the answer there.
        executions: number of items in a call -> these calls.
        responses: position of a response, from 0 -> those responses.
    """

    def __init__(self) -> None:
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
        self.responses: dict[int, Responses] = {}

    def response(self, position: int) -> Responses:
        """The responses at a position, from 0."""
        found = self.responses.get(position)
        if found is None:
            found = self.responses[position] = Responses()
        return found

    def add_cache_hit(self, lookup_s: float, took_s: float) -> None:
        """Count a request that the response cache answered.

        Args:
            lookup_s: of the lookup.
            took_s: all of it.
        """
        self.cache_hit.add(lookup_s)
        self.queue.add(0.0)
        self.success.add(took_s)

    async def streamed(self, responses: AsyncIterator[T]) -> AsyncIterator[T]:
        """Count the responses to one request on their way.

        Args:
            responses: as they come.
        """
        position, since = 0, time.monotonic()
        try:
            async for response in responses:
                now = time.monotonic()
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

    def answered(self, batch: Sequence[Any], header: dict[str, Any], begun_at: float, busy_s: float) -> None:
        """Count one answered batch.

        Args:
            batch: its :class:`hubserve.gateway.queued_request.QueuedRequest`.
            header: of its ``results`` frame.
            begun_at: when the instance began with it, on the clock of ``time.monotonic``.
            busy_s: from then until the answer was here.
        """
        good = [
            work
            for work, result in zip(batch, header["results"], strict=True)
            # what has failed, what the module wants to have again, and what nobody asked for does not count
            if "error" not in result and result.get("later") is not True and not work.filler
        ]
        if not good:
            return
        prepare_s, took_s = header.get("prepare_s", 0.0), header["took_s"]
        calls_s = header.get("calls_s", took_s)
        way_s = max(0.0, busy_s - prepare_s - took_s) / 2
        input_s, output_s = prepare_s + way_s, max(0.0, took_s - calls_s) + way_s
        self.last_inference_ms = int(time.time() * 1e3)
        for work in batch:
            if work.marks is not None:
                _mark(work, begun_at, begun_at + input_s, begun_at + busy_s - output_s, begun_at + busy_s)
        number = len(good)
        self.inference_count += sum(work.count for work in good)
        self.queue.add(sum(max(0.0, begun_at - work.queued_at) for work in good), number)
        if batch[0].key in (None, ONE_BY_ONE) and not header["times"]:
            share = number / len(batch)
            self.computed.add(input_s * share, calls_s * share, output_s * share, number)
            self._executed(1, input_s * share, calls_s * share, output_s * share, number)
            return
        self.computed.add(input_s * number, calls_s * number, output_s * number, number)
        times = header["times"] or [(sum(work.count for work in batch), calls_s)]
        for items, seconds in times:
            self._executed(items, input_s / len(times), seconds, output_s / len(times), 1)

    def _executed(self, items: int, input_s: float, infer_s: float, output_s: float, count: int) -> None:
        self.execution_count += count
        execution = self.executions.get(items)
        if execution is None:
            execution = self.executions[items] = Execution()
        execution.add(input_s, infer_s, output_s, count)

    def by_batch_size(self) -> Iterable[tuple[int, Execution]]:
        """Number of items in a call, ascending, and these calls."""
        return sorted(self.executions.items())


def _mark(work: Any, begun_at: float, input_end: float, output_start: float, answered_at: float) -> None:
    """Note when the last instance that was given a request did what with it."""
    seconds = {"queued": work.queued_at, "begun": begun_at, "computing": input_end, "computed": output_start, "answered": answered_at}
    work.marks.update((name, int(at * 1e9)) for name, at in seconds.items())

"""Answer the requests for one loaded module: response cache, queue, response ordering and statistics."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any

from hubserve.errors import InvalidInput
from hubserve.gateway.call_trace import CallTrace, traced_call
from hubserve.gateway.deadlock_detection import Callee, DeadlockDetector
from hubserve.gateway.instances.raw_requests import ResponseStream
from hubserve.gateway.module_plan import ModulePlan
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.gateway.request_checks import RequestChecker
from hubserve.gateway.request_tracking import RequestTracker
from hubserve.gateway.response_cache import ResponseCache, find_key
from hubserve.gateway.response_ordering import ResponseOrdering
from hubserve.gateway.scheduling.sequence_batcher import Queue
from hubserve.gateway.statistics import ModuleStatistics
from hubserve.kinds.description import Description
from hubserve.net.deadline_monitor import DeadlineMonitor
from hubserve.telemetry.request_record import CURRENT
from hubserve.types import InferRequest, InferResponse

_DEADLINES_EVERY_S = 0.05


class Responder:
    """The way of requests to one loaded module and of its responses back.

    Args:
        module: as calls of other modules see it.
        plan: of the module.
        described: the module's description.
        merges: whether several requests may be computed together.
        queue: leads to its instances.
        statistics: counts every request.
        deadlocks: checks requests that other modules make.
    """

    def __init__(
        self,
        module: Callee,
        plan: ModulePlan,
        described: Description,
        merges: bool,
        queue: Queue,
        statistics: ModuleStatistics,
        deadlocks: DeadlockDetector,
    ) -> None:
        self._module = module
        self._version = plan.info.version
        self._described = described
        self._checker = RequestChecker(plan, described, merges)
        self._levels = plan.batching.policies
        self._queue = queue
        self._statistics = statistics
        self._deadlocks = deadlocks
        self._loop = asyncio.get_running_loop()
        self._states = [state.output_name for state in plan.sequences.states] if plan.sequences else []
        self._declared = {spec.name for spec in described.outputs}
        self._unbatched = not (described.batched or described.raw_requests)
        self._cache = ResponseCache(plan.response_cache_bytes) if plan.response_cache_bytes else None
        self._ordering = ResponseOrdering() if plan.batching.preserve_ordering else None
        self._deadlines = DeadlineMonitor(_DEADLINES_EVERY_S)

    def infer(self, request: InferRequest) -> Awaitable[InferResponse]:
        """Answer one request.

        Raises:
            InvalidInput: the module is decoupled; see :meth:`stream`.
            HubError: see :meth:`hubserve.gateway.served_model.ServedModule.infer`.
        """
        if self._described.decoupled:
            raise InvalidInput(f"model '{self._module.name}' is decoupled: it may give any number of responses. Ask it by a stream")
        if self._cache is not None and request.sequence is None:
            return self._infer_cached(self._cache, request)
        return self._infer(request)

    async def _infer_cached(self, cache: ResponseCache, request: InferRequest) -> InferResponse:
        began = time.monotonic()
        key = await find_key(request)
        found = cache.get(key)
        lookup_s = time.monotonic() - began
        if found is None:
            answer = await self._infer(request)
            began = time.monotonic()
            cache.put(key, answer)
            self._statistics.cache_miss.add(lookup_s + time.monotonic() - began)
            return answer
        self._statistics.requests += 1
        if self._ordering is not None:
            await self._ordering.wait(asyncio.sleep(0))
        self._statistics.add_cache_hit(lookup_s, time.monotonic() - began)
        with traced_call(self._module.name, self._version) as traced:
            if traced is not None:
                traced.note("hubserve.cache_hit", True)
        return found

    async def _infer(self, request: InferRequest) -> InferResponse:
        if self._states and request.outputs is not None:
            request.outputs = [*request.outputs, *(name for name in self._states if name not in request.outputs)]
        work = self._checker.convert(request, asyncio.Future(loop=self._loop))
        with self._tracked(work, request):
            self._put(work)
            answer = await (work.answer if self._ordering is None else self._ordering.wait(work.answer))
        return self._unwrapped(self._without_states(answer))

    async def stream(self, request: InferRequest) -> AsyncIterator[InferResponse]:
        """Answer one request to a decoupled module by any number of responses.

        Raises:
            HubError: as :meth:`infer`; also after some responses.
        """
        stream = ResponseStream()
        work = self._checker.convert(request, asyncio.Future(loop=self._loop), stream)
        with self._tracked(work, request):
            self._put(work)
            try:
                async for response in self._statistics.streamed(stream.responses(work.answer)):
                    yield response
            finally:
                work.answer.cancel()

    def _tracked(self, work: QueuedRequest, request: InferRequest) -> RequestTracker:
        """Return a ``with`` block around queueing and answering a request."""
        work.part = request.sequence
        work.priority = self._levels.level_of(request.priority)
        if request.parameters:
            work.requested_wait_s = _requested_wait_s(request.parameters)
        work.due = work.deadline or 0.0
        work.marks = request.marks
        record = CURRENT.get()
        if record is not None:
            work.record = record
            if work.marks is None:
                work.marks = record.marks
            if record.trace is not None:
                work.trace = CallTrace(record.trace, self._module.name, self._version)
        return RequestTracker(self._module, self._statistics, work, self._deadlocks, self._deadlines)

    def _put(self, work: QueuedRequest) -> None:
        self._queue.put(work)
        if work.due:  # the queue may have set it
            self._deadlines.add(work)

    def _unwrapped(self, answer: InferResponse) -> InferResponse:
        """Return an answer without the batch dimension that was added to the request of an unbatched module."""
        if answer.tensors is None or not self._unbatched:
            return answer
        return answer._replace(tensors={name: array[0] for name, array in answer.tensors.items()})

    def _without_states(self, answer: InferResponse) -> InferResponse:
        """Return an answer without the states for a sequence's next request, except those that the module declares as outputs."""
        if not self._states or answer.tensors is None:
            return answer
        kept = {name: array for name, array in answer.tensors.items() if name in self._declared or name not in self._states}
        return answer._replace(tensors=kept)


def _requested_wait_s(parameters: dict[str, Any]) -> float:
    """Return the longest wait in the queue that a request asks for; 0 for none."""
    asked = parameters.get("timeout")
    return asked / 1e6 if isinstance(asked, int) and asked > 0 else 0.0

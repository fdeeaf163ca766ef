"""``ModelStreamInfer``: any number of requests and responses over one call."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any, cast

from hubserve.access.refusals import Unauthenticated
from hubserve.errors import Unavailable
from hubserve.net.admission import Pace
from hubserve.net.grpc.call import Call
from hubserve.net.grpc.framing import Message
from hubserve.net.grpc.status import Status
from hubserve.net.request_body import TooSlow
from hubserve.protocols.base import Context
from hubserve.protocols.open_inference.core.encode import FINAL
from hubserve.protocols.open_inference.core.service import OpenInference
from hubserve.protocols.open_inference.core.types import InferCall, InferResult
from hubserve.protocols.open_inference.grpc.call_errors import deadline_of, memory_check
from hubserve.protocols.open_inference.grpc.codec import EMPTY_FINAL
from hubserve.protocols.open_inference.grpc.large_messages import encode_large, read_message
from hubserve.protocols.open_inference.grpc.stream_responses import RequestResponses, ResponseQueue
from hubserve.telemetry.request_record import CURRENT


class Stream:
    """One ``ModelStreamInfer`` call.

    Requests are computed as they arrive, batched with those of other clients. Responses keep the order of their requests, except those of
    decoupled models, which are sent at once.

    Args:
        service: the protocol.
        context: state that the server's protocols share.
        call: the gRPC call.

    Attributes:
        due: time by which the client must have read more; see :class:`hubserve.net.deadline_monitor.DeadlineMonitor`.
    """

    def __init__(self, service: OpenInference, context: Context, call: Call) -> None:
        self.due = 0.0
        self._service = service
        self._context = context
        self._call = call
        self._tasks: set[asyncio.Task[None]] = set()
        self._queue = ResponseQueue(call, context)
        self._reading: asyncio.Task[Any] | None = None
        self._pace: Pace | None = None  # of the client, while the stream waits for it to read
        self._sent_bytes = 0  # when that wait began
        self._requests = 0
        self._error: Exception | None = None
        # clients may ask for the first error to end the stream, with that error's status
        self._ends_with_error = call.metadata.get("triton_grpc_error") == "true"

    def close(self) -> None:
        """Read no more requests; those read so far are answered."""
        self._stop_reading(Unavailable("the server is being stopped; open the stream again"))

    def _stop_reading(self, error: Exception) -> None:
        self._error = self._error or error
        if self._reading:
            self._reading.cancel()

    def _abort(self, error: Exception) -> None:
        self._stop_reading(error)
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()

    async def run(self) -> None:
        """Answer requests until the client has no more.

        Raises:
            Exception: the status with which the stream ends.
        """
        deadlines = self._context.admission.deadlines
        deadlines.add(self)
        self._reading = asyncio.create_task(self._read())
        try:
            await asyncio.wait({self._reading})
            if not self._error:
                self._reading.result()
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            deadlines.discard(self)
            left = [self._reading, *self._tasks]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            self._queue.close(self._error)
        if self._error:
            try:
                raise self._error
            finally:
                self._error = None  # its traceback refers to the requests and this stream

    async def _read(self) -> None:
        """Start a task for each request, until the client sends no more."""
        while True:
            await self._queue.wait_for_space()
            await self._flush()  # read nothing from a client that does not read its responses
            data = await self._call.read()
            if data is None:
                return
            self._requests += 1
            record = self._context.telemetry.begin_within(self._call.record, self._requests)
            record.received_bytes = len(data)
            CURRENT.set(record)  # the task gets a copy of this context
            task = asyncio.create_task(self._answer(data, self._queue.add(record)))
            self._tasks.add(task)
            task.add_done_callback(self._on_answered)

    def _on_answered(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._stop_reading(cast("Exception", error))

    async def _answer(self, data: Message, responses: RequestResponses) -> None:
        try:
            with self._context.admission.admit() as admission:
                admission.reserve(len(data))
                request = await read_message(data, self._service.large_requests, responses.set_id)
                request.deadline, request.reserve = deadline_of(self._call, self._context.settings), admission.reserve_more
                request.check_memory = memory_check(self._context, self._call)
                with self._permitted():
                    await self._infer(request, responses)
            responses.end(Status.OK.name)
        except asyncio.CancelledError:
            responses.cancel(self._error)
            raise
        except Exception as error:
            if self._ends_with_error or isinstance(error, Unauthenticated):
                self._abort(error)
            responses.add_error(error)
        finally:
            self._queue.advance()
        await self._flush()

    @contextlib.contextmanager
    def _permitted(self) -> Iterator[None]:
        """Count a request for the limits of its key, which may have been revoked since the stream was opened.

        Raises:
            HubError: the key does not permit it.
        """
        gate, stream, record = self._context.gate, self._call.record.access, CURRENT.get()
        if gate is None or stream is None or record is None:
            yield
        else:
            with gate.request(stream) as record.access:
                yield

    async def _infer(self, request: InferCall, responses: RequestResponses) -> None:
        inference, decoders = self._service.inference, self._context.decoders
        signature = await self._service.catalog.signature(request.model, request.version)
        module = signature.module
        if not module.description.decoupled:
            with module.admit():
                result = await inference.infer(request, signature)
                responses.add(result, await encode_large(result, decoders))
            return
        async with contextlib.aclosing(inference.stream(request)) as results:
            responses.send_directly()  # decoupled responses have no order among requests
            async for result in results:
                responses.add(result, await encode_large(result, decoders), is_only=False)
                await self._flush()
        if not responses.is_final and request.parameters.get(EMPTY_FINAL) is True:
            responses.add(InferResult(request.model, module.plan.info.version, request.id, [], {FINAL: True}), {})

    async def _flush(self) -> None:
        """Wait until the client has read what was sent; :meth:`on_timeout` bounds the wait."""
        if self._call.is_waiting:
            if not self.due:
                self._pace, self._sent_bytes = Pace(self._context.settings.client_timeout_s), self._call.sent_bytes
                self.due = self._pace.due
            await self._call.flushed()
            self.due = 0.0

    def on_timeout(self) -> None:
        """Abort the stream if the client has not read enough of its responses."""
        timeout_s = self._context.settings.client_timeout_s
        if not self._call.is_waiting or not self._pace:  # the task that waited for the client was cancelled
            self.due = 0.0
        elif self._pace.is_kept(self._call.sent_bytes - self._sent_bytes):
            self.due = self._pace.due
        else:
            self._abort(
                TooSlow(f"too little of an answer was taken in {timeout_s:g} s; read the stream faster or raise 'client_timeout_s'")
            )

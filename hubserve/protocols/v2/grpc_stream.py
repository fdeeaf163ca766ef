"""``ModelStreamInfer``: any number of requests and answers over one call."""

import asyncio
import contextlib
import time
from typing import Any, cast

import grpc
from tritonclient.grpc import service_pb2

from hubserve.errors import Unavailable
from hubserve.protocols.base import Context
from hubserve.protocols.bodies import TooSlow
from hubserve.protocols.v2.grpc_codec import EMPTY_FINAL, decode_call, fill_response, parse
from hubserve.protocols.v2.grpc_rpc import deadline_of, refusal
from hubserve.protocols.v2.inference import InferCall, InferResult
from hubserve.protocols.v2.results import FINAL

#: requests of one stream that are answered at once; more are not read
_MOST_REQUESTS = 64


class Stream:
    """One stream.

    Requests are computed as they come, together with those of others. Answers keep the order of their requests, but for those of decoupled
    models, which go out as they come.

    Args:
        context: what the protocols of the server share.
        rpc: gRPC's, of this call.

    Attributes:
        due: when what is written is to be taken; see :class:`hubserve.serving.sweeper.Sweeper`.
    """

    def __init__(self, context: Context, rpc: Any) -> None:
        self.due = 0.0
        self._context = context
        self._rpc = rpc
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(_MOST_REQUESTS)
        self._writing = asyncio.Lock()
        self._reading: asyncio.Task[Any] | None = None
        self._end: Exception | None = None
        # clients may ask for the first error to end the stream, with a status of its own
        self._ends_with_error = ("triton_grpc_error", "true") in tuple(rpc.invocation_metadata() or ())

    def close(self) -> None:
        """Read no more requests; what has been read is answered."""
        self._stop_reading(Unavailable("the server is being stopped; open the stream again"))

    def _stop_reading(self, error: Exception) -> None:
        self._end = self._end or error
        if self._reading:
            self._reading.cancel()

    def _break(self, error: Exception) -> None:
        self._stop_reading(error)
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()

    async def run(self) -> None:
        """Answer until the client has no more requests.

        Raises:
            Exception: the stream ends with this.
        """
        sweeper = self._context.admission.sweeper
        sweeper.add(self)
        self._reading = asyncio.create_task(self._read())
        try:
            await asyncio.wait({self._reading})
            if not self._end:
                self._reading.result()
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            sweeper.discard(self)
            left = [self._reading, *self._tasks]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
        if self._end:
            raise self._end

    async def _read(self) -> None:
        """Have each request answered, as they come, until there are no more."""
        before: asyncio.Task[None] | None = None
        while True:
            await self._room.acquire()
            data = await self._rpc.read()
            if data is grpc.aio.EOF:
                return
            before = asyncio.create_task(self._answer(data, before))
            self._tasks.add(before)
            before.add_done_callback(self._answered)

    def _answered(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._room.release()
        if not task.cancelled() and (error := task.exception()):
            self._stop_reading(cast("Exception", error))

    async def _answer(self, data: bytes, before: "asyncio.Task[None] | None") -> None:
        answer = _Answer(self, before)
        try:
            with self._context.admission.admit() as ticket:
                ticket.reserve(len(data))
                request = parse(service_pb2.ModelInferRequest, data)
                answer.id = request.id
                call = decode_call(request)
                call.deadline = deadline_of(self._rpc, self._context.settings)
                await self._infer(call, answer)
        except Exception as error:
            if self._ends_with_error:
                self._break(error)
            await answer.fail(error)

    async def _infer(self, call: InferCall, answer: "_Answer") -> None:
        inference = self._context.v2
        module = inference.find(call.model, call.version)
        with module.in_use():
            signature = await inference.signature(module)
            if not module.description.decoupled:
                await answer.give(await inference.infer(call, signature))
                return
        results = inference.stream(call)
        async with contextlib.aclosing(results):
            answer.is_decoupled = True
            async for result in results:
                await answer.give(result)
        if not answer.is_final and call.parameters.get(EMPTY_FINAL) is True:
            await answer.give(InferResult(call.model, module.plan.info.version, call.id, [], {FINAL: True}))

    async def write(self, response: Any) -> None:
        """Send one message.

        Args:
            response: a ``ModelStreamInferResponse``.
        """
        async with self._writing:
            self.due = time.monotonic() + self._context.settings.client_timeout_s
            try:
                await self._rpc.write(response.SerializeToString())
            finally:
                self.due = 0.0

    def on_due(self) -> None:
        """The client does not take what is written."""
        timeout_s = self._context.settings.client_timeout_s
        self._break(TooSlow(f"an answer was not taken for {timeout_s:g} s; read the stream faster or raise 'client_timeout_s'"))


class _Answer:
    """The answers to one request of a stream.

    Args:
        stream: it.
        before: answers the request before.

    Attributes:
        id: the request's.
        is_decoupled: whether they need not wait for their turn.
        is_final: whether the last one that was given said so of itself.
    """

    def __init__(self, stream: Stream, before: "asyncio.Task[None] | None") -> None:
        self.id = ""
        self.is_decoupled = False
        self.is_final = False
        self._stream = stream
        self._before = before

    async def give(self, result: InferResult) -> None:
        """Send a result."""
        self.is_final = bool(result.parameters.get(FINAL, not self.is_decoupled))
        response = service_pb2.ModelStreamInferResponse()
        fill_response(response.infer_response, result)
        await self._send(response)

    async def fail(self, error: Exception) -> None:
        """Send an error."""
        self.is_final = True
        response = service_pb2.ModelStreamInferResponse(error_message=refusal(error)[1])
        response.infer_response.id = self.id
        await self._send(response)

    async def _send(self, response: Any) -> None:
        response.infer_response.parameters[FINAL].bool_param = self.is_final
        if self._before and not self._before.done() and not self.is_decoupled:
            await asyncio.wait({self._before})
        self._before = None
        await self._stream.write(response)

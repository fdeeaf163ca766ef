"""``ModelStreamInfer``: any number of requests and answers over one call."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, cast

from tritonclient.grpc import service_pb2

from hubserve.errors import Unavailable
from hubserve.net.admission import Pace
from hubserve.net.grpc.call import Call
from hubserve.net.grpc.framing import Answer, Message
from hubserve.net.request_body import TooSlow
from hubserve.protocols.base import Context
from hubserve.protocols.open_inference.core.encode import FINAL
from hubserve.protocols.open_inference.core.inference import InferCall, InferResult
from hubserve.protocols.open_inference.grpc.call_errors import deadline_of, memory_check, refusal
from hubserve.protocols.open_inference.grpc.codec import EMPTY_FINAL, fill_response
from hubserve.protocols.open_inference.grpc.large_messages import encode_large, read_message
from hubserve.protocols.open_inference.grpc.raw_tensors import stream_response_parts

#: requests of one stream that are answered at once; more are not read
_MOST_REQUESTS = 64


class Stream:
    """One stream.

    Requests are computed as they come, together with those of others. Answers keep the order of their requests, but for those of decoupled
    models, which go out as they come.

    Args:
        context: what the protocols of the server share.
        rpc: the call.

    Attributes:
        due: when what is written is to be taken; see :class:`hubserve.net.deadline_monitor.Sweeper`.
    """

    def __init__(self, context: Context, rpc: Call) -> None:
        self.due = 0.0
        self._context = context
        self._rpc = rpc
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: deque[_Answer] = deque()  # to the requests that are not yet answered, in their order
        self._room: asyncio.Future[None] | None = None  # for another request; waited for
        self._reading: asyncio.Task[Any] | None = None
        self._pace: Pace | None = None  # of the client, while it is waited for
        self._sent_bytes = 0  # when that began
        self._end: Exception | None = None
        # clients may ask for the first error to end the stream, with a status of its own
        self._ends_with_error = rpc.metadata.get("triton_grpc_error") == "true"

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
            for answer in self._answers:
                answer.drop()
        if self._end:
            try:
                raise self._end
            finally:
                self._end = None  # its traceback holds the requests, and this stream

    async def _read(self) -> None:
        """Have each request answered, as they come, until there are no more."""
        while True:
            while len(self._answers) >= _MOST_REQUESTS:
                self._room = asyncio.get_running_loop().create_future()
                await self._room
            await self._flushed()  # a client that does not take its answers asks for no more
            data = await self._rpc.read()
            if data is None:
                return
            answer = _Answer(self)
            self._answers.append(answer)
            task = asyncio.create_task(self._answer(data, answer))
            self._tasks.add(task)
            task.add_done_callback(self._answered)

    def _answered(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._stop_reading(cast("Exception", error))

    async def _answer(self, data: Message, answer: "_Answer") -> None:
        try:
            with self._context.admission.admit() as ticket:
                ticket.reserve(len(data))
                call = await read_message(data, self._context, answer.name)
                call.deadline, call.reserve = deadline_of(self._rpc, self._context.settings), ticket.reserve_more
                call.check_memory = memory_check(self._context, self._rpc)
                await self._infer(call, answer)
        except Exception as error:
            if self._ends_with_error:
                self._break(error)
            answer.fail(error)
        finally:
            answer.is_done = True
            self._go_on()
        await self._flushed()

    def _go_on(self) -> None:
        """Send the answers whose turn it is."""
        while self._answers:
            first = self._answers[0]
            first.have_turn()
            if not first.is_done:
                break
            self._answers.popleft()
        if self._room and not self._room.done() and len(self._answers) < _MOST_REQUESTS:
            self._room.set_result(None)

    async def _infer(self, call: InferCall, answer: "_Answer") -> None:
        inference = self._context.v2
        signature = await inference.signature(call.model, call.version)
        module = signature.module
        if not module.description.decoupled:
            with module.admit():
                result = await inference.infer(call, signature)
                answer.give(result, await encode_large(result, self._context))
            return
        results = inference.stream(call)
        async with contextlib.aclosing(results):
            answer.have_turn()  # at once: nobody counts on an order among several answers each
            async for result in results:
                answer.give(result, await encode_large(result, self._context), is_only=False)
                await self._flushed()
        if not answer.is_final and call.parameters.get(EMPTY_FINAL) is True:
            answer.give(InferResult(call.model, module.plan.info.version, call.id, [], {FINAL: True}), {})

    def send(self, message: Answer, *, is_checked: bool = False) -> None:
        """Send one message, a ``ModelStreamInferResponse`` in parts, as :meth:`Call.send` does."""
        self._rpc.send(message, is_checked=is_checked)

    def hold(self, count: int) -> None:
        """Account for an answer that waits for its turn.

        Raises:
            Unavailable: it is large, and others hold all the memory that there is for answers.
        """
        self._context.admission.check_answer(count)
        self._context.admission.hold_answer(count)

    def release(self, count: int) -> None:
        """Give back bytes that were held."""
        self._context.admission.release(count)

    async def _flushed(self) -> None:
        """Wait until the client takes what has been sent, though not for ever."""
        if self._rpc.is_waiting:
            if not self.due:
                self._pace, self._sent_bytes = Pace(self._context.settings.client_timeout_s), self._rpc.sent_bytes
                self.due = self._pace.due
            await self._rpc.flushed()
            self.due = 0.0

    def on_due(self) -> None:
        """Break the stream if the client has not taken enough of what is sent."""
        timeout_s = self._context.settings.client_timeout_s
        if not self._rpc.is_waiting or not self._pace:  # a sender that waited for the client was cancelled
            self.due = 0.0
        elif self._pace.is_kept(self._rpc.sent_bytes - self._sent_bytes):
            self.due = self._pace.due
        else:
            self._break(
                TooSlow(f"too little of an answer was taken in {timeout_s:g} s; read the stream faster or raise 'client_timeout_s'")
            )


class _Answer:
    """The answers to one request of a stream.

    Args:
        stream: it.

    Attributes:
        id: the request's.
        is_done: whether there are no more.
        is_final: whether the last one that was given said so of itself.
    """

    __slots__ = ("_has_turn", "_kept", "_kept_bytes", "_stream", "id", "is_done", "is_final")

    def __init__(self, stream: Stream) -> None:
        self.id = ""
        self.is_done = False
        self.is_final = False
        self._stream = stream
        self._has_turn = False
        self._kept: list[Answer] = []
        self._kept_bytes = 0

    def have_turn(self) -> None:
        """Need not wait for others any more."""
        self._has_turn = True
        kept = self.drop()
        for message in kept:
            self._stream.send(message, is_checked=True)

    def drop(self) -> list[Answer]:
        """Stop keeping messages; returns those that were kept."""
        self._stream.release(self._kept_bytes)
        kept, self._kept, self._kept_bytes = self._kept, [], 0
        return kept

    def name(self, request_id: str) -> None:
        """Set the id of its request."""
        self.id = request_id

    def give(self, result: InferResult, encoded: Mapping[str, Any], *, is_only: bool = True) -> None:
        """Send a result, once its turn has come.

        Args:
            result: it.
            encoded: see :func:`hubserve.protocols.open_inference.grpc.codec.fill_response`.
            is_only: whether it is the last of its request unless it says otherwise.
        """
        self.is_final = bool(result.parameters.get(FINAL, is_only))
        response = service_pb2.ModelStreamInferResponse()
        self._send(response, fill_response(response.infer_response, result, encoded))

    def fail(self, error: Exception) -> None:
        """Send an error."""
        self.is_final = True
        response = service_pb2.ModelStreamInferResponse(error_message=refusal(error)[1])
        response.infer_response.id = self.id
        self._send(response, [])

    def _send(self, response: Any, raws: Sequence[Any]) -> None:
        response.infer_response.parameters[FINAL].bool_param = self.is_final
        message = stream_response_parts(response, raws)
        if self._has_turn:
            self._stream.send(message)
        else:
            size = sum(map(len, message))
            self._stream.hold(size)
            self._kept_bytes += size
            self._kept.append(message)

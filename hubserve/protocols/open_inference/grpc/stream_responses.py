"""Keep the responses of a stream in the order of its requests."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from tritonclient.grpc import service_pb2

from hubserve.net.admission import AdmissionControl
from hubserve.net.grpc.call import Call
from hubserve.net.grpc.framing import Answer
from hubserve.protocols.open_inference.core.encode import FINAL
from hubserve.protocols.open_inference.core.types import InferResult
from hubserve.protocols.open_inference.grpc.call_errors import refusal
from hubserve.protocols.open_inference.grpc.codec import fill_response
from hubserve.protocols.open_inference.grpc.raw_tensors import stream_response_parts

#: requests of one stream in progress; no more are read until one is answered
_MAX_REQUESTS = 64


class ResponseQueue:
    """Requests of one stream that are not answered completely, in their order.

    Args:
        call: the stream; responses are sent on it.
        admission: accounts for responses that wait for earlier ones.
    """

    def __init__(self, call: Call, admission: AdmissionControl) -> None:
        self._call = call
        self._admission = admission
        self._requests: deque[RequestResponses] = deque()
        self._space: asyncio.Future[None] | None = None

    def add(self) -> "RequestResponses":
        """Return the responses of a further request."""
        responses = RequestResponses(self._call, self._admission)
        self._requests.append(responses)
        return responses

    async def wait_for_space(self) -> None:
        """Wait until a further request may be read."""
        while len(self._requests) >= _MAX_REQUESTS:
            self._space = asyncio.get_running_loop().create_future()
            await self._space

    def advance(self) -> None:
        """Send the responses whose earlier requests are all answered."""
        while self._requests:
            first = self._requests[0]
            first.send_directly()
            if not first.is_done:
                break
            self._requests.popleft()
        if self._space and not self._space.done() and len(self._requests) < _MAX_REQUESTS:
            self._space.set_result(None)

    def close(self) -> None:
        """Drop the responses that were not sent."""
        for each in self._requests:
            each.drop()


class RequestResponses:
    """Responses to one request of a stream; they are kept until :meth:`send_directly` is called.

    Args:
        call: the stream.
        admission: accounts for responses that are kept.

    Attributes:
        id: the request's; "" until it is known.
        is_done: whether there will be no more responses.
        is_final: whether the last response was marked as final.
    """

    __slots__ = ("_admission", "_call", "_is_direct", "_kept", "_kept_bytes", "id", "is_done", "is_final")

    def __init__(self, call: Call, admission: AdmissionControl) -> None:
        self.id = ""
        self.is_done = False
        self.is_final = False
        self._call = call
        self._admission = admission
        self._is_direct = False
        self._kept: list[Answer] = []
        self._kept_bytes = 0

    def set_id(self, request_id: str) -> None:
        """Set the request's id."""
        self.id = request_id

    def send_directly(self) -> None:
        """Send the responses kept so far, and further ones at once."""
        self._is_direct = True
        for message in self.drop():
            self._call.send(message, is_checked=True)

    def drop(self) -> list[Answer]:
        """Return the responses kept so far, and keep them no longer."""
        self._admission.release(self._kept_bytes)
        kept, self._kept, self._kept_bytes = self._kept, [], 0
        return kept

    def add(self, result: InferResult, encoded: Mapping[str, Any], *, is_only: bool = True) -> None:
        """Add a result.

        Args:
            result: of the request.
            encoded: see :func:`hubserve.protocols.open_inference.grpc.codec.fill_response`.
            is_only: whether it is the last one unless its parameters say otherwise.
        Raises:
            Unavailable: it is large, must wait, and others hold all memory for responses.
        """
        self.is_final = bool(result.parameters.get(FINAL, is_only))
        response = service_pb2.ModelStreamInferResponse()
        self._add(response, fill_response(response.infer_response, result, encoded))

    def add_error(self, error: Exception) -> None:
        """Add an error, which is the last response."""
        self.is_final = True
        response = service_pb2.ModelStreamInferResponse(error_message=refusal(error)[1])
        response.infer_response.id = self.id
        self._add(response, [])

    def _add(self, response: Any, raws: Sequence[Any]) -> None:
        response.infer_response.parameters[FINAL].bool_param = self.is_final
        message = stream_response_parts(response, raws)
        if self._is_direct:
            self._call.send(message)
            return
        size = sum(map(len, message))
        self._admission.check_answer(size)
        self._admission.hold_answer(size)
        self._kept_bytes += size
        self._kept.append(message)

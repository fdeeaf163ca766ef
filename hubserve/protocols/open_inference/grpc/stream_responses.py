"""Keep the responses of a stream in the order of its requests."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from tritonclient.grpc import service_pb2

from hubserve.errors import HubError
from hubserve.net.admission import AdmissionControl
from hubserve.net.grpc.call import Call
from hubserve.net.grpc.framing import Answer
from hubserve.net.grpc.status import SERVER_ERRORS
from hubserve.protocols.base import Context
from hubserve.protocols.open_inference.core.encode import FINAL
from hubserve.protocols.open_inference.core.types import InferResult
from hubserve.protocols.open_inference.grpc.call_errors import refusal, status_of
from hubserve.protocols.open_inference.grpc.codec import fill_response
from hubserve.protocols.open_inference.grpc.raw_tensors import stream_response_parts
from hubserve.telemetry.request_record import RequestRecord
from hubserve.telemetry.telemetry import Telemetry

#: requests of one stream in progress; no more are read until one is answered
_MAX_REQUESTS = 64


class ResponseQueue:
    """Requests of one stream that are not answered completely, in their order.

    Args:
        call: the stream; responses are sent on it.
        context: its admission accounts for responses that wait for earlier ones, its telemetry receives the records of the requests.
    """

    def __init__(self, call: Call, context: Context) -> None:
        self._call = call
        self._admission = context.admission
        self._telemetry = context.telemetry
        self._requests: deque[RequestResponses] = deque()
        self._space: asyncio.Future[None] | None = None

    def add(self, record: RequestRecord) -> "RequestResponses":
        """Return the responses of a further request."""
        responses = RequestResponses(self._call, self._admission, self._telemetry, record)
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

    def close(self, error: Exception | None) -> None:
        """Drop the responses that were not sent.

        Args:
            error: with which the stream ends; None if it has none, or the client left.
        """
        for each in self._requests:
            each.cancel(error)


class RequestResponses:
    """Responses to one request of a stream; they are kept until :meth:`send_directly` is called.

    Args:
        call: the stream.
        admission: accounts for responses that are kept.
        telemetry: receives the record once the last response is sent.
        record: of the request.

    Attributes:
        id: the request's; "" until it is known.
        is_done: whether there will be no more responses.
        is_final: whether the last response was marked as final.
    """

    __slots__ = (
        "_admission",
        "_call",
        "_has_ended",
        "_is_direct",
        "_kept",
        "_kept_bytes",
        "_record",
        "_telemetry",
        "id",
        "is_done",
        "is_final",
    )

    def __init__(self, call: Call, admission: AdmissionControl, telemetry: Telemetry, record: RequestRecord) -> None:
        self.id = ""
        self.is_done = False
        self.is_final = False
        self._call = call
        self._admission = admission
        self._telemetry = telemetry
        self._record = record
        self._has_ended = False
        self._is_direct = False
        self._kept: list[Answer] = []
        self._kept_bytes = 0

    def set_id(self, request_id: str) -> None:
        """Set the request's id."""
        self.id = request_id

    def send_directly(self) -> None:
        """Send the responses kept so far, and further ones at once."""
        self._is_direct = True
        for message in self._take():
            self._record.sent_bytes += sum(map(len, message))
            self._call.send(message, is_checked=True)
        if self.is_done:
            self._end_record()

    def end(self, status: str) -> None:
        """End the request with the name of a status; there will be no more responses."""
        self.is_done = True
        self._record.status = status
        if self._is_direct:
            self._end_record()

    def cancel(self, error: Exception | None) -> None:
        """Drop the responses that were not sent, and end the request unless it has ended.

        Args:
            error: with which the stream ends; None if the client left.
        """
        self.is_done = True
        self._take()
        if self._has_ended:
            return
        self._record.status = 0
        if error is not None:
            self._note(error, status_of(error))
        self._end_record()

    def _note(self, error: Exception, status: str) -> None:
        self._record.status = status
        if isinstance(error, HubError):
            self._record.error, self._record.message = error.code, error.message

    def _end_record(self) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._telemetry.end(self._record)

    def _take(self) -> list[Answer]:
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
        """Add an error, which is the last response, and end the request."""
        self.is_final = self.is_done = True
        code, text = refusal(error)
        self._note(error, code.name)
        response = service_pb2.ModelStreamInferResponse(error_message=text)
        response.infer_response.id = self.id
        if code in SERVER_ERRORS:
            response.infer_response.parameters["request_id"].string_param = self._record.identify()
        self._add(response, [])
        if self._is_direct:
            self._end_record()

    def _add(self, response: Any, raws: Sequence[Any]) -> None:
        response.infer_response.parameters[FINAL].bool_param = self.is_final
        message = stream_response_parts(response, raws)
        if self._record.trace is not None:
            self._record.trace.note_response()
        size = sum(map(len, message))
        if self._is_direct:
            self._record.sent_bytes += size
            self._call.send(message)
            return
        self._admission.check_answer(size)
        self._admission.hold_answer(size)
        self._kept_bytes += size
        self._kept.append(message)

"""Responses and their senders."""

import json
import threading
from typing import Any, Callable, Dict, List, Optional, Sequence, Union

from hubserve.errors import HubError, ModuleFailed
from hubserve.kinds.raw_requests import Host, RawResponse
from hubserve.kinds.triton.api.datatypes import BF16
from hubserve.kinds.triton.api.errors import TritonError, TritonModelException
from hubserve.kinds.triton.api.parameters import parameters_of
from hubserve.kinds.triton.api.tensors import Tensor, find_tensor
from hubserve.types import BFLOAT16

TRITONSERVER_RESPONSE_COMPLETE_FINAL = 1


class InferenceResponse:
    """One response to a request.

    Args:
        output_tensors: the outputs; ignored if there is an error.
        error: the reason why there are no outputs; a TritonError, or an object with ``message()``.
        parameters: text, numbers and booleans by name, or the JSON text of that.
    Raises:
        TritonModelException: an argument is of another type.
    """

    def __init__(
        self,
        output_tensors: Sequence[Tensor] = (),
        error: Optional[TritonError] = None,
        parameters: Union[Dict[str, Any], str, None] = None,
    ) -> None:
        self._tensors = list(output_tensors)
        for tensor in self._tensors:
            if not isinstance(tensor, Tensor):
                raise TritonModelException(f"output_tensors must hold pb_utils.Tensor objects, got {type(tensor).__name__}")
        if error is not None and not isinstance(error, TritonError):
            error = TritonError(error)
        self._error = error
        self._parameters = parameters_of(parameters)

    def output_tensors(self) -> List[Tensor]:
        """Return the outputs."""
        return self._tensors

    def has_error(self) -> bool:
        """Return True if there is an error."""
        return self._error is not None

    def error(self) -> Optional[TritonError]:
        """Return the error, or None."""
        return self._error

    def parameters(self) -> str:
        """Return the parameters as a JSON text."""
        return json.dumps(self._parameters)

    def to_raw(self) -> RawResponse:
        """Convert to the form of the server."""
        if self._error is not None:
            return RawResponse({}, None, self._error.to_hub_error())
        dtypes = {tensor.name(): BFLOAT16 for tensor in self._tensors if tensor.triton_dtype() == BF16}
        outputs = {tensor.name(): tensor.as_numpy() for tensor in self._tensors}
        return RawResponse(outputs, self._parameters or None, None, dtypes or None)

    @classmethod
    def from_raw(cls, response: RawResponse) -> "InferenceResponse":
        """Convert from the response of another model."""
        error = TritonError.from_hub_error(response.error) if response.error else None
        dtypes = response.dtypes or {}
        tensors = [Tensor.from_request(name, array, dtypes.get(name, "")) for name, array in response.outputs.items()]
        return cls(tensors, error, response.parameters)


def get_output_tensor_by_name(inference_response: InferenceResponse, name: str) -> Optional[Tensor]:
    """Return an output of a response; None if the name is unknown."""
    return find_tensor(inference_response.output_tensors(), name)


class InferenceResponseSender:
    """Sender of the responses to one request, for any thread, also after ``execute`` has returned.

    Args:
        host: the server's services.
        key: the request's.
        check: checks each response before it is sent, and returns it for clients; raises HubError.
        decoupled: whether any number of responses may be sent, rather than exactly one.
    """

    def __init__(self, host: Host, key: int, check: Callable[[RawResponse], RawResponse], decoupled: bool) -> None:
        self._host = host
        self._key = key
        self._check = check
        self._decoupled = decoupled
        self._lock = threading.Lock()
        self._closed = False
        #: the number of responses sent
        self.sent = 0

    @property
    def closed(self) -> bool:
        """True once the final flag was sent."""
        return self._closed

    def send(self, response: Optional[InferenceResponse] = None, flags: int = 0) -> None:
        """Send a response; block while the client has not read earlier ones.

        Args:
            response: None with the final flag, to end the stream without a further response.
            flags: 0, or TRITONSERVER_RESPONSE_COMPLETE_FINAL with the last one.
        Raises:
            TritonModelException: it is not a response, the flags are unknown, or the final flag was sent before.
        """
        if flags not in (0, TRITONSERVER_RESPONSE_COMPLETE_FINAL):
            raise TritonModelException(f"flags must be 0 or TRITONSERVER_RESPONSE_COMPLETE_FINAL, got {flags!r}")
        final = bool(flags)
        if response is None and not final:
            raise TritonModelException("send() needs a response, or flags=TRITONSERVER_RESPONSE_COMPLETE_FINAL")
        if response is not None and not isinstance(response, InferenceResponse):
            raise TritonModelException(f"send() needs an InferenceResponse, got {type(response).__name__}")
        raw = None
        if response is not None:
            raw = response.to_raw()
            try:
                raw = self._check(raw)
            except HubError as error:
                raise TritonModelException(error.message) from error
        with self._lock:
            if self._closed:
                raise TritonModelException("this request's final response was sent already; nothing can follow it")
            if not self._decoupled and (self.sent or not final or raw is None):
                raise TritonModelException(
                    "a model that is not decoupled sends exactly one response to a request, with TRITONSERVER_RESPONSE_COMPLETE_FINAL; "
                    "set model_transaction_policy { decoupled: true } in config.pbtxt to send others"
                )
            self._closed = final
            self.sent += raw is not None
            try:
                self._host.respond(self._key, raw, final)
            except HubError as error:  # an output cannot be sent, and nothing was
                self._closed = False
                self.sent -= 1
                raise TritonModelException(error.message) from error

    def close(self) -> None:
        """Send the final flag, unless it was sent already."""
        if not self._closed:
            self.send(flags=TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def is_cancelled(self) -> bool:
        """Return True if the client no longer waits for responses."""
        return self._host.is_cancelled(self._key)

    def fail(self, error: HubError) -> None:
        """Answer the request with an error, unless it is answered already."""
        if not self._closed:
            self._closed = True
            self._host.abandon(self._key, error)

    def detach(self) -> None:
        """Send nothing more, because the request is answered in another way."""
        self._closed = True

    def __del__(self) -> None:
        if not self._closed:  # the final flag can never be sent
            lost = ModuleFailed("the model dropped the request's response sender without sending a response; send one to every request")
            self._host.abandon(self._key, None if self._decoupled else lost)

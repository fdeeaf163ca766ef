"""Requests that a model receives, and requests that it sends to other models."""

import json
from contextvars import ContextVar
from typing import Any, Awaitable, Callable, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

from hubserve.kinds.raw_requests import Call, Host, RawRequest, Replies
from hubserve.kinds.triton.api.errors import TritonModelException, WrongType
from hubserve.kinds.triton.api.memory import TRITONSERVER_MEMORY_CPU, PreferredMemory
from hubserve.kinds.triton.api.parameters import parameters_of
from hubserve.kinds.triton.api.replies import ResponseIterator, awaited, loop_runs_here, single_response
from hubserve.kinds.triton.api.responses import InferenceResponseSender
from hubserve.kinds.triton.api.tensors import Tensor, find_tensor
from hubserve.kinds.triton.api.texts import text_of, texts_of
from hubserve.kinds.triton.api.traces import InferenceTrace
from hubserve.types import SequencePart
from hubserve.wire.current_requests import current_trace

TRITONSERVER_REQUEST_FLAG_SEQUENCE_START = 1
TRITONSERVER_REQUEST_FLAG_SEQUENCE_END = 2
TRITONSERVER_REQUEST_RELEASE_ALL = 1
TRITONSERVER_REQUEST_RELEASE_RESCHEDULE = 2

#: parameters of the protocol, which models read by other methods
_RESERVED = (
    "sequence_id",
    "sequence_start",
    "sequence_end",
    "priority",
    "timeout",
    "binary_data_output",
    "triton_enable_empty_final_response",
)
#: the keys of the requests that are executed in this context; unknown in threads that a model has started
PARENTS: "ContextVar[Optional[Tuple[int, ...]]]" = ContextVar("hubserve_parents", default=None)


class Server(NamedTuple):
    """The server of a model, for its requests.

    Attributes:
        host: the server's services.
        open_keys: returns the keys of all unanswered requests.
        sender: returns the response sender of a request.
    """

    host: Host
    open_keys: Callable[[], List[int]]
    sender: Callable[[RawRequest], InferenceResponseSender]


_server: List[Server] = []


def attach(server: Optional[Server]) -> None:
    """Set the server of this process's requests; None to remove it."""
    _server[:] = [server] if server else []


def attached(action: str) -> Server:
    """Return the server of this process's requests.

    Args:
        action: the action that needs it, for the message.
    Raises:
        TritonModelException: the model is not served.
    """
    if not _server:
        raise TritonModelException(f"{action} is possible only while the model is served, in execute() and after")
    return _server[0]


class InferenceRequest:
    """A request for another model. Every text may also be bytes.

    Args:
        request_id: any text.
        correlation_id: a number or a text with which the request is part of a sequence; 0 or "" for none.
        inputs: the tensors.
        requested_output_names: empty for all outputs.
        model_name: the model's.
        model_version: -1 for the default.
        flags: TRITONSERVER_REQUEST_FLAG_SEQUENCE_START and _END.
        timeout: microseconds after which it is cancelled; 0 for none of its own.
        preferred_memory: see PreferredMemory.
        trace: see InferenceTrace.
        parameters: text, numbers and booleans by name, or the JSON text of that.
    Raises:
        TritonModelException: an argument is of another type, or model_name is missing.
    """

    def __init__(
        self,
        request_id: str = "",
        correlation_id: Union[int, str] = 0,
        inputs: Sequence[Tensor] = (),
        requested_output_names: Sequence[str] = (),
        model_name: str = "",
        model_version: int = -1,
        flags: int = 0,
        timeout: int = 0,
        preferred_memory: Optional[PreferredMemory] = None,
        trace: Optional[InferenceTrace] = None,
        parameters: Union[Dict[str, Any], str, None] = None,
    ) -> None:
        for tensor in inputs:
            if not isinstance(tensor, Tensor):
                raise TritonModelException(f"inputs must hold pb_utils.Tensor objects, got {type(tensor).__name__}")
        self._model_name = text_of(model_name)
        if not self._model_name:
            raise WrongType("InferenceRequest() needs model_name, the name of the model to call")
        self._model_version = int(model_version)
        self._inputs = list(inputs)
        self._outputs = texts_of(requested_output_names)
        if "" in self._outputs:
            raise TritonModelException(f"a name in requested_output_names of the request of model '{self._model_name}' is empty")
        self._id = text_of(request_id)
        is_text = isinstance(correlation_id, (str, bytes, bytearray))
        self._correlation_id: Union[int, str] = text_of(correlation_id) if is_text else int(correlation_id)
        self._flags = int(flags)
        self._timeout = int(timeout)
        self._priority = 0
        self._memory = preferred_memory or PreferredMemory(TRITONSERVER_MEMORY_CPU)
        self._trace = trace or InferenceTrace()
        self._parameters = parameters_of(parameters)
        self._raw: Optional[RawRequest] = None
        self._sender: Optional[InferenceResponseSender] = None
        self._release_flags = TRITONSERVER_REQUEST_RELEASE_ALL

    @classmethod
    def from_raw(
        cls, raw: RawRequest, model_name: str, model_version: int, dtypes: Dict[str, str], outputs: List[str]
    ) -> "InferenceRequest":
        """Return a client's request as the model receives it.

        Args:
            raw: the request.
            model_name: the receiving model's.
            model_version: the receiving model's.
            dtypes: of the model's inputs, as a TensorSpec has them.
            outputs: the names of all of the model's outputs.
        """
        request = cls(
            model_name=model_name,
            model_version=model_version,
            requested_output_names=outputs if raw.outputs is None else raw.outputs,
            inputs=[Tensor.from_request(name, array, dtypes.get(name, "")) for name, array in raw.inputs.items()],
            request_id=raw.id,
            timeout=raw.timeout_us,
        )
        if raw.parameters:
            request._parameters = {name: value for name, value in raw.parameters.items() if name not in _RESERVED}
        if raw.sequence is not None:
            request._correlation_id = raw.sequence.id
            request._flags = raw.sequence.start * TRITONSERVER_REQUEST_FLAG_SEQUENCE_START
            request._flags |= raw.sequence.end * TRITONSERVER_REQUEST_FLAG_SEQUENCE_END
        request._priority = raw.priority
        if raw.trace:
            request._trace = InferenceTrace(raw.trace)
        request._raw = raw
        return request

    def inputs(self) -> List[Tensor]:
        """Return the inputs."""
        return self._inputs

    def request_id(self) -> str:
        """Return the client's id; "" for none."""
        return self._id

    def correlation_id(self) -> Union[int, str]:
        """Return the id of its sequence; 0 for none."""
        return self._correlation_id

    def flags(self) -> int:
        """Return TRITONSERVER_REQUEST_FLAG_SEQUENCE_START and _END, combined by ``|``."""
        return self._flags

    def set_flags(self, flags: int) -> None:
        """Change :meth:`flags`."""
        self._flags = int(flags)

    def timeout(self) -> int:
        """Return the client's timeout in microseconds; 0 for none."""
        return self._timeout

    def priority(self) -> int:
        """Return the client's priority; 0 for the default."""
        return self._priority

    def parameters(self) -> str:
        """Return the client's parameters as a JSON text."""
        return json.dumps(self._parameters)

    def model_name(self) -> str:
        """Return the name of the called model."""
        return self._model_name

    def model_version(self) -> int:
        """Return the version of the called model; -1 for the default."""
        return self._model_version

    def requested_output_names(self) -> Set[str]:
        """Return the names of the requested outputs."""
        return set(self._outputs)

    def preferred_memory(self) -> PreferredMemory:
        """Return the preferred memory of the outputs."""
        return self._memory

    def trace(self) -> InferenceTrace:
        """Return an object to pass on."""
        return self._trace

    def is_cancelled(self) -> bool:
        """Return True if the client no longer waits for the answer."""
        return self._raw is not None and attached("is_cancelled()").host.is_cancelled(self._raw.key)

    def get_response_sender(self) -> InferenceResponseSender:
        """Return the sender of its responses, which also works after ``execute`` has returned.

        Raises:
            TritonModelException: it is not a client's request.
        """
        if self._raw is None:
            raise TritonModelException("get_response_sender() is for the requests that execute receives, not for those that it sends")
        if self._sender is None:
            self._sender = attached("get_response_sender()").sender(self._raw)
        return self._sender

    @property
    def sender(self) -> Optional[InferenceResponseSender]:
        """Response sender, if :meth:`get_response_sender` was called, else None."""
        return self._sender

    def set_release_flags(self, flags: int) -> None:
        """Choose what happens to a request when ``execute`` returns.

        Args:
            flags: TRITONSERVER_REQUEST_RELEASE_ALL, or TRITONSERVER_REQUEST_RELEASE_RESCHEDULE to receive it again.
        Raises:
            TritonModelException: the flags are neither.
        """
        if flags not in (TRITONSERVER_REQUEST_RELEASE_ALL, TRITONSERVER_REQUEST_RELEASE_RESCHEDULE):
            raise TritonModelException(f"release flags must be TRITONSERVER_REQUEST_RELEASE_ALL or ..._RESCHEDULE, got {flags!r}")
        self._release_flags = flags

    @property
    def is_rescheduled(self) -> bool:
        """True if the model will receive it again."""
        return self._release_flags == TRITONSERVER_REQUEST_RELEASE_RESCHEDULE

    # --- requests to other models ---

    def exec(self, decoupled: bool = False) -> Any:
        """Send the request, and wait for the answer.

        Args:
            decoupled: expect any number of responses.
        Returns:
            An InferenceResponse; an iterator of them with ``decoupled``.
        """
        replies = self._call(decoupled, waits=True)
        return ResponseIterator(replies) if decoupled else single_response(replies)

    def async_exec(self, decoupled: bool = False) -> Awaitable[Any]:
        """Send the request, and return an awaitable of the result of :meth:`exec`."""
        return awaited(self._call(decoupled, waits=False), decoupled)

    def _call(self, many: bool, waits: bool) -> Replies:
        if self._raw is not None:
            raise TritonModelException("exec() is for requests that the model sends: construct pb_utils.InferenceRequest(model_name=...)")
        server = attached("a request to another model")
        parents = PARENTS.get()
        flags = self._flags
        sequence = None
        if self._correlation_id:
            start, end = flags & TRITONSERVER_REQUEST_FLAG_SEQUENCE_START, flags & TRITONSERVER_REQUEST_FLAG_SEQUENCE_END
            sequence = SequencePart(self._correlation_id, bool(start), bool(end))
        return server.host.call(
            Call(
                module=self._model_name,
                version="" if self._model_version < 0 else str(self._model_version),
                inputs={tensor.name(): tensor.as_numpy() for tensor in self._inputs},
                outputs=self._outputs,
                id=self._id,
                parameters=self._parameters,
                sequence=sequence,
                timeout_us=self._timeout,
                many=many,
                parents=server.open_keys() if parents is None else parents,
                blocking=parents is not None,
                halting=waits and parents is not None and loop_runs_here(),
                trace=self._trace.traceparent or current_trace(),
            )
        )


def get_input_tensor_by_name(inference_request: InferenceRequest, name: str) -> Optional[Tensor]:
    """Return an input of a request; None if the name is unknown."""
    return find_tensor(inference_request.inputs(), name)

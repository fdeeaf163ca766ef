"""Requests: those that a model is given, and those that it makes of other models."""

import asyncio
import json
from contextvars import ContextVar
from typing import Any, Awaitable, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

from hubserve.errors import HubError
from hubserve.kinds.requests import Call, Host, Replies, WholeRequest, current_host
from hubserve.kinds.triton_api.errors import TritonError, TritonModelException
from hubserve.kinds.triton_api.responses import InferenceResponse, InferenceResponseSender, checked_parameters
from hubserve.kinds.triton_api.tensors import Tensor, find_tensor
from hubserve.types import SequencePart

TRITONSERVER_REQUEST_FLAG_SEQUENCE_START = 1
TRITONSERVER_REQUEST_FLAG_SEQUENCE_END = 2
TRITONSERVER_REQUEST_RELEASE_ALL = 1
TRITONSERVER_REQUEST_RELEASE_RESCHEDULE = 2
TRITONSERVER_MEMORY_CPU = 0
TRITONSERVER_MEMORY_CPU_PINNED = 1
TRITONSERVER_MEMORY_GPU = 2

#: what clients say beside their own parameters, and models read by other methods
_RESERVED = (
    "sequence_id",
    "sequence_start",
    "sequence_end",
    "priority",
    "timeout",
    "binary_data_output",
    "triton_enable_empty_final_response",
)
#: the keys of the requests that are being executed in this context; unknown in threads that a model has started
PARENTS: "ContextVar[Optional[Tuple[int, ...]]]" = ContextVar("hubserve_parents", default=None)


class PreferredMemory:
    """Where the outputs of another model are wanted; they always come in the CPU's memory.

    Args:
        preferred_memory_type: a constant TRITONSERVER_MEMORY_*.
        preferred_device_id: the device's number.
    """

    def __init__(self, preferred_memory_type: int, preferred_device_id: int = 0) -> None:
        self.preferred_memory_type = preferred_memory_type
        self.preferred_device_id = preferred_device_id


class InferenceTrace:
    """Taken for the sake of models that hand it on; nothing is traced through it."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass


class Server(NamedTuple):
    """What a model's requests need of its server.

    Attributes:
        host: the server.
        open_keys: gives the keys of all requests that are not answered.
        sender: makes what sends the responses to a request.
    """

    host: Host
    open_keys: Callable[[], List[int]]
    sender: Callable[[WholeRequest], InferenceResponseSender]


_server: List[Server] = []


def attach(server: Optional[Server]) -> None:
    """Say what requests go through from now on; None for nothing any more."""
    _server[:] = [server] if server else []


def attached(what: str) -> Server:
    """What requests go through.

    Args:
        what: is to be done, for the message.
    Raises:
        TritonModelException: there is nothing, because the model is not being served now.
    """
    if not _server:
        raise TritonModelException(f"{what} is possible only while the model is served, in execute() and after")
    return _server[0]


class InferenceRequest:
    """A request for another model; the names of its arguments must be given.

    Args:
        model_name: the model's.
        requested_output_names: the outputs that are wanted.
        inputs: the tensors.
        request_id: any text.
        correlation_id: a number or a text from which on the request is part of a sequence; 0 or "" for none.
        model_version: -1 for the default.
        flags: TRITONSERVER_REQUEST_FLAG_SEQUENCE_START and _END.
        timeout: microseconds after which it is given up; 0 for none of its own.
        preferred_memory: see there.
        trace: see InferenceTrace.
        parameters: text, numbers and booleans by name.
    Raises:
        TritonModelException: an argument is of another type.
    """

    def __init__(
        self,
        *,
        model_name: str,
        requested_output_names: Sequence[str] = (),
        inputs: Sequence[Tensor] = (),
        request_id: str = "",
        correlation_id: Union[int, str] = 0,
        model_version: int = -1,
        flags: int = 0,
        timeout: int = 0,
        preferred_memory: Optional[PreferredMemory] = None,
        trace: Optional[InferenceTrace] = None,
        parameters: Optional[Dict[str, Any]] = None,
    ) -> None:
        for tensor in inputs:
            if not isinstance(tensor, Tensor):
                raise TritonModelException(f"inputs must hold pb_utils.Tensor objects, got {type(tensor).__name__}")
        self._model_name = str(model_name)
        self._model_version = int(model_version)
        self._inputs = list(inputs)
        self._outputs = [str(name) for name in requested_output_names]
        self._id = str(request_id)
        self._correlation_id = correlation_id if isinstance(correlation_id, str) else int(correlation_id)
        self._flags = int(flags)
        self._timeout = int(timeout)
        self._priority = 0
        self._memory = preferred_memory or PreferredMemory(TRITONSERVER_MEMORY_CPU)
        self._trace = trace or InferenceTrace()
        self._parameters = checked_parameters(parameters)
        self._whole: Optional[WholeRequest] = None
        self._sender: Optional[InferenceResponseSender] = None
        self._release_flags = TRITONSERVER_REQUEST_RELEASE_ALL

    @classmethod
    def from_whole(
        cls, whole: WholeRequest, model_name: str, model_version: int, dtypes: Dict[str, str], outputs: List[str]
    ) -> "InferenceRequest":
        """A request of a client.

        Args:
            whole: it.
            model_name: of the model that is given it.
            model_version: as above.
            dtypes: of the model's inputs, as a TensorSpec has them.
            outputs: all of the model's.
        """
        request = cls(
            model_name=model_name,
            model_version=model_version,
            requested_output_names=outputs if whole.outputs is None else whole.outputs,
            inputs=[Tensor.from_request(name, array, dtypes.get(name, "")) for name, array in whole.inputs.items()],
            request_id=whole.id,
            timeout=whole.timeout_us,
        )
        if whole.parameters:
            request._parameters = {name: value for name, value in whole.parameters.items() if name not in _RESERVED}
        if whole.sequence is not None:
            request._correlation_id = whole.sequence.id
            request._flags = whole.sequence.start * TRITONSERVER_REQUEST_FLAG_SEQUENCE_START
            request._flags |= whole.sequence.end * TRITONSERVER_REQUEST_FLAG_SEQUENCE_END
        request._priority = whole.priority
        request._whole = whole
        return request

    def inputs(self) -> List[Tensor]:
        """The inputs."""
        return self._inputs

    def request_id(self) -> str:
        """The client's id; "" for none."""
        return self._id

    def correlation_id(self) -> Union[int, str]:
        """The id of its sequence; 0 for none."""
        return self._correlation_id

    def flags(self) -> int:
        """Whether it is the first or the last of its sequence."""
        return self._flags

    def set_flags(self, flags: int) -> None:
        """Change :meth:`flags`."""
        self._flags = int(flags)

    def timeout(self) -> int:
        """Microseconds, as the client gave them; 0 for none."""
        return self._timeout

    def priority(self) -> int:
        """The client's; 0 for the usual one."""
        return self._priority

    def parameters(self) -> str:
        """The client's parameters as a JSON text."""
        return json.dumps(self._parameters)

    def model_name(self) -> str:
        """The model that it is for."""
        return self._model_name

    def model_version(self) -> int:
        """That model's version; -1 for the default."""
        return self._model_version

    def requested_output_names(self) -> List[str]:
        """The outputs that are wanted."""
        return self._outputs

    def preferred_memory(self) -> PreferredMemory:
        """Where the outputs are wanted."""
        return self._memory

    def trace(self) -> InferenceTrace:
        """An object to hand on."""
        return self._trace

    def is_cancelled(self) -> bool:
        """Whether nobody waits for its answer any more."""
        return self._whole is not None and attached("is_cancelled()").host.is_cancelled(self._whole.key)

    def get_response_sender(self) -> InferenceResponseSender:
        """What sends its responses, also after ``execute`` has returned.

        Raises:
            TritonModelException: it is not a client's request.
        """
        if self._whole is None:
            raise TritonModelException("get_response_sender() is for the requests that execute is given, not for those that it makes")
        if self._sender is None:
            self._sender = attached("get_response_sender()").sender(self._whole)
        return self._sender

    @property
    def sender(self) -> Optional[InferenceResponseSender]:
        """What :meth:`get_response_sender` gave; None if nobody asked for it."""
        return self._sender

    def set_release_flags(self, flags: int) -> None:
        """Say what becomes of a request when ``execute`` returns.

        Args:
            flags: TRITONSERVER_REQUEST_RELEASE_ALL, or TRITONSERVER_REQUEST_RELEASE_RESCHEDULE to be given it again.
        Raises:
            TritonModelException: they are neither.
        """
        if flags not in (TRITONSERVER_REQUEST_RELEASE_ALL, TRITONSERVER_REQUEST_RELEASE_RESCHEDULE):
            raise TritonModelException(f"release flags must be TRITONSERVER_REQUEST_RELEASE_ALL or ..._RESCHEDULE, got {flags!r}")
        self._release_flags = flags

    @property
    def is_rescheduled(self) -> bool:
        """Whether it is to be given to the model again."""
        return self._release_flags == TRITONSERVER_REQUEST_RELEASE_RESCHEDULE

    # --- making requests ---

    def exec(self, decoupled: bool = False) -> Any:
        """Have the model answer, and wait.

        Args:
            decoupled: whether any number of responses is expected.
        Returns:
            An InferenceResponse; an iterator of them with ``decoupled``.
        """
        replies = self._call(decoupled)
        return ResponseIterator(replies) if decoupled else _only(replies)

    def async_exec(self, decoupled: bool = False) -> Awaitable[Any]:
        """As :meth:`exec`, but what it gives is to be awaited; the model is asked at once."""
        replies = self._call(decoupled)
        return _soon(ResponseIterator(replies)) if decoupled else _only_async(replies)

    def _call(self, many: bool) -> Replies:
        if self._whole is not None:
            raise TritonModelException("exec() is for requests that the model makes: construct pb_utils.InferenceRequest(model_name=...)")
        server = attached("a request of another model")
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
            )
        )


class ResponseIterator:
    """The responses of a decoupled model, as they come. It may also be used with ``async for``."""

    def __init__(self, replies: Replies) -> None:
        self._replies = replies

    def __iter__(self) -> Iterator[InferenceResponse]:
        return self

    def __next__(self) -> InferenceResponse:
        response = self._replies.take()
        if response is None:
            raise StopIteration
        return InferenceResponse.from_whole(response)

    def __aiter__(self) -> "ResponseIterator":
        return self

    async def __anext__(self) -> InferenceResponse:
        await _ready(self._replies)
        try:
            return self.__next__()
        except StopIteration:
            raise StopAsyncIteration from None

    def cancel(self) -> None:
        """No more are wanted."""
        self._replies.close()

    def __del__(self) -> None:
        self._replies.close()


def _only(replies: Replies) -> InferenceResponse:
    try:
        response = replies.take()
    finally:
        replies.close()
    if response is None:
        return InferenceResponse(error=TritonError("the model gave no response"))
    return InferenceResponse.from_whole(response)


async def _only_async(replies: Replies) -> InferenceResponse:
    try:
        await _ready(replies)
    except BaseException:
        replies.close()
        raise
    return _only(replies)


async def _soon(responses: ResponseIterator) -> ResponseIterator:
    return responses


async def _ready(replies: Replies) -> None:
    """Wait, without holding up the event loop, until a response can be taken."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    def wake() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(tell)

    replies.notify(wake)
    await ready


def get_input_tensor_by_name(inference_request: InferenceRequest, name: str) -> Optional[Tensor]:
    """An input of a request; None if it has none of that name."""
    return find_tensor(inference_request.inputs(), name)


# --- other models ---


def is_model_ready(model_name: str, model_version: str = "") -> bool:
    """Whether a model of the same server can answer."""
    return bool(_ask("is_ready", {"name": str(model_name), "version": str(model_version)}))


def load_model(model_name: str, config: str = "", files: Optional[Dict[str, bytes]] = None) -> None:
    """Load a model from the server's model repository.

    Args:
        model_name: the model's.
        config: a configuration as a JSON text, in place of the repository's; "" for that.
        files: "file:<path>" to content, in place of the model's folder.
    Raises:
        TritonModelException: it cannot be loaded.
    """
    named = files or {}
    _ask("load", {"name": str(model_name), "config": str(config or ""), "files": list(map(str, named))}, list(named.values()))


def unload_model(model_name: str, unload_dependents: bool = False) -> None:
    """Unload a model.

    Args:
        model_name: the model's.
        unload_dependents: also those that it consists of.
    Raises:
        TritonModelException: it cannot be unloaded.
    """
    _ask("unload", {"name": str(model_name), "unload_dependents": bool(unload_dependents)})


def _ask(what: str, arguments: Dict[str, Any], buffers: Sequence[bytes] = ()) -> Any:
    host = current_host()
    if host is None:
        raise TritonModelException("there is no server here that has other models")
    try:
        return host.ask(what, arguments, buffers)
    except HubError as error:
        raise TritonModelException(error.message) from error

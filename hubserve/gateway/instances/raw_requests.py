"""Raw requests, which a module is given one by one rather than merged: their checks, frames and response streams."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from hubserve.errors import InvalidInput
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.gateway.scheduling.batch_key import ONE_BY_ONE
from hubserve.kinds.description import Description, Interface
from hubserve.types import InferRequest, InferResponse
from hubserve.wire.frames import pack_arrays


class RequestChannel(Protocol):
    """The side channel of an instance, as raw requests need it; see :class:`hubserve.gateway.instances.side_channel.SideChannel`.

    Attributes:
        open: the requests at the instance, by their keys there.
        executing: the keys of those whose frames are not answered.
    """

    open: dict[int, QueuedRequest]
    executing: set[int]

    def begin(self, work: QueuedRequest) -> int:
        """Register a request that is about to be sent, and return its key."""

    def cancel(self, key: int) -> None:
        """Cancel a request that is no longer waited for."""

    def send(self, header: dict[str, Any], buffers: Sequence[Any] = ()) -> None:
        """Send a frame."""


class ResponseStream:
    """The responses to one request, in order; the instance's window bounds how many wait here.

    Attributes:
        started: whether there was a response: the request is not retried at another instance then.
        on_consumed: called for each response that is consumed.
    """

    def __init__(self) -> None:
        self.started = False
        self.on_consumed: Callable[[], None] = _ignore
        self._waiting: deque[InferResponse] = deque()
        self._changed = asyncio.Event()

    def put(self, response: InferResponse) -> None:
        """Add a response."""
        self.started = True
        self._waiting.append(response)
        self._changed.set()

    async def responses(self, end: "asyncio.Future[Any]") -> AsyncIterator[InferResponse]:
        """Yield each response as it comes.

        Args:
            end: done when no more responses come.
        Raises:
            HubError: the exception of ``end``, after the responses that came before it.
        """
        end.add_done_callback(lambda _: self._changed.set())
        while True:
            while self._waiting:
                response = self._waiting.popleft()
                self.on_consumed()
                yield response
            if end.done():
                end.result()
                return
            self._changed.clear()
            await self._changed.wait()


def _ignore() -> None:
    pass


@dataclass(slots=True, eq=False)
class RawRequest:
    """The state of a raw request beside its :class:`QueuedRequest`.

    Attributes:
        stream: for its responses; None if exactly one is expected.
        depth: how many modules have called one another up to this request.
        channel: of the instance that has it; None while no instance has it.
        key: its number at that instance.
        begun_at: when it was given to that instance, on the clock of ``time.monotonic``.
    """

    stream: ResponseStream | None = None
    depth: int = 0
    channel: RequestChannel | None = None
    key: int = 0
    begun_at: float = 0.0


class CheckedTensors(NamedTuple):
    """The result of checking a request's tensors.

    Attributes:
        items: the number of items that they hold.
        key: only requests with the same key are merged.
        inputs: their descriptions for a frame, with buffer indices from 0.
    """

    items: int
    key: Hashable | None
    inputs: list[dict[str, Any]]


def pack_raw_tensors(name: str, described: Description, merges: bool, tensors: dict[str, np.ndarray], buffers: list[Any]) -> CheckedTensors:
    """Check a raw request's tensors, and append their bytes to ``buffers``.

    Args:
        name: the served name, for messages.
        described: of the module.
        merges: whether the module may be given several requests together.
        tensors: of the request.
        buffers: to append to.
    Raises:
        InvalidInput: the module cannot take them.
    """
    items = check_tensors(name, described, tensors)
    inputs = pack_arrays(tensors, buffers)
    return CheckedTensors(items, _batch_key(described, inputs) if merges and described.batched else ONE_BY_ONE, inputs)


def queue_raw_request(
    request: InferRequest, checked: CheckedTensors, buffers: list[Any], answer: "asyncio.Future[InferResponse]", raw: RawRequest
) -> QueuedRequest:
    """Return a raw request in the batcher's form.

    Args:
        request: has tensors.
        checked: the result of their check.
        buffers: their bytes.
        answer: resolved with the response.
        raw: the request's further state.
    """
    items, key, inputs = checked
    about: dict[str, Any] = {"items": items}
    if request.id:
        about["id"] = request.id
    if request.parameters:
        about["parameters"] = request.parameters
        timeout = request.parameters.get("timeout")
        if isinstance(timeout, int):
            about["timeout_us"] = timeout
    if request.outputs is not None:
        about["outputs"] = request.outputs
    if request.sequence is not None:
        about["sequence"] = list(request.sequence)
    if request.priority:
        about["priority"] = request.priority
    call = {
        "interface": Interface.TENSORS,
        "inputs": inputs,
        "answer": Interface.JSON if request.wants_json else Interface.TENSORS,
        "request": about,
    }
    return QueuedRequest(call, buffers, items, key, answer, request.deadline, request.priority, raw=raw)


def check_tensors(name: str, described: Description, tensors: dict[str, np.ndarray]) -> int:
    """Check a request's inputs.

    Returns:
        The number of items that they hold; 1 if they have no batch dimension.
    Raises:
        InvalidInput: a name is missing or unknown, an array does not fit, the items differ in number, or are too many or none.
    """
    specs = {spec.name: spec for spec in described.inputs}
    unknown = [each for each in tensors if each not in specs]
    if unknown:
        raise InvalidInput(f"unexpected inference input '{unknown[0]}' for model '{name}'; it takes {list(specs)}")
    missing = [each for each in specs if each not in tensors and each not in described.optional]
    if missing:
        raise InvalidInput(f"expected {len(specs)} inputs but got {len(tensors)} inputs for model '{name}'; these are missing: {missing}")
    for each, array in tensors.items():
        specs[each].check(array)
    if not described.batched:
        return 1
    counts = {len(array) for array in tensors.values()}
    if len(counts) > 1:
        raise InvalidInput(f"all inputs must have the same number of items, got {' and '.join(map(str, sorted(counts)))}")
    count = next(iter(counts), 1)
    if not count:
        raise InvalidInput("the batch is empty: send at least one item")
    if count > described.max_batch_size:
        raise InvalidInput(f"inference request batch-size must be <= {described.max_batch_size} for '{name}', got {count}")
    return count


def _batch_key(described: Description, inputs: list[dict[str, Any]]) -> tuple[Any, ...]:
    """Return the key that is equal for requests that the module may be given together."""
    ragged = described.ragged
    return tuple((each["name"], each["dtype"], *([] if each["name"] in ragged else each["shape"][1:])) for each in inputs)


def encode_raw_batch(batch: list[QueuedRequest], channel: RequestChannel) -> tuple[dict[str, Any], list[Any]]:
    """Return the header and buffers of an ``infer`` frame of raw requests; equal input descriptions are sent once."""
    calls: list[dict[str, Any]] = []
    buffers: list[Any] = []
    numbers: dict[int, int] = {}
    inputs: list[list[dict[str, Any]]] = []
    for work in batch:
        call = work.call
        described = call["inputs"]
        number = numbers.get(id(described))
        if number is None:
            number = numbers[id(described)] = len(inputs)
            inputs.append(described)
        calls.append(
            {"inputs": number, "buffer": len(buffers), "answer": call["answer"], "key": channel.begin(work), "request": call["request"]}
        )
        buffers.extend(work.buffers)
    return {"op": "infer", "inputs": inputs, "calls": calls, "together": batch[0].key not in (None, ONE_BY_ONE)}, buffers

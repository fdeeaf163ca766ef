"""Requests for modules that are given them whole: what is checked, what is sent, and where many responses to one go."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hubserve.errors import InvalidInput
from hubserve.gateway.queued_request import Work
from hubserve.gateway.scheduling.batch_latency import ONE_BY_ONE
from hubserve.kinds.base import Description, Face
from hubserve.types import InferRequest, InferResponse
from hubserve.wire.frames import pack_arrays

if TYPE_CHECKING:
    from hubserve.gateway.instances.side_channel import Talk


class ResponseStream:
    """The responses to one request, in their order; how many may wait here is bounded by the instance's window.

    Attributes:
        started: whether there has been any: the request is not given to another instance then.
        on_taken: is called for each that is taken.
    """

    def __init__(self) -> None:
        self.started = False
        self.on_taken: Callable[[], None] = _nothing
        self._waiting: deque[InferResponse] = deque()
        self._changed = asyncio.Event()

    def put(self, response: InferResponse) -> None:
        """A response came."""
        self.started = True
        self._waiting.append(response)
        self._changed.set()

    async def responses(self, end: "asyncio.Future[Any]") -> AsyncIterator[InferResponse]:
        """Every response, as it comes.

        Args:
            end: is done when no more come.
        Raises:
            HubError: what ``end`` fails with, after the responses that came before.
        """
        end.add_done_callback(lambda _: self._changed.set())
        while True:
            while self._waiting:
                response = self._waiting.popleft()
                self.on_taken()
                yield response
            if end.done():
                end.result()
                return
            self._changed.clear()
            await self._changed.wait()


def _nothing() -> None:
    pass


@dataclass(slots=True, eq=False)
class Whole:
    """What is known of a request beside its work.

    Attributes:
        stream: where its responses go; None where exactly one is expected.
        depth: how many modules have called one another until this request was made.
        talk: the instance that has it.
        key: its number there.
        begun_at: when it was given to that instance, on the clock of ``time.monotonic``.
    """

    stream: ResponseStream | None = None
    depth: int = 0
    talk: "Talk | None" = None
    key: int = 0
    begun_at: float = 0.0


class Admitted(NamedTuple):
    """What was found out of the tensors of a request.

    Attributes:
        items: how many they hold.
        key: only requests with the same one are put together.
        inputs: as a frame describes them, the buffers' indices counted from 0.
    """

    items: int
    key: Hashable | None
    inputs: list[dict[str, Any]]


def admit_tensors(name: str, described: Description, merges: bool, tensors: dict[str, np.ndarray], buffers: list[Any]) -> Admitted:
    """Check a whole request's tensors.

    Args:
        name: the served name, for messages.
        described: what the module takes.
        merges: whether the module may be given several requests together.
        tensors: the request's.
        buffers: their bytes are appended to it.
    Raises:
        InvalidInput: the module cannot take them.
    """
    items = check_tensors(name, described, tensors)
    inputs = pack_arrays(tensors, buffers)
    return Admitted(items, form_of_whole(described, inputs) if merges and described.batched else ONE_BY_ONE, inputs)


def work_of_whole(
    request: InferRequest, admitted: Admitted, buffers: list[Any], answer: "asyncio.Future[InferResponse]", whole: Whole
) -> Work:
    """A whole request as work for the batcher.

    Args:
        request: with tensors.
        admitted: what was found out of them.
        buffers: their bytes.
        answer: its asker waits for this.
        whole: what else is known of it.
    """
    items, key, inputs = admitted
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
    call = {"face": Face.TENSORS, "inputs": inputs, "answer": Face.JSON if request.wants_json else Face.TENSORS, "request": about}
    return Work(call, buffers, items, key, answer, request.deadline, request.priority, whole=whole)


def check_tensors(name: str, described: Description, tensors: dict[str, np.ndarray]) -> int:
    """Check a request's inputs.

    Returns:
        How many items they hold; 1 where they have no batch dimension.
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


def form_of_whole(described: Description, inputs: list[dict[str, Any]]) -> tuple[Any, ...]:
    """What requests must have in common to be given to the module together."""
    ragged = described.ragged
    return tuple((each["name"], each["dtype"], *([] if each["name"] in ragged else each["shape"][1:])) for each in inputs)


def frame_of_whole(batch: list[Work], talk: "Talk") -> tuple[dict[str, Any], list[Any]]:
    """The header and buffers of an ``infer`` frame for a module that is given whole requests. What is alike is told once."""
    calls: list[dict[str, Any]] = []
    buffers: list[Any] = []
    alike: dict[int, int] = {}
    inputs: list[list[dict[str, Any]]] = []
    for work in batch:
        call = work.call
        described = call["inputs"]
        number = alike.get(id(described))
        if number is None:
            number = alike[id(described)] = len(inputs)
            inputs.append(described)
        calls.append(
            {"inputs": number, "buffer": len(buffers), "answer": call["answer"], "key": talk.begin(work), "request": call["request"]}
        )
        buffers.extend(work.buffers)
    return {"op": "infer", "inputs": inputs, "calls": calls, "together": batch[0].key not in (None, ONE_BY_ONE)}, buffers

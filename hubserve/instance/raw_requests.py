"""Computes the calls of one frame for a module that is given whole requests.

The frame's ``inputs`` describe arrays, their ``buffer`` counted from the first of their request. Each of its ``calls`` has the number of
its ``inputs`` in there and the ``buffer`` that is their first, its ``answer`` as :mod:`hubserve.instance.execute` says, its ``key``, and a
``request``: ``items`` and, where the client gave them, ``id``, ``parameters``, ``outputs``, ``sequence``, ``priority``, ``timeout_us``.
The frame's ``together`` says whether the module is given them in one call. A result may also have ``parameters``, or be
``{"later": again}`` (see :class:`hubserve.kinds.raw_requests.Later`).
"""

import time
from functools import partial
from typing import Any, Dict, List, NamedTuple, Optional

from hubserve.errors import HubError, OutOfMemory, from_wire
from hubserve.instance.execute import FrameResults, guarded
from hubserve.instance.json_results import ResultEncoder
from hubserve.instance.side_channel import SideChannel, writeable
from hubserve.kinds.base import Face, LoadedModule
from hubserve.kinds.raw_requests import Answer, Later, WholeRequest, WholeResponse
from hubserve.types import SequencePart
from hubserve.wire.frames import Frame, unpack_arrays


class PreparedWhole(NamedTuple):
    """A frame whose requests are ready to be given to the module.

    Attributes:
        computed: what is answered already, because it cannot be used.
        requests: the others.
        positions: their places in the frame.
        faces: of their answers.
        together: whether they are given to the module in one call.
    """

    computed: FrameResults
    requests: List[WholeRequest]
    positions: List[int]
    faces: List[str]
    together: bool


def prepare_whole(frame: Frame, encoder: Optional[ResultEncoder] = None) -> PreparedWhole:
    """Decode the calls of an ``infer`` frame. Never raises, whatever is sent.

    Args:
        frame: with the calls.
        encoder: writes JSON answers.
    """
    calls = frame.header["calls"]
    prepared = PreparedWhole(FrameResults(len(calls), encoder), [], [], [], bool(frame.header.get("together")))
    for position, call in enumerate(calls):
        try:
            prepared.requests.append(guarded(partial(_request, call, frame)))
        except HubError as error:
            prepared.computed.put_error(position, error)
        else:
            prepared.positions.append(position)
            prepared.faces.append(call["answer"])
    return prepared


def _request(call: Dict[str, Any], frame: Frame) -> WholeRequest:
    about = call["request"]
    first, described = call["buffer"], frame.header["inputs"][call["inputs"]]
    places, buffers = (each[first : first + len(described)] for each in (frame.header["buffers"], frame.buffers))
    inputs = unpack_arrays(described, buffers)
    for each in described:
        name, array = each["name"], inputs[each["name"]]
        # The gateway writes over its part of the arena once it has its answer, and a module may keep what it is given.
        in_arena = isinstance(places[each["buffer"]], list) and array.dtype != object
        inputs[name] = array.copy() if in_arena else writeable(array)
    if about.get("sequence"):
        about["sequence"] = SequencePart(*about["sequence"])
    return WholeRequest(inputs=inputs, key=call["key"], **about)


def compute_whole(module: LoadedModule, prepared: PreparedWhole, side: SideChannel) -> FrameResults:
    """Have the module answer. Never raises for what its code does."""
    computed, requests = prepared.computed, prepared.requests
    start = time.perf_counter()
    side.begin([request.key for request in requests])
    width = max(1, len(requests)) if prepared.together else 1
    for first in range(0, len(requests), width):
        some = requests[first : first + width]
        began = time.perf_counter()
        answers = _answers(module, some)
        took_s = time.perf_counter() - began
        items = sum(request.items for request in some)
        computed.times.append((items, took_s))
        computed.calls_s += took_s
        for position, face, answer in zip(prepared.positions[first:], prepared.faces[first:], answers):
            _put(computed, position, face, answer, items)
    done = []
    for request, position in zip(requests, prepared.positions):
        result = computed.results[position] or {}
        if result.get("later"):
            side.again(request.key)
        elif "error" in result and module.description.decoupled:
            # behind the responses that were sent before, which go the same way
            side.abandon(request.key, from_wire(result["error"]))
            computed.results[position] = {"later": False}
        elif "later" not in result:
            done.append(request.key)
    side.finish(done)
    computed.took_s = time.perf_counter() - start
    return computed


def _answers(module: LoadedModule, requests: List[WholeRequest]) -> List[Answer]:
    try:
        return guarded(partial(module.call_requests, requests))
    except HubError as error:
        return [WholeResponse({}, None, error) for _ in requests]


def _put(computed: FrameResults, position: int, face: str, answer: Answer, items: int) -> None:
    if isinstance(answer, Later):
        computed.results[position] = {"later": answer.again}
    elif answer.error:
        if isinstance(answer.error, OutOfMemory):
            computed.out_of_memory = min(computed.out_of_memory or items, items)
        computed.put_error(position, answer.error)
    else:
        try:
            guarded(partial(_put_answer, computed, position, face, answer))
        except HubError as error:
            computed.put_error(position, error)


def _put_answer(computed: FrameResults, position: int, face: str, answer: WholeResponse) -> None:
    if face == Face.JSON:
        computed.put_json(position, answer.outputs)
    else:
        computed.put_outputs(position, answer.outputs)
    if answer.parameters:
        computed.results[position] = {**(computed.results[position] or {}), "parameters": answer.parameters}

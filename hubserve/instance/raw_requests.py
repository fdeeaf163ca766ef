"""Compute the calls of a frame for a module that takes raw requests.

The frame's ``inputs`` lists descriptions of arrays, whose ``buffer`` is relative to the first buffer of their request. Each of its
``calls`` has the index of its ``inputs`` in that list, its first ``buffer``, its ``answer`` as in :mod:`hubserve.instance.frame_calls`, its
``key``, and a ``request``: ``items`` and, where the client gave them, ``id``, ``parameters``, ``outputs``, ``sequence``, ``priority``,
``timeout_us``.
The frame's ``together`` says whether the module is given them in one call. A result may also have ``parameters``, or be
``{"later": again}`` (see :class:`hubserve.kinds.raw_requests.Deferred`).
"""

import time
from functools import partial
from typing import Any, Dict, List, NamedTuple, Optional

from hubserve.errors import HubError, OutOfMemory, from_wire
from hubserve.instance.frame_results import FrameResults
from hubserve.instance.guard import guarded
from hubserve.instance.json_results import ResultEncoder
from hubserve.instance.replies import writeable
from hubserve.instance.side_channel import SideChannel
from hubserve.kinds.base import LoadedModule
from hubserve.kinds.description import Interface
from hubserve.kinds.raw_requests import Answer, Deferred, RawRequest, RawResponse
from hubserve.types import SequencePart
from hubserve.wire.frames import Frame, unpack_arrays


class PreparedRequests(NamedTuple):
    """A frame whose requests are ready for the module.

    Attributes:
        results: with the errors of the requests that cannot be computed.
        requests: the others.
        positions: their indices in the frame.
        interfaces: of their answers.
        together: whether the module is given them in one call.
    """

    results: FrameResults
    requests: List[RawRequest]
    positions: List[int]
    interfaces: List[str]
    together: bool


def prepare_requests(frame: Frame, encoder: Optional[ResultEncoder] = None) -> PreparedRequests:
    """Decode the requests of an ``infer`` frame; what cannot be decoded becomes the error of its request.

    Args:
        frame: the frame.
        encoder: writes JSON answers.
    """
    calls = frame.header["calls"]
    traces = [each["trace"] if each else "" for each in frame.header.get("requests", ())]
    prepared = PreparedRequests(FrameResults(len(calls), encoder), [], [], [], bool(frame.header.get("together")))
    for position, call in enumerate(calls):
        try:
            prepared.requests.append(guarded(partial(_request, call, frame, traces[position] if traces else "")))
        except HubError as error:
            prepared.results.put_error(position, error)
        else:
            prepared.positions.append(position)
            prepared.interfaces.append(call["answer"])
    return prepared


def _request(call: Dict[str, Any], frame: Frame, trace: str) -> RawRequest:
    fields = call["request"]
    first, described = call["buffer"], frame.header["inputs"][call["inputs"]]
    locations, buffers = (each[first : first + len(described)] for each in (frame.header["buffers"], frame.buffers))
    inputs = unpack_arrays(described, buffers)
    for each in described:
        name, array = each["name"], inputs[each["name"]]
        # The gateway overwrites its part of the arena once it has the answer, but a module may keep its inputs.
        in_arena = isinstance(locations[each["buffer"]], list) and array.dtype != object
        inputs[name] = array.copy() if in_arena else writeable(array)
    if fields.get("sequence"):
        fields["sequence"] = SequencePart(*fields["sequence"])
    return RawRequest(inputs=inputs, key=call["key"], trace=trace, **fields)


def compute_requests(module: LoadedModule, prepared: PreparedRequests, side: SideChannel) -> FrameResults:
    """Have the module answer its requests; whatever its code raises becomes the error of a request."""
    results, requests = prepared.results, prepared.requests
    start = time.perf_counter()
    side.begin([request.key for request in requests])
    width = max(1, len(requests)) if prepared.together else 1
    for first in range(0, len(requests), width):
        some = requests[first : first + width]
        began = time.perf_counter()
        answers = _answers(module, some)
        took_s = time.perf_counter() - began
        items = sum(request.items for request in some)
        results.times.append((items, took_s))
        results.calls_s += took_s
        for position, interface, answer in zip(prepared.positions[first:], prepared.interfaces[first:], answers):
            _put(results, position, interface, answer, items)
    _finish(module, prepared, side)
    results.took_s = time.perf_counter() - start
    return results


def _finish(module: LoadedModule, prepared: PreparedRequests, side: SideChannel) -> None:
    """Report to the side channel which requests are answered, which are computed again, and which errors end a stream of responses."""
    results, done = prepared.results.results, []
    for request, position in zip(prepared.requests, prepared.positions):
        result = results[position] or {}
        if result.get("later"):
            side.reschedule(request.key)
        elif "error" in result and module.description.decoupled:
            # sent the same way as the responses before it, so that it arrives after them
            side.abandon(request.key, from_wire(result["error"]))
            results[position] = {"later": False}
        elif "later" not in result:
            done.append(request.key)
    side.finish(done)


def _answers(module: LoadedModule, requests: List[RawRequest]) -> List[Answer]:
    try:
        return guarded(partial(module.call_requests, requests))
    except HubError as error:
        return [RawResponse({}, None, error) for _ in requests]


def _put(results: FrameResults, position: int, interface: str, answer: Answer, items: int) -> None:
    if isinstance(answer, Deferred):
        results.results[position] = {"later": answer.reschedule}
    elif answer.error:
        if isinstance(answer.error, OutOfMemory):
            results.note_out_of_memory(items)
        results.put_error(position, answer.error)
    else:
        try:
            guarded(partial(_put_answer, results, position, interface, answer))
        except HubError as error:
            results.put_error(position, error)


def _put_answer(results: FrameResults, position: int, interface: str, answer: RawResponse) -> None:
    if interface == Interface.JSON:
        results.put_json(position, answer.outputs)
    else:
        results.put_outputs(position, answer.outputs)
    if answer.parameters:
        results.results[position] = {**(results.results[position] or {}), "parameters": answer.parameters}

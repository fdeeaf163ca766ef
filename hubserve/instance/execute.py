"""Computes the calls of one frame: merges those that can be merged, and gives each its own answer.

Calls that all bring arrays come merged: ``merged`` has ``inputs``, which describes the arrays of all calls one behind the other, and
``calls``, a list of ``[number of items, answer]``. Otherwise the frame has ``calls``.

A call of an ``infer`` frame has a ``face``:

- ``json``: ``arguments`` is the index of a buffer with a JSON object;
- ``tensors``: ``inputs`` describes named arrays;
- ``picture``: ``pictures`` lists the indices of encoded pictures; ``arguments``, where there is one, is as above;

and ``answer``, ``json`` or ``tensors``. Its result is ``{"json": index}``, ``{"outputs": [...]}`` or ``{"error": {...}}``.
"""

import json
import time
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Tuple, TypeVar

import numpy as np

from hubserve.errors import HubError, InvalidInput, ModuleFailed, OutOfMemory, to_wire
from hubserve.instance.json_results import ResultEncoder
from hubserve.kinds.base import Face, LoadedModule
from hubserve.kinds.forks import leave_if_forked
from hubserve.kinds.module_failures import as_failure
from hubserve.types import check_inputs
from hubserve.wire.frames import Frame, pack_arrays, unpack_arrays

T = TypeVar("T")
_Key = Tuple[Any, ...]


class Batchable(NamedTuple):
    """A call whose arrays are known.

    Attributes:
        position: its place in the frame.
        inputs: its arrays.
        items: the length of their first dimension.
        answer: the face of its answer.
    """

    position: int
    inputs: Dict[str, np.ndarray]
    items: int
    answer: str


class FrameResults:
    """The results of one frame, filled in as they come.

    Args:
        size: how many there are.
        encoder: writes JSON answers.

    Attributes:
        results, buffers: as the ``results`` frame has them.
        times: number of items and seconds of each call of the batch method.
        prepare_s: seconds in which the frame was decoded.
        calls_s: seconds in which the module's methods computed.
        took_s: seconds of everything that the module did.
        once: what fails is not computed again: the module keeps something from one call to the next.
        out_of_memory: the number of items of the smallest call for which there was no memory; 0 for none.
    """

    def __init__(self, size: int, encoder: Optional[ResultEncoder] = None) -> None:
        self._encoder = encoder or ResultEncoder()
        self.results: List[Optional[Dict[str, Any]]] = [None] * size
        self.buffers: List[Any] = []
        self.times: List[Tuple[int, float]] = []
        self.prepare_s = 0.0
        self.calls_s = 0.0
        self.took_s = 0.0
        self.once = False
        self.out_of_memory = 0

    def to_header(self) -> Dict[str, Any]:
        """The ``results`` frame's header."""
        took = {"times": self.times, "took_s": self.took_s, "calls_s": self.calls_s, "prepare_s": self.prepare_s}
        header = {"op": "results", "results": self.results, **took}
        return {**header, "out_of_memory": self.out_of_memory} if self.out_of_memory else header

    def put_json(self, index: int, value: Any) -> None:
        """Keep a JSON answer.

        Raises:
            ModuleFailed: it cannot be JSON.
        """
        text = self._encoder.encode(value)
        self.results[index] = {"json": len(self.buffers)}
        self.buffers.append(text)

    def put_outputs(self, index: int, outputs: Dict[str, np.ndarray]) -> None:
        """Keep named arrays.

        Raises:
            ModuleFailed: they cannot be sent.
        """
        before = len(self.buffers)
        try:
            self.results[index] = {"outputs": pack_arrays(outputs, self.buffers)}
        except InvalidInput as error:
            del self.buffers[before:]
            raise ModuleFailed(f"the module's answer cannot be sent: {error.message}", error.detail) from error

    def put_error(self, index: int, error: HubError) -> None:
        """Keep a failure."""
        self.results[index] = {"error": to_wire(error)}


class Group(NamedTuple):
    """Calls that can be computed together.

    Attributes:
        calls: at least one.
        merged: the arrays of all calls one behind the other, where they came so.
    """

    calls: List[Batchable]
    merged: Optional[Dict[str, np.ndarray]] = None


class Prepared(NamedTuple):
    """A frame whose calls are ready to be computed.

    Attributes:
        computed: what is answered already, because it cannot be used.
        alone: the position of each call that is answered by itself, and what answers it.
        groups: calls that can be computed together.
        call_sizes: how the gateway wants the items of a group divided.
    """

    computed: FrameResults
    alone: List[Tuple[int, Callable[[], Any]]]
    groups: List[Group]
    call_sizes: List[int]


def prepare(module: LoadedModule, frame: Frame, encoder: Optional[ResultEncoder] = None) -> Prepared:
    """Decode the calls of an ``infer`` frame, pictures included. Never raises, whatever is sent and whatever a module's code does.

    Args:
        module: it will answer them.
        frame: with the calls.
        encoder: writes JSON answers.
    """
    if "merged" in frame.header:
        return _prepare_merged(module, frame, encoder)
    calls = frame.header["calls"]
    computed = FrameResults(len(calls), encoder)
    alone: List[Tuple[int, Callable[[], Any]]] = []
    groups: Dict[_Key, List[Batchable]] = {}
    for index, call in enumerate(calls):
        try:
            if call["face"] == Face.JSON:
                alone.append((index, partial(module.call_json, _arguments(call, frame.buffers))))
            elif call["face"] == Face.PICTURE and module.description.picture_item is None:
                pictures = Pictures([frame.buffers[each] for each in call["pictures"]])
                alone.append((index, partial(module.call_pictures, pictures, _arguments(call, frame.buffers))))
            else:
                batchable = guarded(partial(_prepare, module, index, call, frame.buffers))
                groups.setdefault(_key(batchable.inputs), []).append(batchable)
        except HubError as error:
            computed.put_error(index, error)
    return Prepared(computed, alone, [Group(group) for group in groups.values()], frame.header.get("call_sizes", []))


def _arguments(call: Dict[str, Any], buffers: List[memoryview]) -> Any:
    if "arguments" not in call:
        return {}
    try:
        return json.loads(bytes(buffers[call["arguments"]]))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the arguments cannot be read as JSON: {error}") from None
    except MemoryError as error:
        raise as_failure(error) from error


class Pictures:
    """Encoded pictures, each decoded when its turn comes: many large ones together would not fit into memory."""

    def __init__(self, encoded: List[memoryview]) -> None:
        self._encoded = encoded

    def __len__(self) -> int:
        return len(self._encoded)

    def __iter__(self) -> Iterator[np.ndarray]:
        from hubserve.vision.codecs import decode_picture

        for number, picture in enumerate(self._encoded, 1):
            try:
                image = decode_picture(picture)
            except InvalidInput as error:
                which = f"picture {number} of {len(self)}: " if len(self) > 1 else ""
                raise type(error)(which + error.message, error.detail) from error
            yield image


def _prepare_merged(module: LoadedModule, frame: Frame, encoder: Optional[ResultEncoder]) -> Prepared:
    calls = frame.header["merged"]["calls"]
    computed = FrameResults(len(calls), encoder)
    try:
        arrays = guarded(partial(unpack_arrays, frame.header["merged"]["inputs"], frame.buffers))
        check_inputs(module.description.items_first(), arrays)
    except HubError as error:
        for index in range(len(calls)):
            computed.put_error(index, error)
        return Prepared(computed, [], [], [])
    group, start = [], 0
    for index, (items, answer) in enumerate(calls):
        group.append(Batchable(index, _slice(arrays, start, start + items), items, answer))
        start += items
    return Prepared(computed, [], [Group(group, arrays)], frame.header.get("call_sizes", []))


def compute(module: LoadedModule, prepared: Prepared, max_batch_size: int) -> FrameResults:
    """Answer every call. Never raises for what a module's code does."""
    computed = prepared.computed
    start = time.perf_counter()
    for index, answer in prepared.alone:
        try:
            began = time.perf_counter()
            value = guarded(answer)
            computed.calls_s += time.perf_counter() - began
            computed.put_json(index, value)
        except HubError as error:
            computed.put_error(index, error)
    for group in prepared.groups:
        items = sum(call.items for call in group.calls)
        fits = sum(prepared.call_sizes) == items and max(prepared.call_sizes, default=0) <= max_batch_size
        _compute_group(module, group, prepared.call_sizes if fits else _equal_sizes(items, max_batch_size), computed)
    if len(prepared.groups) > 1:
        computed.times.clear()  # the gateway counts them for one form of item
    computed.took_s = time.perf_counter() - start
    return computed


def _equal_sizes(items: int, limit: int) -> List[int]:
    return [min(limit, items - start) for start in range(0, items, limit)]


def _prepare(module: LoadedModule, index: int, call: Dict[str, Any], buffers: List[memoryview]) -> Batchable:
    if call["face"] == Face.TENSORS:
        inputs = unpack_arrays(call["inputs"], buffers)
    else:
        pictures = [buffers[each] for each in call["pictures"]]
        items = [guarded(partial(module.preprocess, picture)) for picture in pictures]
        inputs = {module.description.inputs[0].name: np.stack(items)}
    return Batchable(index, inputs, check_inputs(module.description.items_first(), inputs), call["answer"])


def _key(inputs: Dict[str, np.ndarray]) -> _Key:
    return tuple((name, array.dtype.str, array.shape[1:]) for name, array in sorted(inputs.items()))


def _compute_group(module: LoadedModule, together: Group, sizes: List[int], computed: FrameResults) -> None:
    """Compute calls of one form together; if that fails, halve until the bad one is alone."""
    group = together.calls
    try:
        start = time.perf_counter()
        outputs = guarded(partial(_run, module, together, sizes, computed))
        elapse_s = time.perf_counter() - start
    except HubError as error:
        if isinstance(error, OutOfMemory):
            computed.out_of_memory = min(computed.out_of_memory or max(sizes), max(sizes))
        if computed.once:
            for call in group:
                computed.put_error(call.position, error)
            return
        if len(group) == 1:
            _compute_alone(module, group[0], max(sizes), error, computed)
            return
        middle = len(group) // 2
        for half in (group[:middle], group[middle:]):
            items = sum(call.items for call in half)
            _compute_group(module, Group(half), _equal_sizes(items, max(sizes)), computed)
        return
    start_item = 0
    for call in group:
        try:
            guarded(partial(_answer, module, call, outputs, start_item, elapse_s, computed))
        except HubError as error:
            computed.put_error(call.position, error)
        start_item += call.items


def _compute_alone(module: LoadedModule, call: Batchable, size: int, error: HubError, computed: FrameResults) -> None:
    """One request that failed: if memory ran out, its own items are computed in ever smaller calls; anything else is its answer."""
    if isinstance(error, OutOfMemory) and min(size, call.items) > 1:
        _compute_group(module, Group([call]), _equal_sizes(call.items, (min(size, call.items) + 1) // 2), computed)
    else:
        computed.put_error(call.position, error)


def _run(module: LoadedModule, group: Group, sizes: List[int], computed: FrameResults) -> Any:
    merged = group.merged or group.calls[0].inputs
    if group.merged is None and len(group.calls) > 1:
        merged = {name: np.concatenate([call.inputs[name] for call in group.calls]) for name in merged}
    parts = []
    start = 0
    for size in sizes:
        part = _slice(merged, start, start + size) if len(sizes) > 1 else merged
        began = time.perf_counter()
        outputs = call_items(module, part)
        computed.times.append((size, time.perf_counter() - began))
        computed.calls_s += computed.times[-1][1]
        _check_outputs(outputs, size)
        parts.append(outputs)
        start += size
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], dict):
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return np.concatenate(parts)


def call_items(module: LoadedModule, inputs: Dict[str, np.ndarray]) -> Any:
    """Call the module's batch method; one that is not ``batched`` is given its one item without the first dimension."""
    if module.description.batched:
        return guarded(partial(module.call_tensors, inputs))
    outputs = guarded(partial(module.call_tensors, {name: array[0] for name, array in inputs.items()}))
    if isinstance(outputs, dict):
        return {name: np.asarray(output)[None] for name, output in outputs.items()}
    return np.asarray(outputs)[None]


def _check_outputs(outputs: Any, count: int) -> None:
    arrays = outputs.values() if isinstance(outputs, dict) else [outputs]
    for array in arrays:
        if len(np.shape(array)) == 0 or np.shape(array)[0] != count:
            raise ModuleFailed(
                f"the module's batch method was given {count} items and returned {type(array).__name__} of shape {list(np.shape(array))}: "
                "its first dimension must be the number of items. Mend the module."
            )


def _slice(arrays: Any, start: int, stop: int) -> Any:
    if isinstance(arrays, dict):
        return {name: array[start:stop] for name, array in arrays.items()}
    return arrays[start:stop]


def _without_items(outputs: Any) -> Any:
    return {name: array[0] for name, array in outputs.items()} if isinstance(outputs, dict) else outputs[0]


def _answer(module: LoadedModule, call: Batchable, outputs: Any, start_item: int, elapse_s: float, computed: FrameResults) -> None:
    share = _slice(outputs, start_item, start_item + call.items)
    if call.answer == Face.JSON:
        whole = share if module.description.batched else _without_items(share)
        computed.put_json(call.position, module.postprocess(whole, elapse_s))
    else:
        named = share if isinstance(share, dict) else {module.description.outputs[0].name: share}
        computed.put_outputs(call.position, {name: np.asarray(array) for name, array in named.items()})


def guarded(call: Callable[[], T]) -> T:
    """Call a module's code; whatever it raises becomes a HubError, and the process lives on.

    Raises:
        HubError: the module's own, or a ModuleFailed with exactly the exception's text.
    """
    try:
        return call()
    except HubError:
        raise
    except BaseException as error:  # one bad request must not end the instance
        leave_if_forked(error)
        raise as_failure(error) from error

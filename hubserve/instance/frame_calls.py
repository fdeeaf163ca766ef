"""Decode the calls of an ``infer`` frame.

Calls that all bring arrays come merged: the frame's ``merged`` has ``inputs``, which describes the concatenated arrays of all calls, and
``calls``, a list of ``[number of items, answer]``. Otherwise the frame has ``calls``, each with an ``interface``:

- ``json``: ``arguments`` is the index of a buffer with a JSON object;
- ``tensors``: ``inputs`` describes named arrays;
- ``picture``: ``pictures`` lists the indices of encoded pictures; ``arguments`` is as above and may be absent;

and ``answer``, ``json`` or ``tensors``. Its result is ``{"json": index}``, ``{"outputs": [...]}`` or ``{"error": {...}}``.
"""

import json
from functools import partial
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np

from hubserve.errors import HubError, InvalidInput
from hubserve.instance.frame_results import FrameResults
from hubserve.instance.guard import guarded
from hubserve.instance.json_results import ResultEncoder
from hubserve.instance.uneven_pictures import UnevenCall, are_uneven
from hubserve.kinds.base import LoadedModule
from hubserve.kinds.description import Interface
from hubserve.kinds.module_failures import as_failure
from hubserve.types import check_inputs
from hubserve.wire.frames import Frame, unpack_arrays


class ArrayCall(NamedTuple):
    """A call of the batch method.

    Attributes:
        position: its index in the frame.
        inputs: its arrays.
        items: the length of their first dimension.
        answer: the interface of its answer.
    """

    position: int
    inputs: Dict[str, np.ndarray]
    items: int
    answer: str


class CallGroup(NamedTuple):
    """Calls whose arrays have the same names, dtypes and item shapes, so that they can be computed together.

    Attributes:
        calls: at least one.
        merged: the concatenated arrays of all calls, if they came merged.
    """

    calls: List[ArrayCall]
    merged: Optional[Dict[str, np.ndarray]] = None


class PreparedFrame(NamedTuple):
    """A frame whose calls are ready to compute.

    Attributes:
        results: with the errors of the calls that cannot be computed.
        single_calls: the position of each call that is computed by itself, and a function that computes it.
        json_calls: the position of each JSON call that is computed together with others, and its value.
        groups: the other calls.
        call_sizes: how the gateway wants the items of a group divided.
        uneven_calls: calls of pictures of several sizes.
    """

    results: FrameResults
    single_calls: List[Tuple[int, Callable[[], Any]]]
    groups: List[CallGroup]
    call_sizes: List[int]
    json_calls: Sequence[Tuple[int, Any]] = ()
    uneven_calls: Sequence[UnevenCall] = ()


def prepare(module: LoadedModule, frame: Frame, encoder: Optional[ResultEncoder] = None) -> PreparedFrame:
    """Decode the calls of an ``infer`` frame, pictures included; what cannot be decoded becomes the error of its call.

    Args:
        module: the module that answers them.
        frame: the frame.
        encoder: writes JSON answers.
    """
    if "merged" in frame.header:
        return _prepare_merged(module, frame, encoder)
    calls = frame.header["calls"]
    results = FrameResults(len(calls), encoder)
    single_calls: List[Tuple[int, Callable[[], Any]]] = []
    json_calls: List[Tuple[int, Any]] = []
    uneven_calls: List[UnevenCall] = []
    groups: Dict[Tuple[Any, ...], List[ArrayCall]] = {}
    for position, call in enumerate(calls):
        try:
            if call["interface"] == Interface.JSON and module.description.merges_json:
                json_calls.append((position, _arguments(call, frame.buffers)))
            elif call["interface"] == Interface.JSON:
                single_calls.append((position, partial(module.call_json, _arguments(call, frame.buffers))))
            elif call["interface"] == Interface.PICTURE and module.description.picture_item is None:
                pictures = Pictures([frame.buffers[each] for each in call["pictures"]])
                single_calls.append((position, partial(module.call_pictures, pictures, _arguments(call, frame.buffers))))
            else:
                array_call = guarded(partial(_array_call, module, position, call, frame.buffers))
                if isinstance(array_call, UnevenCall):
                    uneven_calls.append(array_call)
                else:
                    groups.setdefault(_group_key(array_call.inputs), []).append(array_call)
        except HubError as error:
            results.put_error(position, error)
    call_sizes = frame.header.get("call_sizes", [])
    return PreparedFrame(results, single_calls, [CallGroup(group) for group in groups.values()], call_sizes, json_calls, uneven_calls)


def _prepare_merged(module: LoadedModule, frame: Frame, encoder: Optional[ResultEncoder]) -> PreparedFrame:
    calls = frame.header["merged"]["calls"]
    results = FrameResults(len(calls), encoder)
    try:
        arrays = guarded(partial(unpack_arrays, frame.header["merged"]["inputs"], frame.buffers))
        check_inputs(module.description.items_first(), arrays)
    except HubError as error:
        for position in range(len(calls)):
            results.put_error(position, error)
        return PreparedFrame(results, [], [], [])
    group, start = [], 0
    for position, (items, answer) in enumerate(calls):
        group.append(ArrayCall(position, slice_items(arrays, start, start + items), items, answer))
        start += items
    return PreparedFrame(results, [], [CallGroup(group, arrays)], frame.header.get("call_sizes", []))


def _arguments(call: Dict[str, Any], buffers: List[memoryview]) -> Any:
    if "arguments" not in call:
        return {}
    try:
        return json.loads(bytes(buffers[call["arguments"]]))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the arguments cannot be read as JSON: {error}") from None
    except MemoryError as error:
        raise as_failure(error) from error


def _array_call(module: LoadedModule, position: int, call: Dict[str, Any], buffers: List[memoryview]) -> Union[ArrayCall, UnevenCall]:
    if call["interface"] == Interface.TENSORS:
        inputs = unpack_arrays(call["inputs"], buffers)
    else:
        pictures = [buffers[each] for each in call["pictures"]]
        items = [guarded(partial(module.preprocess, picture)) for picture in pictures]
        if are_uneven(items):
            return UnevenCall(position, items, call["answer"])
        inputs = {module.description.inputs[0].name: np.stack(items)}
    return ArrayCall(position, inputs, check_inputs(module.description.items_first(), inputs), call["answer"])


def _group_key(inputs: Dict[str, np.ndarray]) -> Tuple[Any, ...]:
    return tuple((name, array.dtype.str, array.shape[1:]) for name, array in sorted(inputs.items()))


class Pictures:
    """Encoded pictures, each decoded when the iteration reaches it: many large ones together would not fit into memory."""

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


def slice_items(arrays: Any, start: int, stop: int) -> Any:
    """Slice the first dimension of an array, or of each of several named arrays."""
    if isinstance(arrays, dict):
        return {name: array[start:stop] for name, array in arrays.items()}
    return arrays[start:stop]

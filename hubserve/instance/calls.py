"""Computes the calls of one frame: merges those that can be merged, and gives each its own answer.

A call of an ``infer`` frame has a ``face``:

- ``json``: ``arguments`` is the index of a buffer with a JSON object;
- ``tensors``: ``inputs`` describes named arrays;
- ``picture``: ``pictures`` lists the indices of encoded pictures;

and ``answer``, ``json`` or ``tensors``. Its result is ``{"json": index}``, ``{"outputs": [...]}`` or ``{"error": {...}}``.
"""

import json
import time
import traceback
from functools import partial
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple, TypeVar

import numpy as np

from hubserve.errors import HubError, ModuleFailed, to_wire
from hubserve.instance.wire import Frame, pack_arrays, unpack_arrays
from hubserve.kinds.base import Face, LoadedModule
from hubserve.types import check_inputs

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


class Computed:
    """The results of one frame, filled in as they come."""

    def __init__(self, size: int) -> None:
        self.results: List[Optional[Dict[str, Any]]] = [None] * size
        self.buffers: List[Any] = []

    def put_json(self, index: int, value: Any) -> None:
        """Keep a JSON answer."""
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=plain).encode("utf-8", "surrogatepass")
        self.results[index] = {"json": len(self.buffers)}
        self.buffers.append(text)

    def put_outputs(self, index: int, outputs: Dict[str, np.ndarray]) -> None:
        """Keep named arrays."""
        self.results[index] = {"outputs": pack_arrays(outputs, self.buffers)}

    def put_error(self, index: int, error: HubError) -> None:
        """Keep a failure."""
        self.results[index] = {"error": to_wire(error)}


def compute(module: LoadedModule, frame: Frame, max_batch_size: int) -> Computed:
    """Answer every call of an ``infer`` frame. Never raises for what a module's code does."""
    calls = frame.header["calls"]
    computed = Computed(len(calls))
    groups: Dict[_Key, List[Batchable]] = {}
    for index, call in enumerate(calls):
        try:
            if call["face"] == Face.JSON:
                arguments = json.loads(bytes(frame.buffers[call["arguments"]]))
                computed.put_json(index, guarded(partial(module.call_json, arguments)))
            else:
                batchable = _prepare(module, index, call, frame.buffers)
                groups.setdefault(_key(batchable.inputs), []).append(batchable)
        except HubError as error:
            computed.put_error(index, error)
        except (TypeError, ValueError) as error:  # the answer is no JSON
            computed.put_error(index, ModuleFailed(f"the module's answer cannot be written as JSON: {error}", traceback.format_exc()))
    for group in groups.values():
        _compute_group(module, group, max_batch_size, computed)
    return computed


def _prepare(module: LoadedModule, index: int, call: Dict[str, Any], buffers: List[memoryview]) -> Batchable:
    if call["face"] == Face.TENSORS:
        inputs = unpack_arrays(call["inputs"], buffers)
    else:
        pictures = [buffers[each] for each in call["pictures"]]
        items = [guarded(partial(module.preprocess, picture)) for picture in pictures]
        inputs = {module.description.inputs[0].name: np.stack(items)}
    return Batchable(index, inputs, check_inputs(module.description.inputs, inputs), call["answer"])


def _key(inputs: Dict[str, np.ndarray]) -> _Key:
    return tuple((name, array.dtype.str, array.shape[1:]) for name, array in sorted(inputs.items()))


def _compute_group(module: LoadedModule, group: List[Batchable], max_batch_size: int, computed: Computed) -> None:
    """Compute calls of one key together; if that fails, halve until the bad one is alone."""
    try:
        start = time.perf_counter()
        outputs = _run(module, group, max_batch_size)
        elapse_s = time.perf_counter() - start
    except HubError as error:
        if len(group) == 1:
            computed.put_error(group[0].position, error)
            return
        middle = len(group) // 2
        _compute_group(module, group[:middle], max_batch_size, computed)
        _compute_group(module, group[middle:], max_batch_size, computed)
        return
    start_item = 0
    for call in group:
        share = _slice(outputs, start_item, start_item + call.items)
        start_item += call.items
        _answer(module, call, share, elapse_s, computed)


def _run(module: LoadedModule, group: List[Batchable], max_batch_size: int) -> Any:
    total = sum(call.items for call in group)
    merged = group[0].inputs
    if len(group) > 1:
        merged = {name: np.concatenate([call.inputs[name] for call in group]) for name in merged}
    parts = []
    for start in range(0, total, max_batch_size):
        part = _slice(merged, start, start + max_batch_size)
        outputs = guarded(partial(module.call_tensors, part))
        _check_outputs(outputs, min(max_batch_size, total - start))
        parts.append(outputs)
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], dict):
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return np.concatenate(parts)


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


def _answer(module: LoadedModule, call: Batchable, outputs: Any, elapse_s: float, computed: Computed) -> None:
    try:
        if call.answer == Face.JSON:
            computed.put_json(call.position, guarded(partial(module.postprocess, outputs, elapse_s)))
        else:
            named = outputs if isinstance(outputs, dict) else {module.description.outputs[0].name: outputs}
            computed.put_outputs(call.position, {name: np.asarray(array) for name, array in named.items()})
    except HubError as error:
        computed.put_error(call.position, error)
    except (TypeError, ValueError) as error:
        computed.put_error(call.position, ModuleFailed(f"the module's answer cannot be written as JSON: {error}", traceback.format_exc()))


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
        raise as_failure(error) from error


def as_failure(error: BaseException) -> ModuleFailed:
    """What a module raised, as an error with exactly the exception's text."""
    detail = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    if isinstance(error, SystemExit):
        return ModuleFailed(f"the module called sys.exit({error.code!r}) while it answered", detail)
    return ModuleFailed(str(error) or type(error).__name__, detail)


def plain(value: Any) -> Any:
    """What ``json.dumps`` is to write for numpy's types, sets and bytes."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, bytes):
        return value.decode("utf-8")
    raise TypeError(f"{type(value).__name__} is not a JSON type. Return numbers, texts, lists and dicts")

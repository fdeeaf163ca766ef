"""Compute the calls of a frame: merge those that can be merged, and give each its own answer."""

import time
from functools import partial
from typing import Any, Dict, List

import numpy as np

from hubserve.errors import HubError, ModuleFailed, OutOfMemory
from hubserve.instance.frame_calls import ArrayCall, CallGroup, PreparedFrame, slice_items
from hubserve.instance.frame_results import FrameResults
from hubserve.instance.guard import guarded
from hubserve.instance.json_batches import compute_jsons
from hubserve.instance.uneven_pictures import UnevenCall, compute_by_shape
from hubserve.kinds.base import LoadedModule
from hubserve.kinds.description import Interface
from hubserve.wire.current_requests import compute_frame


def compute(module: LoadedModule, prepared: PreparedFrame, max_batch_size: int) -> FrameResults:
    """Answer every call; whatever the module's code raises becomes the error of its call."""
    results = prepared.results
    start = time.perf_counter()
    for position, call in prepared.single_calls:
        if len(results.results) > 1:
            compute_frame(results.frame._replace(call=position))
        try:
            began = time.perf_counter()
            value = guarded(call)
            results.calls_s += time.perf_counter() - began
            results.put_json(position, value)
        except HubError as error:
            results.put_error(position, error)
    if 0 < len(prepared.single_calls) < len(results.results):
        compute_frame(results.frame)
    if prepared.json_calls:
        compute_jsons(module, prepared.json_calls, prepared.call_sizes, max_batch_size, results)
    for each in prepared.uneven_calls:
        _compute_uneven(module, each, max_batch_size, results)
    for group in prepared.groups:
        items = sum(call.items for call in group.calls)
        fits = sum(prepared.call_sizes) == items and max(prepared.call_sizes, default=0) <= max_batch_size
        _compute_group(module, group, prepared.call_sizes if fits else _equal_sizes(items, max_batch_size), results)
    if len(prepared.groups) > 1:
        results.times.clear()  # the gateway would take them for times of one batch key
    results.took_s = time.perf_counter() - start
    return results


def _compute_uneven(module: LoadedModule, call: UnevenCall, limit: int, results: FrameResults) -> None:
    def run(batch: np.ndarray) -> Dict[str, np.ndarray]:
        outputs = call_items(module, {module.description.inputs[0].name: batch})
        _check_outputs(outputs, len(batch))
        return outputs if isinstance(outputs, dict) else {module.description.outputs[0].name: outputs}

    try:
        began = time.perf_counter()
        outputs = guarded(partial(compute_by_shape, call.items, limit, run))
        elapse_s = time.perf_counter() - began
        results.calls_s += elapse_s
        whole = ArrayCall(call.position, {}, len(call.items), call.answer)
        guarded(partial(_answer, module, whole, outputs, 0, elapse_s, results))
    except HubError as error:
        results.put_error(call.position, error)


def _equal_sizes(items: int, limit: int) -> List[int]:
    return [min(limit, items - start) for start in range(0, items, limit)]


def _compute_group(module: LoadedModule, group: CallGroup, sizes: List[int], results: FrameResults) -> None:
    """Compute the calls of a group together; if that fails, bisect the group until the failing call is isolated."""
    calls = group.calls
    try:
        start = time.perf_counter()
        outputs = guarded(partial(_run, module, group, sizes, results))
        elapse_s = time.perf_counter() - start
    except HubError as error:
        if isinstance(error, OutOfMemory):
            results.note_out_of_memory(max(sizes))
        if results.once:
            for call in calls:
                results.put_error(call.position, error)
            return
        if len(calls) == 1:
            _retry_or_fail(module, calls[0], max(sizes), error, results)
            return
        middle = len(calls) // 2
        for half in (calls[:middle], calls[middle:]):
            items = sum(call.items for call in half)
            _compute_group(module, CallGroup(half), _equal_sizes(items, max(sizes)), results)
        return
    start_item = 0
    for call in calls:
        try:
            guarded(partial(_answer, module, call, outputs, start_item, elapse_s, results))
        except HubError as error:
            results.put_error(call.position, error)
        start_item += call.items


def _retry_or_fail(module: LoadedModule, call: ArrayCall, size: int, error: HubError, results: FrameResults) -> None:
    """Handle a single call that failed: compute its items in smaller calls if memory ran out; otherwise the error is its answer."""
    if isinstance(error, OutOfMemory) and min(size, call.items) > 1:
        _compute_group(module, CallGroup([call]), _equal_sizes(call.items, (min(size, call.items) + 1) // 2), results)
    else:
        results.put_error(call.position, error)


def _run(module: LoadedModule, group: CallGroup, sizes: List[int], results: FrameResults) -> Any:
    merged = group.merged or group.calls[0].inputs
    if group.merged is None and len(group.calls) > 1:
        merged = {name: np.concatenate([call.inputs[name] for call in group.calls]) for name in merged}
    parts = []
    start = 0
    for size in sizes:
        part = slice_items(merged, start, start + size) if len(sizes) > 1 else merged
        began = time.perf_counter()
        outputs = call_items(module, part)
        results.times.append((size, time.perf_counter() - began))
        results.calls_s += results.times[-1][1]
        _check_outputs(outputs, size)
        parts.append(outputs)
        start += size
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], dict):
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return np.concatenate(parts)


def call_items(module: LoadedModule, inputs: Dict[str, np.ndarray]) -> Any:
    """Call the module's batch method; a module that is not ``batched`` gets its one item without the first dimension."""
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
                "its first dimension must be the number of items. Fix the module."
            )


def _answer(module: LoadedModule, call: ArrayCall, outputs: Any, start_item: int, elapse_s: float, results: FrameResults) -> None:
    share = slice_items(outputs, start_item, start_item + call.items)
    if call.answer == Interface.JSON:
        value = share if module.description.batched else _only_item(share)
        results.put_json(call.position, module.postprocess(value, elapse_s))
    else:
        named = share if isinstance(share, dict) else {module.description.outputs[0].name: share}
        results.put_outputs(call.position, {name: np.asarray(array) for name, array in named.items()})


def _only_item(outputs: Any) -> Any:
    return {name: array[0] for name, array in outputs.items()} if isinstance(outputs, dict) else outputs[0]

"""Compute what a module must have computed before it is ready.

A sample is ``{"name", "batch_size", "count", "inputs"}``: ``batch_size`` items are computed together, ``count`` times. ``inputs`` maps each
input's name to ``{"dtype", "shape", "data", "file"}``:

- ``dtype``: as in :class:`~hubserve.types.TensorSpec`;
- ``shape``: of one item, or of the whole input for a module without a batch dimension;
- ``data``: ``zeros``, ``random`` or ``file``;
- ``file``, only with ``file``: the item's bytes in the protocols' binary form, a path inside the folder ``warmup`` of the module's folder.
"""

import time
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from hubserve.errors import HubError, LoadFailed
from hubserve.instance.execute import call_items
from hubserve.instance.guard import guarded
from hubserve.kinds.base import LoadedModule
from hubserve.kinds.raw_requests import RawRequest, RawResponse
from hubserve.types import ANY, BFLOAT16, BYTES, REST, array_from_bytes

FOLDER = "warmup"
#: time for measuring batch sizes while a module loads
_MEASURE_S = 0.5


def compute_samples(module: LoadedModule, samples: Sequence[Dict[str, Any]], folder: Path) -> None:
    """Compute the given samples.

    Args:
        module: loaded.
        samples: as described above.
        folder: the module's.
    Raises:
        LoadFailed: a sample cannot be read, or the module fails to compute it.
    """
    for number, sample in enumerate(samples, 1):
        name = sample.get("name") or f"number {number}"
        try:
            arrays = {each: item_of(each, described, folder) for each, described in sample["inputs"].items()}
            for _ in range(max(1, int(sample.get("count") or 1))):
                _compute(module, arrays, max(1, int(sample.get("batch_size") or 1)))
        except HubError as error:
            raise LoadFailed(f"the module loaded, but its warm-up sample '{name}' failed: {error.message}", error.detail) from error


def compute_zeros(module: LoadedModule, largest: int) -> List[Tuple[int, float]]:
    """Compute items of zeros, so that no client pays for the first call and a module that cannot compute fails to load.

    Returns:
        Items and seconds of calls of up to ``largest`` items, as far as the time allows.
    Raises:
        LoadFailed: the module cannot compute even one item.
    """
    shapes = module.description.item_shapes()
    if module.description.raw_requests:
        return []  # they may have effects beyond their answers: only configured samples are computed
    if shapes is None or any(ANY in shape or REST in shape or dtype == BYTES for dtype, shape in shapes.values()):
        return []  # suitable lengths or strings are unknown
    deadline = time.perf_counter() + _MEASURE_S
    times: List[Tuple[int, float]] = []
    size = 1
    while size <= largest:
        zeros = {name: zeros_of(dtype, (size, *shape)) for name, (dtype, shape) in shapes.items()}
        try:
            # the first call of a size prepares the engine, the second one is measured
            took_s = [_timed(module, zeros) for _ in range(2 if largest > 1 else 1)][-1]
        except HubError as error:
            if size > 1:
                break  # possibly for want of memory, which clients' requests will show
            raise LoadFailed(f"the module loaded, but its first call failed: {error.message}", error.detail) from error
        times.append((size, took_s))
        if time.perf_counter() + 4 * took_s > deadline:
            break
        size = largest if size < largest < 2 * size else 2 * size
    return times


def _timed(module: LoadedModule, inputs: Dict[str, np.ndarray]) -> float:
    start = time.perf_counter()
    call_items(module, inputs)
    return time.perf_counter() - start


def _compute(module: LoadedModule, item: Dict[str, np.ndarray], count: int) -> None:
    batched = module.description.batched
    if module.description.raw_requests:
        _compute_requests(module, {name: array[np.newaxis] if batched else array for name, array in item.items()}, count)
        return
    inputs = {name: np.stack([array] * count) if batched else array for name, array in item.items()}
    guarded(lambda: module.call_tensors(inputs))


def _compute_requests(module: LoadedModule, inputs: Dict[str, np.ndarray], count: int) -> None:
    # no client's request has a negative key: late answers go nowhere
    requests = [RawRequest(-number, {name: array.copy() for name, array in inputs.items()}) for number in range(1, count + 1)]
    for answer in guarded(lambda: module.call_requests(requests)):
        if isinstance(answer, RawResponse) and answer.error:
            raise answer.error


def item_of(name: str, described: Dict[str, Any], folder: Path) -> np.ndarray:
    """Return one item, or the whole input of a module without a batch dimension."""
    dtype, shape, data = described["dtype"], [int(length) for length in described["shape"]], described["data"]
    if min(shape, default=1) < 0:
        raise LoadFailed(f"the shape of its input '{name}' must consist of integers from 0 up, got {shape}")
    if data == "file":
        path = folder / FOLDER / described["file"]
        if ".." in path.parts or Path(described["file"]).is_absolute():
            raise LoadFailed(f"the file '{described['file']}' of its input '{name}' is outside '{folder / FOLDER}'; put it there")
        try:
            return array_from_bytes(path.read_bytes(), dtype, shape)
        except OSError as error:
            raise LoadFailed(f"the file '{path}' of its input '{name}' cannot be read: {error.strerror}") from None
    return _random(dtype, shape) if data == "random" else zeros_of(dtype, shape)


def zeros_of(dtype: str, shape: Sequence[int]) -> np.ndarray:
    """Return zeros of any dtype of a TensorSpec; strings are empty."""
    if dtype == BYTES:
        return np.full(shape, b"", object)
    return np.zeros(shape, "uint16" if dtype == BFLOAT16 else dtype)


def _random(dtype: str, shape: List[int]) -> np.ndarray:
    """Return floats from 0 to 1, integers from 0 to 127, booleans, or the integers' digits as strings."""
    source = np.random.default_rng()
    if dtype == BFLOAT16:
        return (source.random(shape, np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if dtype == BYTES:
        texts = [str(each).encode() for each in source.integers(0, 128, int(np.prod(shape, dtype=int)))]
        return np.array(texts, object).reshape(shape)
    kind = np.dtype(dtype).kind
    if kind == "f":
        return source.random(shape).astype(dtype)
    return source.integers(0, 2 if kind == "b" else 128, shape).astype(dtype)

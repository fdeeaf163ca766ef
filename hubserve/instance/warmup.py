"""Computes what a module is to have computed before it is ready.

A sample is ``{"name", "batch_size", "count", "inputs"}``: ``batch_size`` items are computed together, ``count`` times. ``inputs`` maps each
input's name to ``{"dtype", "shape", "data", "file"}``:

- ``dtype``: a :class:`~hubserve.types.TensorSpec`'s;
- ``shape``: of one item, or of the whole input for a module without a batch dimension;
- ``data``: ``zeros``, ``random`` or ``file``;
- ``file``, only with ``file``: the item's bytes in the protocols' binary form, a path inside the folder ``warmup`` of the module's folder.
"""

from pathlib import Path
from typing import Any, Dict, List, Sequence

import numpy as np

from hubserve.errors import HubError, LoadFailed
from hubserve.instance.execute import guarded
from hubserve.kinds.base import LoadedModule
from hubserve.kinds.raw_requests import WholeRequest, WholeResponse
from hubserve.types import BFLOAT16, BYTES, array_from_bytes

FOLDER = "warmup"


def warm_up(module: LoadedModule, samples: Sequence[Dict[str, Any]], folder: Path) -> None:
    """Compute every sample.

    Args:
        module: loaded.
        samples: see above.
        folder: the module's.
    Raises:
        LoadFailed: a sample cannot be read, or the module fails with it.
    """
    for number, sample in enumerate(samples, 1):
        name = sample.get("name") or f"number {number}"
        try:
            arrays = {each: _item(each, about, folder) for each, about in sample["inputs"].items()}
            for _ in range(max(1, int(sample.get("count") or 1))):
                _compute(module, arrays, max(1, int(sample.get("batch_size") or 1)))
        except HubError as error:
            raise LoadFailed(f"the module loaded, but its warm-up sample '{name}' failed: {error.message}", error.detail) from error


def _compute(module: LoadedModule, item: Dict[str, np.ndarray], count: int) -> None:
    batched = module.description.batched
    if module.description.whole_requests:
        _compute_whole(module, {name: array[np.newaxis] if batched else array for name, array in item.items()}, count)
        return
    inputs = {name: np.stack([array] * count) if batched else array for name, array in item.items()}
    guarded(lambda: module.call_tensors(inputs))


def _compute_whole(module: LoadedModule, inputs: Dict[str, np.ndarray], count: int) -> None:
    # no request has such a key: what is answered later goes nowhere
    requests = [WholeRequest(-number, {name: array.copy() for name, array in inputs.items()}) for number in range(1, count + 1)]
    for answer in guarded(lambda: module.call_requests(requests)):
        if isinstance(answer, WholeResponse) and answer.error:
            raise answer.error


def _item(name: str, about: Dict[str, Any], folder: Path) -> np.ndarray:
    """One item, or the whole input of a module without a batch dimension."""
    dtype, shape, data = about["dtype"], [int(length) for length in about["shape"]], about["data"]
    if min(shape, default=1) < 0:
        raise LoadFailed(f"the shape of its input '{name}' must be whole numbers from 0 up, not {shape}")
    if data == "file":
        path = folder / FOLDER / about["file"]
        if ".." in path.parts or Path(about["file"]).is_absolute():
            raise LoadFailed(f"the file '{about['file']}' of its input '{name}' is outside '{folder / FOLDER}'; put it there")
        try:
            return array_from_bytes(path.read_bytes(), dtype, shape)
        except OSError as error:
            raise LoadFailed(f"the file '{path}' of its input '{name}' cannot be read: {error.strerror}") from None
    return _random(dtype, shape) if data == "random" else zeros_of(dtype, shape)


def zeros_of(dtype: str, shape: Sequence[int]) -> np.ndarray:
    """Zeros of any dtype of a TensorSpec; texts are empty."""
    if dtype == BYTES:
        return np.full(shape, b"", object)
    return np.zeros(shape, "uint16" if dtype == BFLOAT16 else dtype)


def _random(dtype: str, shape: List[int]) -> np.ndarray:
    """Numbers from 0 to 1, whole ones from 0 to 127, or texts of such."""
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

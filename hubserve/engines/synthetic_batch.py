"""Make a synthetic batch for a model of which only the inputs are known."""

from typing import Dict, Sequence, Tuple

import numpy as np

from hubserve.types import ANY, BFLOAT16, BYTES, REST, TensorSpec

_BATCH = 2
_SEED = 20
#: lengths for dimensions that may have any: pictures divide by 32 at this size, sequences are short
_PICTURE_SIDE_PX = 224
_CHANNELS = 3
_SEQUENCE = 16


def make_sample(inputs: Sequence[TensorSpec], item_shape: Sequence[int] = ()) -> Dict[str, np.ndarray]:
    """Make one batch of two items, the same each time.

    Args:
        inputs: what the model takes.
        item_shape: lengths for the first input's open dimensions; disregarded unless there is one for each but the batch.
    Returns:
        Name to array: floats from the standard normal distribution, uint8 from 0 to 255, other integers 0 or 1 (which are
        valid whatever they index).
    """
    random = np.random.default_rng(_SEED)
    shapes = [spec.shape for spec in inputs]
    if shapes and len(item_shape) == len(shapes[0]) - 1:
        usual = (shapes[0][0], *item_shape)
        shapes[0] = tuple(usual[axis] if length == ANY else length for axis, length in enumerate(shapes[0]))
    return {spec.name: _values(random, spec.dtype, sample_shape(shape)) for spec, shape in zip(inputs, shapes)}


def sample_shape(shape: Sequence[int]) -> Tuple[int, ...]:
    """Return the shape with a plausible length in place of each free dimension."""
    known = [length for length in shape if length != REST]
    return tuple(_plausible(known, axis) if length == ANY else length for axis, length in enumerate(known))


def _plausible(shape: Sequence[int], axis: int) -> int:
    if axis == 0:
        return _BATCH
    if len(shape) != 4:
        return _SEQUENCE
    # NCHW unless the last dimension is a fixed small one
    channel_axis = 3 if shape[3] in (1, 3, 4) else 1
    return _CHANNELS if axis == channel_axis else _PICTURE_SIDE_PX


def _values(random: np.random.Generator, dtype: str, shape: Sequence[int]) -> np.ndarray:
    if dtype == BYTES:
        return np.full(shape, b"1", object)  # which many models that take texts can read as a number, too
    if dtype == BFLOAT16:
        return (random.standard_normal(shape).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
    if dtype.startswith("float"):
        return random.standard_normal(shape).astype(dtype)
    return random.integers(0, 256 if dtype == "uint8" else 2, shape).astype(dtype)

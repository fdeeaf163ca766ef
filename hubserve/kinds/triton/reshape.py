"""Apply ``reshape`` to a Triton model's tensors: clients see ``dims``, the model ``reshape.shape``; neither includes the batch.

Source: https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_configuration.md#reshape
"""

import math
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from hubserve.errors import ModuleFailed
from hubserve.types import ANY, fits


class Reshape(NamedTuple):
    """The reshape of one tensor.

    Attributes:
        name: the tensor's.
        dims: as clients see it.
        shape: as the model sees it.
        batched: whether a batch dimension is in front of both.
    """

    name: str
    dims: Tuple[int, ...]
    shape: Tuple[int, ...]
    batched: bool

    def to_model(self, array: np.ndarray) -> np.ndarray:
        """Reshape a client's array for the model; a view where possible."""
        return self._reshaped(array, self.dims, self.shape)

    def from_model(self, array: np.ndarray) -> np.ndarray:
        """Reshape the model's array for clients.

        Raises:
            ModuleFailed: it does not have the shape in the configuration.
        """
        array = np.asarray(array)
        inside = array.shape[1:] if self.batched else array.shape
        if not fits(self.shape, inside) or (self.batched and not array.ndim):
            behind = " behind the batch" if self.batched else ""
            raise ModuleFailed(
                f"the model gave output '{self.name}' in the shape {list(array.shape)}, and the reshape of its configuration says "
                f"{list(self.shape)}{behind}. Make the two equal."
            )
        return self._reshaped(array, self.shape, self.dims)

    def _reshaped(self, array: np.ndarray, given: Sequence[int], wanted: Sequence[int]) -> np.ndarray:
        start = 1 if self.batched else 0
        open_lengths = iter([length for dim, length in zip(given, array.shape[start:]) if dim == ANY])
        lengths = [next(open_lengths) if dim == ANY else dim for dim in wanted]
        return array.reshape((*array.shape[:start], *lengths))


def reshape_of(tensor: Mapping[str, Any], batched: bool) -> Optional[Reshape]:
    """Return the reshape of an entry of ``input`` or ``output``; None if it has none."""
    given = tensor.get("reshape")
    if given is None:
        return None
    return Reshape(tensor["name"], tuple(tensor["dims"]), tuple(int(length) for length in given.get("shape", ())), batched)


def reshapes_of(tensors: Sequence[Mapping[str, Any]], batched: bool) -> Dict[str, Reshape]:
    """Return name -> reshape of the entries that have one."""
    found = {tensor["name"]: reshape_of(tensor, batched) for tensor in tensors}
    return {name: reshape for name, reshape in found.items() if reshape is not None}


def why_impossible(dims: Sequence[int], shape: Sequence[int]) -> str:
    """Return why ``dims`` cannot be reshaped to ``shape``; "" if they can.

    The lengths of -1 in ``dims`` correspond to those in ``shape``, in order, so the element counts between them must be equal.
    """
    if any(length == 0 or length < ANY for length in shape):
        return f"the lengths of reshape must be -1 or from 1 up, got {list(shape)}"
    if _between(dims) != _between(shape):
        return f"it cannot be reshaped from {list(dims)} to {list(shape)}: the numbers of elements differ"
    return ""


def _between(lengths: Sequence[int]) -> List[int]:
    """Return the numbers of elements before, between and after the open lengths."""
    parts: List[List[int]] = [[]]
    for length in lengths:
        if length == ANY:
            parts.append([])
        else:
            parts[-1].append(length)
    return [math.prod(part) for part in parts]

"""Pictures of one request that differ in size, of a module that takes them as they are: those of each size are computed together."""

from typing import Callable, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np

from hubserve.errors import InvalidInput


class UnevenCall(NamedTuple):
    """A call whose items cannot be one array.

    Attributes:
        position: its index in the frame.
        items: one array for each picture.
        answer: the interface of its answer.
    """

    position: int
    items: Sequence[np.ndarray]
    answer: str


def are_uneven(items: Sequence[np.ndarray]) -> bool:
    """Return True for items of more than one shape."""
    return any(item.shape != items[0].shape for item in items)


def compute_by_shape(items: Sequence[np.ndarray], most: int, run: Callable[[np.ndarray], Dict[str, np.ndarray]]) -> Dict[str, np.ndarray]:
    """Compute items of equal shapes together.

    Args:
        items: of any shapes.
        most: items of one run.
        run: computes a batch, and returns outputs with as many items.
    Returns:
        The outputs, in the order of the items.
    Raises:
        InvalidInput: outputs follow the shapes of the items, so that they cannot be one array.
    """
    by_shape: Dict[Tuple[int, ...], List[int]] = {}
    for index, item in enumerate(items):
        by_shape.setdefault(item.shape, []).append(index)
    parts, order = [], []
    for indices in by_shape.values():
        for start in range(0, len(indices), most):
            chosen = indices[start : start + most]
            parts.append(run(np.stack([items[index] for index in chosen])))
            order += chosen
    places = np.argsort(order)
    joined = {}
    for name in parts[0]:
        arrays = [np.asarray(part[name]) for part in parts]
        if any(array.shape[1:] != arrays[0].shape[1:] for array in arrays):
            raise InvalidInput(
                f"the pictures of this request have {len(by_shape)} sizes, and the output '{name}' has another shape for each: send those "
                "of each size in a request of their own"
            )
        joined[name] = np.concatenate(arrays)[places]
    return joined

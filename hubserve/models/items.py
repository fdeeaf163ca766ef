"""Convert between items of requests and runs of a model, whose first dimension holds any number of items, a fixed number, or none."""

from typing import Callable, Dict, List, Sequence

import numpy as np

from hubserve.types import ANY, REST, TensorSpec

#: in place of a number of items per run: the first dimension does not count items, so each run takes one item without a batch dimension
UNBATCHED = 0


def items_per_run(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
    """Return the number of items that one run of a model takes, by its signature.

    Returns:
        :data:`~hubserve.types.ANY`, a fixed number from 1 up, or :data:`UNBATCHED` if the tensors have no first dimension in common.
    """
    firsts = [_first(spec) for spec in inputs]
    exact = {length for length in firsts if length != ANY}
    if not firsts or UNBATCHED in exact or len(exact) > 1:
        return UNBATCHED
    size = exact.pop() if exact else ANY
    if size > 1 and ANY in firsts:
        return UNBATCHED
    given = [_first(spec) for spec in outputs]
    return size if all(length in (size, ANY) for length in given) else UNBATCHED


def _first(spec: TensorSpec) -> int:
    """Return the first dimension; a tensor of unknown rank may lack it."""
    return spec.shape[0] if spec.shape and spec.shape[0] != REST else UNBATCHED


def outer_specs(specs: Sequence[TensorSpec], per_run: int) -> List[TensorSpec]:
    """Return a model's specifications as requests see them: with any number of items as first dimension."""
    inner = [spec.shape if per_run == UNBATCHED else spec.shape[1:] for spec in specs]
    return [spec._replace(shape=(ANY, *shape)) for spec, shape in zip(specs, inner)]


def run_items(
    run: Callable[[Dict[str, np.ndarray]], Sequence[np.ndarray]], inputs: Dict[str, np.ndarray], per_run: int
) -> List[np.ndarray]:
    """Compute items.

    Args:
        run: the model's own computation.
        inputs: name -> array, the items first; at most as many as one run takes (one for :data:`UNBATCHED`).
        per_run: as :func:`items_per_run` returns it. A batch of fixed size is filled up with copies of the last item.
    Returns:
        One array per output, the items first.
    """
    if per_run == ANY:
        return list(run(inputs))
    if per_run == UNBATCHED:
        return [np.asarray(output)[None] for output in run({name: array[0] for name, array in inputs.items()})]
    count = len(next(iter(inputs.values())))
    filled = {name: array[np.minimum(np.arange(per_run), count - 1)] for name, array in inputs.items()} if count < per_run else inputs
    return [output[:count] for output in run(filled)]

"""Between requests, which bring items, and a model, whose first dimension may hold any number of them, an exact one, or none at all."""

from typing import Callable, Dict, List, Sequence

import numpy as np

from hubserve.types import ANY, REST, TensorSpec

#: in place of a number of items per run: the first dimension holds something else, so each item is all that one run takes
WHOLE = 0


def items_per_run(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> int:
    """How many items one run of a model takes, judged by its signature.

    Returns:
        :data:`~hubserve.types.ANY`, an exact number from 1 up, or :data:`WHOLE` where inputs or outputs have no first dimension in common.
    """
    firsts = [_first(spec) for spec in inputs]
    exact = {length for length in firsts if length != ANY}
    if not firsts or WHOLE in exact or len(exact) > 1:
        return WHOLE
    size = exact.pop() if exact else ANY
    if size > 1 and ANY in firsts:
        return WHOLE
    given = [_first(spec) for spec in outputs]
    return size if all(length in (size, ANY) for length in given) else WHOLE


def _first(spec: TensorSpec) -> int:
    """Return the first dimension; a tensor of unknown rank may lack it."""
    return spec.shape[0] if spec.shape and spec.shape[0] != REST else WHOLE


def outer_specs(specs: Sequence[TensorSpec], per_run: int) -> List[TensorSpec]:
    """A model's specifications as requests see them: the first dimension is the items, however many the model takes at once."""
    inner = [spec.shape if per_run == WHOLE else spec.shape[1:] for spec in specs]
    return [spec._replace(shape=(ANY, *shape)) for spec, shape in zip(specs, inner)]


def run_items(
    run: Callable[[Dict[str, np.ndarray]], Sequence[np.ndarray]], inputs: Dict[str, np.ndarray], per_run: int
) -> List[np.ndarray]:
    """Compute items.

    Args:
        run: the model's own computation.
        inputs: name to array, the items first; as many as one run takes at most (one where that is :data:`WHOLE`).
        per_run: as :func:`items_per_run` gives it. A model of exactly n items is given the last one again and again where there are fewer.
    Returns:
        One array per output, the items first.
    """
    if per_run == ANY:
        return list(run(inputs))
    if per_run == WHOLE:
        return [np.asarray(output)[None] for output in run({name: array[0] for name, array in inputs.items()})]
    count = len(next(iter(inputs.values())))
    filled = {name: array[np.minimum(np.arange(per_run), count - 1)] for name, array in inputs.items()} if count < per_run else inputs
    return [output[:count] for output in run(filled)]

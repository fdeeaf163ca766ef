"""Items of several shapes are computed by shape, in bounded batches, and answered in order."""

import numpy as np
import pytest

from hubserve.errors import InvalidInput
from hubserve.instance.uneven_pictures import are_uneven, compute_by_shape


def test_items_of_equal_shapes_are_computed_together_and_answered_in_order() -> None:
    items = [np.full(shape, number) for number, shape in enumerate([(2, 2), (3, 2), (2, 2), (2, 2), (3, 2)])]
    batches = []

    def run(batch: np.ndarray) -> dict[str, np.ndarray]:
        batches.append(batch.shape)
        return {"first": batch[:, 0, 0], "sum": batch.sum(axis=(1, 2))}

    outputs = compute_by_shape(items, 2, run)
    assert outputs["first"].tolist() == [0, 1, 2, 3, 4]
    assert outputs["sum"].tolist() == [0, 6, 8, 12, 24]
    assert batches == [(2, 2, 2), (1, 2, 2), (2, 3, 2)]


def test_outputs_of_several_shapes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="2 sizes, and the output 'same'"):
        compute_by_shape([np.zeros((2, 2)), np.zeros((3, 2))], 8, lambda batch: {"same": batch})


def test_one_shape_is_not_uneven() -> None:
    assert not are_uneven([np.zeros((2, 2))] * 3)
    assert are_uneven([np.zeros((2, 2)), np.zeros((2, 3))])

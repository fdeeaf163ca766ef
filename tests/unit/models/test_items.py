"""Test the mapping of items to runs of a model."""

import numpy as np
import pytest

from hubserve.models.items import UNBATCHED, items_per_run, outer_specs, run_items
from hubserve.types import ANY, TensorSpec


def specs(*shapes):
    return [TensorSpec(f"t{index}", "float32", shape) for index, shape in enumerate(shapes)]


@pytest.mark.parametrize(
    ("inputs", "outputs", "per_run"),
    [
        ([(ANY, 3)], [(ANY, 5)], ANY),
        ([(ANY, 3), (ANY,)], [(ANY, 5), (ANY,)], ANY),
        ([(1, 3)], [(1, 5)], 1),
        ([(1, 3), (ANY, 2)], [(ANY, 5)], 1),
        ([(4, 3), (4, 2)], [(ANY, 5)], 4),
        ([(4, 3), (ANY, 2)], [(4, 5)], UNBATCHED),
        ([(2, ANY, 128), (ANY, ANY), ()], [(ANY, 1)], UNBATCHED),
        ([(ANY, 3)], [(ANY, 5), ()], UNBATCHED),
        ([(ANY, 3)], [(7, 5)], UNBATCHED),
        ([()], [(ANY,)], UNBATCHED),
        ([], [(ANY,)], UNBATCHED),
    ],
)
def test_the_items_per_run_are_derived_from_the_signature(inputs, outputs, per_run):
    assert items_per_run(specs(*inputs), specs(*outputs)) == per_run


def test_requests_see_items_first_whatever_the_model_has():
    assert [each.shape for each in outer_specs(specs((4, 3)), 4)] == [(ANY, 3)]
    assert [each.shape for each in outer_specs(specs((2, ANY), ()), UNBATCHED)] == [(ANY, 2, ANY), (ANY,)]


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_fixed_batch_is_filled_up_and_its_padding_is_not_answered(count):
    seen = []

    def run(inputs):
        seen.append(inputs["x"])
        return [inputs["x"] * 2]

    x = np.arange(count * 2, dtype=np.float32).reshape(count, 2)
    (doubled,) = run_items(run, {"x": x}, 4)
    np.testing.assert_array_equal(doubled, x * 2)
    assert seen[0].shape == (4, 2)
    np.testing.assert_array_equal(seen[0][count:], np.repeat(x[-1:], 4 - count, axis=0))


def test_a_model_without_items_gets_its_own_shapes():
    def run(inputs):
        assert inputs["x"].shape == (2, 3)
        assert inputs["rate"].shape == ()
        return [inputs["x"].sum(), inputs["x"] * inputs["rate"]]

    total, scaled = run_items(run, {"x": np.ones((1, 2, 3)), "rate": np.array([5.0])}, UNBATCHED)
    assert (total.shape, scaled.shape) == ((1,), (1, 2, 3))

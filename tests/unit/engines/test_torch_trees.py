"""Test the names of nested tensors, and batches of limited size, with arrays in place of tensors."""

from collections import namedtuple
from typing import Any

import numpy as np
import pytest

from hubserve.engines.base import Signature
from hubserve.engines.pytorch_compiled import _batches, _inputs_in
from hubserve.engines.pytorch_program import Batches, renamed
from hubserve.engines.torch_trees import named_leaves, nested
from hubserve.errors import LoadFailed
from hubserve.types import ANY, TensorSpec

Pair = namedtuple("Pair", "first second")
X, Y = TensorSpec("x", "float32", (ANY, 2)), TensorSpec("y", "int64", (ANY,))


@pytest.mark.parametrize(
    ("tree", "names"),
    [
        (1, ["OUTPUT__0"]),
        ((1, [2, 3]), ["OUTPUT__0", "OUTPUT__1", "OUTPUT__2"]),
        ({"a": 1, "b": {"c": [2, None, 3]}}, ["a", "b.c.0", "b.c.2"]),
        ((1, {"a": 2}), ["OUTPUT__0", "a"]),
        ([{"boxes": 1}, {"boxes": 2}], ["boxes", "OUTPUT__1"]),
        (Pair(1, {"deep": 2}), ["first", "second.deep"]),
        (None, []),
    ],
)
def test_leaves_are_called_by_their_way(tree: Any, names: "list[str]") -> None:
    assert [name for name, _ in named_leaves(tree)] == names


def test_names_with_dots_are_put_together() -> None:
    assert nested({"batch.image": 1, "batch.more.0": 2, "batch.more.1": 3, "scale": 4}) == {
        "batch": {"image": 1, "more": [2, 3]},
        "scale": 4,
    }


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 9])
def test_batches_are_filled_up_and_divided(count: int) -> None:
    sizes = []

    def compute(inputs: "dict[str, np.ndarray]") -> "list[np.ndarray]":
        sizes.append(len(inputs["x"]))
        return [inputs["x"] * 2]

    x = np.arange(count * 2.0).reshape(count, 2)
    np.testing.assert_array_equal(Batches(2, 4).run(compute, {"x": x})[0], x * 2)
    assert all(2 <= size <= 4 for size in sizes) or count == 0


def test_a_configuration_names_tensors_by_name_or_place() -> None:
    named = renamed([X, Y], [Y._replace(name="labels__1"), X._replace(name="image__0")], "input")
    assert [each.name for each in named] == ["image__0", "labels__1"]
    assert [each.name for each in renamed([X, Y], [Y], "output")] == ["x", "y"]
    with pytest.raises(LoadFailed, match=r"the configured input 'z' is not in it: the model has x \(float32 \[-1, 2\]\), y"):
        renamed([X, Y], [X, Y, X._replace(name="z")], "input")
    assert Signature([X], [Y]).inputs == [X]


SOURCE = """AOTI_NOINLINE static void check_input_0(
    AtenTensorHandle* input_handles
) {
    int32_t arg2_1_expected_dtype = aoti_torch_dtype_float32();
    if (arg2_1_size[0] < 2) {
    if (arg2_1_size[0] > 64) {
    if (4 != arg2_1_size[1]) {
    if (1 != arg2_1_stride[1]) {
}

static void check_input_1(
) {
    int32_t arg3_1_expected_dtype = aoti_torch_dtype_int64();
    if (arg3_1_size[0] < 3) {
}
"""


def test_the_inputs_of_compiled_code_are_read_from_its_checks() -> None:
    assert _inputs_in(SOURCE, ["image", "ids"]) == [TensorSpec("image", "float32", (ANY, 4)), TensorSpec("ids", "int64", (ANY,))]
    assert [each.name for each in _inputs_in(SOURCE, ["image", "scale", "ids"])] == ["INPUT__0", "INPUT__1"]
    assert _inputs_in(SOURCE.replace("float32", "complex64"), ["image", "ids"]) == []
    assert _inputs_in("", []) == []
    assert _batches(SOURCE) == Batches(3, 64)

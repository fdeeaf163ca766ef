"""Test named arrays in JSON."""

import numpy as np
import pytest

from hubserve.errors import InvalidInput
from hubserve.models.arrays import arrays_of
from hubserve.module import encode_array
from hubserve.types import TensorSpec

X, IDS = TensorSpec("x", "float32", (-1, 2)), TensorSpec("ids", "int64", (-1,))


def test_lists_get_the_models_dtype_and_base64_keeps_its_own():
    data, about = encode_array(np.array([3, 4]))
    arrays = arrays_of({"x": [[1, 2], [3.5, 4]], "ids": {"data": data, **about}}, [X, IDS])
    assert (arrays["x"].dtype, arrays["x"].tolist()) == (np.float32, [[1, 2], [3.5, 4]])
    assert (arrays["ids"].dtype, arrays["ids"].tolist()) == (np.int64, [3, 4])
    assert arrays_of({"ids": [1.0, 2.0]}, [IDS])["ids"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"y": [1]}, r"arrays \['ids'\], got \['y'\]"),
        ([1, 2], "got list"),
        ({"ids": [[1, 2], [3]]}, "equal lengths"),
        ({"ids": ["one"]}, "nested lists of numbers"),
        ({"ids": None}, "nested lists of numbers"),
        ({"ids": [1.5]}, "must be int64"),
        ({"ids": [float("nan")]}, "must be int64"),
        ({"ids": {"data": "!!", "shape": [1], "dtype": "int64"}}, "not valid base64"),
        ({"ids": {"shape": [1], "dtype": "int64"}}, "not valid base64"),
        ({"ids": {"data": ""}}, "described by"),
    ],
)
def test_values_that_are_not_arrays_are_reported(inputs, words):
    with pytest.raises(InvalidInput, match=words):
        arrays_of(inputs, [IDS])


def test_numbers_that_a_byte_cannot_hold_are_reported():
    with pytest.raises(InvalidInput, match="must be uint8"):
        arrays_of({"image": [256]}, [TensorSpec("image", "uint8", (-1,))])


def test_names_with_dots_may_be_objects_and_lists() -> None:
    specs = [TensorSpec("batch.image", "float32", (-1, 2)), TensorSpec("batch.more.0", "int64", (-1,)), TensorSpec("x", "int64", (-1,))]
    nested = arrays_of({"batch": {"image": [[1, 2]], "more": [[3]]}, "x": [4]}, specs)
    assert {name: array.tolist() for name, array in nested.items()} == {"batch.image": [[1, 2]], "batch.more.0": [3], "x": [4]}
    flat = arrays_of({"batch.image": [[1, 2]], "batch.more.0": [3], "x": [4]}, specs)
    assert all(np.array_equal(flat[name], array) for name, array in nested.items())
    with pytest.raises(InvalidInput, match=r"must be an object with the arrays .* got \['batch.image', 'batch.odd', 'x'\]"):
        arrays_of({"batch": {"image": [[1, 2]], "odd": [3]}, "x": [4]}, specs)

"""Which inputs take encoded pictures, and what these become."""

import cv2
import numpy as np
import pytest

from hubserve.errors import InvalidInput
from hubserve.kinds.triton.pictures import picture_item, prepare
from hubserve.types import TensorSpec


def spec(*shape: int, dtype: str = "uint8") -> TensorSpec:
    return TensorSpec("x", dtype, shape)


@pytest.mark.parametrize(
    ("shape", "batched", "item"),
    [
        ((-1, -1, -1, 3), True, (-1, -1, 3)),
        ((-1, 20, 30, 3), True, (20, 30, 3)),
        ((-1, -1, 3), False, (-1, -1, 3)),
        ((1, 20, 30, 3), False, (1, 20, 30, 3)),
        ((-1, 20, 30, 3), False, (1, 20, 30, 3)),
    ],
)
def test_bytes_with_three_channels_last_are_pictures(shape: tuple[int, ...], batched: bool, item: tuple[int, ...]) -> None:
    found = picture_item([spec(*shape)], batched)
    assert found is not None
    assert found.shape == item


@pytest.mark.parametrize(
    ("inputs", "batched"),
    [
        ([spec(-1, 20, 30, 4)], True),
        ([spec(-1, 3, 20, 30)], True),
        ([spec(-1, 20, 30, 3, dtype="float32")], True),
        ([spec(-1, 20, 30, 3), spec(-1, 20, 30, 3)], True),
        ([spec(2, 20, 30, 3)], False),
        ([spec(-1, 20, -2)], True),
        ([spec(-1, 3)], True),
        ([], True),
    ],
)
def test_other_inputs_are_not(inputs: list[TensorSpec], batched: bool) -> None:
    assert picture_item(inputs, batched) is None


@pytest.mark.parametrize(
    ("wanted", "got"), [((-1, -1, 3), (40, 60, 3)), ((20, -1, 3), (20, 30, 3)), ((-1, 6, 3), (4, 6, 3)), ((1, 5, 7, 3), (1, 5, 7, 3))]
)
def test_a_picture_has_the_lengths_that_are_fixed(wanted: tuple[int, ...], got: tuple[int, ...]) -> None:
    encoded = cv2.imencode(".png", np.full((40, 60, 3), (9, 8, 7), np.uint8))[1].tobytes()
    item = prepare(encoded, spec(*wanted))
    assert item.shape == got
    assert item.dtype == np.uint8
    assert item.reshape(-1, 3)[0].tolist() == [9, 8, 7], "BGR"


def test_what_is_not_a_picture_is_refused() -> None:
    with pytest.raises(InvalidInput, match="picture"):
        prepare(b"not a picture", spec(-1, -1, 3))

"""The classification extension."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hubserve.errors import InvalidInput
from hubserve.protocols.open_inference.core.classification import best_classes, class_count


@given(
    hnp.arrays(np.int8, hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=6), elements=st.integers(-3, 3)),
    st.integers(1, 10),
)
def test_classes_are_those_of_a_plain_sort(scores: np.ndarray, count: int) -> None:
    found = best_classes(scores, count, [], is_batched=True)
    rows = scores.reshape(len(scores), -1)
    for row, texts in zip(rows, found, strict=True):
        expected = sorted(range(len(row)), key=lambda index: (-int(row[index]), index))[:count]
        assert [each.decode() for each in texts] == [f"{row[index]:f}:{index}" for index in expected]


def test_labels_are_added_where_there_are_any() -> None:
    found = best_classes(np.array([0.5, 0.25, 0.75]), 3, ["cat", ""], is_batched=False)
    assert found.tolist() == [b"0.750000:2", b"0.500000:0:cat", b"0.250000:1"]


def test_nan_comes_last() -> None:
    scores = np.array([[np.nan, -np.inf, 1.0, np.inf]], np.float16)
    assert best_classes(scores, 9, [], is_batched=True).tolist() == [[b"inf:3", b"1.000000:2", b"nan:0", b"-inf:1"]]


def test_an_unsigned_zero_is_the_least() -> None:
    assert best_classes(np.array([0, 255, 7], np.uint8), 2, [], is_batched=False).tolist() == [b"255.000000:1", b"7.000000:2"]


def test_an_empty_tensor_has_no_classes() -> None:
    assert best_classes(np.zeros((2, 0)), 3, [], is_batched=True).shape == (2, 0)


@pytest.mark.parametrize("count", [-1, 1.5, "3", True, None])
def test_an_invalid_count_is_refused(count: object) -> None:
    with pytest.raises(InvalidInput, match="number of classes"):
        class_count({"classification": count}, "y")

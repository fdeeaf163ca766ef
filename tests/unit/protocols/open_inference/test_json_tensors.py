"""Tensors as JSON and back."""

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hubserve.errors import InvalidInput, ModuleFailed
from hubserve.protocols.open_inference.core import json_tensors
from hubserve.protocols.open_inference.core.datatypes import DTYPE_OF
from hubserve.protocols.open_inference.core.json_tensors import array_from_values, dump_json, values_in_steps, values_of

NUMBERS = [each for each in DTYPE_OF if each not in ("BYTES", "BF16")]


@given(st.sampled_from(NUMBERS).flatmap(lambda name: st.tuples(st.just(name), hnp.arrays(DTYPE_OF[name], hnp.array_shapes(min_side=0)))))
def test_numbers_survive_a_round_trip(case: tuple[str, np.ndarray]) -> None:
    datatype, array = case
    again = array_from_values(json.loads(values_of(array, datatype)), datatype, list(array.shape), "x")
    assert again.dtype == array.dtype
    assert again.shape == array.shape
    assert np.array_equal(again, array, equal_nan=array.dtype.kind == "f")


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]))))
def test_texts_survive_a_round_trip(elements: list[str]) -> None:
    array = array_from_values(elements, "BYTES", [len(elements)], "x")
    assert [each.decode() for each in array] == elements
    assert json.loads(values_of(array, "BYTES")) == elements


@pytest.mark.parametrize("number", [0.0, 1.5, -2.0, 3.0e38, float("inf"), 1.00390625, 1.01171875])
def test_bf16_is_rounded_to_the_nearest_of_even_last_digit(number: float) -> None:
    word = array_from_values([number], "BF16", [1], "x")
    assert word.dtype == np.uint16
    exact = np.float32(number)
    candidates = [(int(word[0]) + step) << 16 for step in (-1, 0, 1)]
    values = [float(np.uint32(each & 0xFFFFFFFF).view(np.float32)) for each in candidates]
    if np.isfinite(exact):
        assert abs(values[1] - exact) == min(abs(each - exact) for each in values if np.isfinite(each))
    else:
        assert values[1] == exact


def test_nan_stays_nan_in_bf16() -> None:
    assert json.dumps(json.loads(values_of(array_from_values([float("nan")], "BF16", [1], "x"), "BF16"))) == "[NaN]"


@pytest.mark.parametrize("values", [[1, 2, 3, 4], [[1, 2], [3, 4]], [[[1], [2]], [[3], [4]]], [[1, 2, 3, 4]]])
def test_values_may_be_nested_in_any_way(values: Any) -> None:
    assert array_from_values(values, "INT16", [2, 2], "x").tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("values", "datatype", "shape", "text"),
    [
        ([1], "FP32", [1, 10**12], "needs 1000000000000 elements, got 1"),
        ([1], "FP32", [2**40, 2**40], "far too many"),
        (["1"], "FP32", [1], 'must be numbers for FP32, got "1"'),
        (["a" * 10_000_000, "b"], "FP32", [2], "must be numbers"),
        ([1.5], "INT8", [1], "whole numbers"),
        ([200], "INT8", [1], "from -128 to 127"),
        ([2], "BOOL", [1], "from 0 to 1"),
        ([True], "INT8", [1], "whole numbers"),
        ([None], "FP64", [1], "got null"),
        ([10**400], "FP64", [1], "too large"),
        ([1, [2]], "FP32", [2], "must be numbers"),
        ([[2], 1], "FP32", [2], "mix lists and values"),
        ([b"x"], "BYTES", [1], "must be texts"),
        ("x", "BYTES", [1], "must be a list"),
        ([], "FP4", [0], "is not a datatype"),
        ([], "FP32", [-1], "from 0 up"),
    ],
)
def test_values_of_another_datatype_or_shape_are_refused(values: Any, datatype: str, shape: Any, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        array_from_values(values, datatype, shape, "x")


def test_lone_surrogates_are_accepted() -> None:
    assert json.loads(dump_json({"error": "\ud800"})) == {"error": "\ud800"}


STEPS = {"_STEP_ELEMENTS": 3, "_STEP_BYTES": 5, "_ELEMENT_BYTES": 1}


def in_steps(array: np.ndarray, datatype: str, nan: str = "token") -> bytes:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in STEPS.items():
            patch.setattr(json_tensors, name, value)
        return asyncio.run(values_in_steps(array, datatype, nan))


@given(st.sampled_from(NUMBERS).flatmap(lambda name: st.tuples(st.just(name), hnp.arrays(DTYPE_OF[name], hnp.array_shapes(min_side=0)))))
def test_numbers_encoded_in_steps_are_the_same(case: tuple[str, np.ndarray]) -> None:
    datatype, array = case
    written = [np.array(json.loads(text), array.dtype) for text in (in_steps(array, datatype), values_of(array, datatype))]
    assert np.array_equal(*written, equal_nan=array.dtype.kind == "f")


@given(st.lists(st.text(max_size=12).map(lambda each: each.encode("utf-8", "replace")) | st.binary(max_size=12)))
def test_texts_encoded_in_steps_are_the_same(elements: list[bytes]) -> None:
    array = np.empty(len(elements), object)
    array[:] = elements
    assert json.loads(in_steps(array, "BYTES")) == json.loads(values_of(array, "BYTES"))


def test_nan_and_infinity_are_encoded_as_configured() -> None:
    array = np.array([1, np.nan, np.inf], np.float32)
    assert values_of(array, "FP32") == b"[1.0, NaN, Infinity]"
    assert values_of(array, "FP32", "null") == in_steps(array, "FP32", "null") == b"[1.0,null,null]"
    with pytest.raises(ModuleFailed, match="v2_nan"):
        values_of(array, "FP32", "error")

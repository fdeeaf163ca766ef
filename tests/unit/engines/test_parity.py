import re

import numpy as np
import pytest

from hubserve.engines.parity import TOLERANCE, compare
from hubserve.engines.synthetic_batch import make_sample, sample_shape
from hubserve.types import TensorSpec, check_inputs

SCORES = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]], "float32")


def test_equal_and_nearly_equal_answers_agree_and_the_difference_is_told():
    assert compare([SCORES], [SCORES.copy()]) == (True, 0.0, "")
    comparison = compare([SCORES], [SCORES + np.float32(1e-6)])
    assert comparison.agrees
    assert 0 < comparison.difference < 2e-6


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e5])
def test_the_tolerance_follows_the_size_of_the_answers(size):
    answers = (SCORES * size).astype("float32")
    allowed = TOLERANCE * float(answers.max())
    assert compare([answers], [answers + np.float32(allowed / 2)]).agrees
    assert not compare([answers], [answers + np.float32(allowed * 2)]).agrees


def test_answers_computed_in_bfloat16_disagree():
    lower = (SCORES.view("uint32") & np.uint32(0xFFFF0000)).view("float32")
    comparison = compare([SCORES], [lower])
    assert not comparison.agrees
    assert "output 0 differs by up to" in comparison.why_not


@pytest.mark.parametrize(
    ("candidate", "says"),
    [
        ([], "0 outputs instead of 1"),
        ([SCORES[:1]], r"\[1, 3\] instead of float32 \[2, 3\]"),
        ([SCORES.astype("float64")], "float64"),
        ([np.full_like(SCORES, np.nan)], "output 0 differs"),
    ],
)
def test_other_shapes_types_and_nan_disagree(candidate, says):
    comparison = compare([SCORES], candidate)
    assert not comparison.agrees
    assert re.search(says, comparison.why_not)


def test_integers_must_be_equal_and_empty_or_unending_outputs_can_agree():
    whole = np.array([1, 2, 1000000])
    assert compare([whole], [whole]).agrees
    assert not compare([whole], [whole + np.array([0, 0, 1])]).agrees
    assert compare([np.empty((0, 4))], [np.empty((0, 4))]).agrees
    odd = np.array([np.inf, -np.inf, np.nan, 1.0])
    assert compare([odd], [odd.copy()]).agrees
    assert not compare([odd], [-odd]).agrees


def test_a_sample_fits_its_inputs_and_is_the_same_each_time():
    specs = [
        TensorSpec("image", "float32", (-1, 3, -1, -1)),
        TensorSpec("ids", "int64", (-1, -1)),
        TensorSpec("raw", "uint8", (-1, -1, -1, 3)),
    ]
    first, second = make_sample(specs), make_sample(specs)
    assert check_inputs(specs, first) == 2
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert set(np.unique(first["ids"])) == {0, 1}
    assert first["raw"].max() > 250
    assert abs(first["image"].std() - 1) < 0.01


@pytest.mark.parametrize(
    ("usual", "made"),
    [((3, 48, 192), (2, 3, 48, 192)), ((1, 48, 192), (2, 3, 48, 192)), ((48, 192), (2, 3, 48, 224)), ((), (2, 3, 48, 224))],
)
def test_open_lengths_of_the_first_input_are_the_usual_ones_where_they_are_known(usual, made):
    specs = [TensorSpec("image", "float32", (-1, 3, 48, -1)), TensorSpec("ids", "int64", (-1, -1))]
    sample = make_sample(specs, usual)
    assert (sample["image"].shape, sample["ids"].shape) == (made, (2, 16))


@pytest.mark.parametrize(
    ("shape", "plausible"),
    [
        ((-1, 3, -1, -1), (2, 3, 224, 224)),
        ((-1, 3, 48, -1), (2, 3, 48, 224)),
        ((-1, -1, -1, -1), (2, 3, 224, 224)),
        ((-1, -1, -1, 3), (2, 224, 224, 3)),
        ((1, 3, 8, 8), (1, 3, 8, 8)),
        ((-1, -1), (2, 16)),
        ((-1,), (2,)),
        ((), ()),
    ],
)
def test_open_lengths_get_plausible_values(shape, plausible):
    assert sample_shape(shape) == plausible

from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import LoadFailed, ModuleFailed
from hubserve.vision.ocr import CtcDecoder, read_characters

CHARACTERS = "ab字 "
decode = CtcDecoder(CHARACTERS)


def probabilities_of(classes: list[int], sure: float = 0.8) -> np.ndarray:
    rest = (1 - sure) / len(CHARACTERS)
    array = np.full((1, len(classes), len(CHARACTERS) + 1), rest, np.float32)
    array[0, range(len(classes)), classes] = sure
    return array


@given(st.lists(st.integers(0, len(CHARACTERS)), min_size=1, max_size=30))
def test_repetitions_become_one_and_blanks_vanish(classes: list[int]) -> None:
    (line,) = decode(probabilities_of(classes))
    assert line.text == "".join(CHARACTERS[each - 1] for each, _ in groupby(classes) if each)
    assert line.confidence == pytest.approx(0.8 if line.text else 0.0)


@given(st.text(CHARACTERS, min_size=1, max_size=20), st.data())
def test_whatever_is_written_with_blanks_between_is_read_back(text: str, data: st.DataObject) -> None:
    classes = [0]
    for character in text:
        classes += [CHARACTERS.index(character) + 1] * data.draw(st.integers(1, 3)) + [0] * data.draw(st.integers(1, 2))
    assert decode(probabilities_of(classes))[0].text == text


def test_the_confidence_is_the_average_over_the_characters_that_are_kept() -> None:
    sure, unsure, blank = probabilities_of([1], 0.9), probabilities_of([2], 0.5), probabilities_of([0], 0.99)
    (line,) = decode(np.concatenate([sure, sure, blank, unsure], axis=1))
    assert line.text == "ab"
    assert line.confidence == pytest.approx(0.7)


def test_a_dictionary_of_another_model_is_told() -> None:
    with pytest.raises(ModuleFailed, match=r"gives \[1, 2, 9\] and the dictionary has 3 characters"):
        decode(np.zeros((1, 2, 9), np.float32))


def test_the_dictionary_is_read_line_by_line_and_the_space_comes_last(tmp_path: Path) -> None:
    path = tmp_path / "keys.txt"
    path.write_text("a\n\u3000\n字\n", "utf-8")
    assert read_characters(path) == ["a", "\u3000", "字", " "]
    with pytest.raises(LoadFailed, match=r"missing\.txt"):
        read_characters(tmp_path / "missing.txt")

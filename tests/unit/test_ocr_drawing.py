"""The picture of what hubmodules/ocr read."""

import sys
from pathlib import Path

import numpy as np
import pytest

from hubmodules.ocr.drawing import draw
from hubmodules.ocr.reader import TextLine
from hubserve.errors import InvalidInput

PICTURE = np.full((60, 200, 3), 255, np.uint8)
BOX = np.array([[10, 20], [90, 20], [90, 40], [10, 40]], np.float32)


def test_boxes_are_drawn_into_the_picture_and_texts_beside_it() -> None:
    drawn = draw(PICTURE, [TextLine("Hello", 0.9, BOX)] * 4)
    assert drawn.shape[0] > 60
    assert drawn.shape[1] > 200
    assert (drawn[30, 10] < 255).any(), "the box's left edge"
    assert (drawn[:, 200:] < 128).any(), "the list"
    assert (PICTURE == 255).all(), "the picture itself is left as it is"


def test_different_texts_give_different_lists() -> None:
    first, second = (draw(PICTURE, [TextLine(text, 0.9, BOX)]) for text in ("Hello", "World"))
    assert first.shape != second.shape or (first != second).any()


def test_nothing_read_is_the_picture_alone() -> None:
    np.testing.assert_array_equal(draw(PICTURE, []), PICTURE)


def test_without_pillow_there_are_numbers_and_no_list(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    drawn = draw(PICTURE, [TextLine("Hello", 0.9, BOX)])
    assert drawn.shape == PICTURE.shape
    assert (drawn < 255).any()
    assert "pip install pillow" in capsys.readouterr().err


def test_characters_that_no_font_has_are_question_marks_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    private, other = (draw(PICTURE, [TextLine(text, 0.9, BOX)]) for text in ("a\U000f1234", "a?"))
    np.testing.assert_array_equal(private, other)
    assert "1 are drawn as '?'. Give one with --font FILE" in capsys.readouterr().err


def test_a_file_that_is_no_font_is_told(tmp_path: Path) -> None:
    (tmp_path / "font.ttf").write_text("no font")
    with pytest.raises(InvalidInput, match=r"cannot read the font .*font\.ttf"):
        draw(PICTURE, [TextLine("Hello", 0.9, BOX)], tmp_path / "font.ttf")

"""The picture of what hubmodules/ocr read."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from hubmodules.ocr.drawing import draw
from hubmodules.ocr.reader import TextLine
from hubserve.errors import InvalidInput

PICTURE = np.full((60, 200, 3), 255, np.uint8)
BOX = np.array([[10, 20], [90, 20], [90, 40], [10, 40]], np.float32)


@pytest.fixture(params=["as it is", "OpenCV 4"])
def each_opencv(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "OpenCV 4":
        older_opencv(monkeypatch)


def older_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenCV 5 has fonts of its own; without them it is as the versions before."""
    monkeypatch.delattr(cv2, "FontFace", raising=False)


@pytest.mark.usefixtures("each_opencv")
def test_boxes_are_drawn_into_the_picture_and_texts_beside_it() -> None:
    drawn = draw(PICTURE, [TextLine("Hello", 0.9, BOX)] * 4)
    assert drawn.shape[0] > 60
    assert drawn.shape[1] > 200
    assert (drawn[30, 10] < 255).any(), "the box's left edge"
    assert (drawn[:, 200:] < 128).any(), "the list"
    assert (PICTURE == 255).all(), "the picture itself is left as it is"


@pytest.mark.usefixtures("each_opencv")
def test_different_texts_give_different_lists() -> None:
    first, second = (draw(PICTURE, [TextLine(text, 0.9, BOX)]) for text in ("Hello", "World"))
    assert first.shape != second.shape or (first != second).any()


def test_nothing_read_is_the_picture_alone() -> None:
    np.testing.assert_array_equal(draw(PICTURE, []), PICTURE)


def test_without_pillow_there_are_numbers_and_no_list(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    older_opencv(monkeypatch)
    monkeypatch.setitem(sys.modules, "PIL", None)
    drawn = draw(PICTURE, [TextLine("Hello", 0.9, BOX)])
    assert drawn.shape == PICTURE.shape
    assert (drawn < 255).any()
    assert "pip install pillow" in capsys.readouterr().err


def test_characters_that_no_font_has_are_question_marks_and_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    older_opencv(monkeypatch)
    private, other = (draw(PICTURE, [TextLine(text, 0.9, BOX)]) for text in ("a\U000f1234", "a?"))
    np.testing.assert_array_equal(private, other)
    assert "1 are drawn as '?'. Give one with --font FILE" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(cv2, "FontFace"), reason="this OpenCV has no fonts of its own")
def test_chinese_is_drawn_by_opencv_5_and_can_be_told_apart() -> None:
    first, second = (draw(PICTURE, [TextLine(text, 0.9, BOX)]) for text in ("发票", "号码"))
    assert (first[:, 200:] != second[:, 200:]).sum() > 100


@pytest.mark.usefixtures("each_opencv")
def test_a_file_that_is_no_font_is_told(tmp_path: Path) -> None:
    (tmp_path / "font.ttf").write_text("no font")
    with pytest.raises(InvalidInput, match=r"cannot read the font .*font\.ttf"):
        draw(PICTURE, [TextLine("Hello", 0.9, BOX)], tmp_path / "font.ttf")

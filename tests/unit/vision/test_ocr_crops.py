import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hubserve.vision.ocr import cut_out


def marked(width: int, height: int) -> np.ndarray:
    """A grey picture whose left quarter is dark and whose right quarter is bright."""
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[:, : width // 4], picture[:, -(width // 4) :] = 20, 240
    return picture


def is_upright(crop: np.ndarray) -> bool:
    return bool(crop[:, : crop.shape[1] // 8].mean() < 60 and crop[:, -(crop.shape[1] // 8) :].mean() > 200)


def corners(width: float, height: float) -> np.ndarray:
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)


def test_a_large_upright_box_is_cut_out_as_it_is() -> None:
    picture = np.random.default_rng(2).integers(0, 256, (120, 300, 3), np.uint8)
    crop = cut_out(picture, corners(200, 60) + np.array([50, 30], np.float32))
    np.testing.assert_array_equal(crop, picture[30:90, 50:250])


def test_small_print_is_scaled_to_the_height_that_is_read() -> None:
    assert cut_out(marked(200, 40), corners(100, 12)).shape == (48, 400, 3)


def test_a_line_that_runs_downwards_is_laid_flat() -> None:
    upright = marked(200, 50)
    crop = cut_out(np.ascontiguousarray(np.rot90(upright, -1)), corners(50, 200))
    assert crop.shape == (50, 200, 3)
    assert is_upright(crop)


@given(st.integers(-44, 44))
def test_a_slanted_line_is_straightened(degrees: int) -> None:
    canvas = np.full((400, 400, 3), 128, np.uint8)
    canvas[170:230, 100:300] = marked(200, 60)
    turn = cv2.getRotationMatrix2D((200, 200), degrees, 1)
    box = cv2.transform((corners(200, 60) + np.array([100, 170], np.float32))[None], turn)[0]
    crop = cut_out(cv2.warpAffine(canvas, turn, (400, 400)), box)
    assert abs(crop.shape[1] - 200) <= 1
    assert is_upright(crop)


def test_a_box_of_no_size_becomes_a_crop_that_can_be_read() -> None:
    assert cut_out(marked(100, 50), np.full((4, 2), 7, np.float32)).shape == (48, 48, 3)

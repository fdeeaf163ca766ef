import sys

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import ConfigError, MissingDependency
from hubserve.vision.ocr import TextBoxes
from hubserve.vision.ocr.boxes import mean_within
from hubserve.vision.ocr.polygons import clockwise, grow, smallest_rectangle


def rectangle(x: float, y: float, width: float, height: float, degrees: float = 0.0) -> np.ndarray:
    return np.asarray(cv2.boxPoints(((x, y), (width, height), degrees)), np.float32)


def map_of(*polygons: np.ndarray, value: float = 0.9) -> np.ndarray:
    probabilities = np.zeros((128, 256), np.float32)
    for polygon in polygons:
        cv2.fillPoly(probabilities, [np.round(polygon).astype(np.int32)], value)
    return probabilities


rectangles = st.builds(
    rectangle, st.integers(90, 160), st.integers(50, 80), st.integers(20, 80), st.integers(8, 20), st.floats(-90, 90, allow_nan=False)
)


@given(rectangles, st.floats(0.0, 4.0))
def test_growing_never_loses_a_point_and_keeps_the_promised_distance(polygon: np.ndarray, ratio: float) -> None:
    grown = grow(polygon, ratio)
    distance = cv2.contourArea(polygon) * ratio / cv2.arcLength(polygon, True)
    outline = grown.reshape(-1, 1, 2)
    assert all(cv2.pointPolygonTest(outline, tuple(map(float, point)), True) >= distance - 0.5 for point in polygon)
    rounding = cv2.arcLength(polygon, True) / 32  # corners are rounded to a sixteenth of a pixel
    assert cv2.contourArea(grown) >= cv2.contourArea(polygon) - rounding


@given(rectangles, st.floats(0.1, 2.0), st.floats(0.1, 2.0))
def test_a_larger_ratio_grows_more(polygon: np.ndarray, ratio: float, more: float) -> None:
    assert cv2.contourArea(grow(polygon, ratio + more)) > cv2.contourArea(grow(polygon, ratio))


def test_a_line_without_an_area_is_left_as_it_is() -> None:
    assert np.ptp(grow(np.array([[5, 5], [9, 5], [9, 5], [5, 5]], np.float32), 2.0), axis=0).tolist() == [4, 0]


@given(st.permutations(range(4)), rectangles)
def test_corners_come_clockwise_from_the_upper_left_whatever_their_order_was(order: list[int], polygon: np.ndarray) -> None:
    first = clockwise(polygon)
    np.testing.assert_array_equal(clockwise(polygon[list(order)])[:, 0].sum(), first[:, 0].sum())
    turns = [np.cross(*(np.append(first[(i + 1 + j) % 4] - first[(i + j) % 4], 0) for j in (0, 1)))[2] for i in range(4)]
    assert all(turn > 0 for turn in turns), "with y downwards, clockwise turns are positive"


def test_the_smallest_rectangle_lies_as_its_points_do() -> None:
    corners, short_px = smallest_rectangle(rectangle(100, 60, 80, 20, 30))
    np.testing.assert_allclose(corners, clockwise(rectangle(100, 60, 80, 20, 30)), atol=0.1)
    assert short_px == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize("score_mode", ["fast", "slow"])
def test_each_bar_of_text_gets_a_box_around_it_in_the_pictures_own_pixels(score_mode: str) -> None:
    bars = [rectangle(60, 30, 80, 10), rectangle(150, 80, 120, 12, 15)]
    boxes = TextBoxes(score_mode=score_mode)(map_of(*bars), 512, 384)
    assert boxes.shape == (2, 4, 2)
    by_height = sorted(boxes, key=lambda box: box[:, 1].mean())
    for box, bar in zip(by_height, bars, strict=True):
        outline = box.reshape(-1, 1, 2)
        assert all(cv2.pointPolygonTest(outline, tuple(map(float, point)), True) > 0 for point in bar * [2, 3])
        assert abs(box.mean(axis=0) - bar.mean(axis=0) * [2, 3]).max() < 4


def test_no_corner_lies_outside_of_the_picture() -> None:
    boxes = TextBoxes()(map_of(rectangle(128, 64, 300, 140)), 256, 128)
    assert boxes.min() >= 0
    assert (boxes.max(axis=(0, 1)) <= [255, 127]).all()


def test_an_empty_map_faint_text_and_specks_have_no_box() -> None:
    find = TextBoxes()
    for probabilities in (map_of(), map_of(rectangle(60, 30, 80, 10), value=0.4), map_of(rectangle(60, 30, 2, 2))):
        assert find(probabilities, 256, 128).shape == (0, 4, 2)


def test_a_curved_line_is_found_by_its_outline_and_not_by_its_rectangle() -> None:
    curved = np.zeros((128, 256), np.float32)
    cv2.ellipse(curved, (128, 90), (110, 50), 0, 200, 340, 1.0, 6)
    assert len(TextBoxes(score_mode="slow")(curved, 256, 128)) == 1
    assert len(TextBoxes(score_mode="fast")(curved, 256, 128)) == 0


def test_the_average_is_taken_within_the_polygon_alone() -> None:
    probabilities = np.zeros((10, 10), np.float32)
    probabilities[2:5, 2:5] = 0.5
    assert mean_within(probabilities, np.array([[2, 2], [4, 2], [4, 4], [2, 4]], np.float32)) == pytest.approx(0.5)
    assert mean_within(probabilities, np.array([[6, 6], [8, 6], [8, 8], [6, 8]], np.float32)) == 0


@pytest.mark.parametrize(
    "settings", [{"thresh": 2}, {"box_thresh": "0.5"}, {"unclip_ratio": -1}, {"score_mode": "exact"}, {"thresh": True}]
)
def test_settings_that_cannot_be_used_are_named(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        TextBoxes(**settings)  # type: ignore[arg-type]


def test_a_missing_pyclipper_is_told_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyclipper", None)
    with pytest.raises(MissingDependency, match=r"pip install pyclipper"):
        grow(rectangle(60, 30, 80, 10), 1.5)

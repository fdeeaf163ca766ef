import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hubserve.vision.ocr import reading_order


def box(left: float, top: float, width: float = 40, height: float = 10) -> np.ndarray:
    return np.array([[left, top], [left + width, top], [left + width, top + height], [left, top + height]], np.float32)


places = st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(1, 200), st.integers(1, 60))


@given(st.lists(places, max_size=12), st.randoms(use_true_random=False))
def test_the_order_that_boxes_come_in_makes_no_difference(boxes: list[tuple[int, ...]], random: object) -> None:
    shuffled = boxes[:]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    orders = []
    for listed in (boxes, shuffled):
        array = np.array([box(*each) for each in listed], np.float32).reshape(-1, 4, 2)
        order = reading_order(array)
        assert sorted(order) == list(range(len(listed)))
        orders.append([listed[number] for number in order])
    assert orders[0] == orders[1]


def test_lines_are_read_from_top_to_bottom_and_from_left_to_right() -> None:
    boxes = np.array([box(200, 13), box(0, 30), box(0, 10), box(100, 8), box(100, 33)])
    assert reading_order(boxes) == [2, 3, 0, 1, 4]


def test_a_small_word_beside_a_high_one_is_not_drawn_into_the_line_below() -> None:
    boxes = np.array([box(0, 0, height=60), box(100, 5, height=10), box(100, 45, height=10)])
    assert reading_order(boxes) == [1, 0, 2]


def test_no_boxes_have_no_order() -> None:
    assert reading_order(np.zeros((0, 4, 2), np.float32)) == []

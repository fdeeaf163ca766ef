import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hubserve.vision.ocr import AnglePreprocess, line_batches
from hubserve.vision.ocr.lines import WIDTHS_PX, bucket_of

crops_of_any_size = st.lists(
    st.tuples(st.integers(1, 60), st.integers(1, 3000)).map(lambda size: np.full((*size, 3), 255, np.uint8)), max_size=8
)


@given(crops_of_any_size, st.integers(1, 4))
def test_each_line_is_read_once_in_one_of_few_shapes(crops: list[np.ndarray], batch_size: int) -> None:
    batches = list(line_batches(crops, batch_size))
    assert sorted(number for batch in batches for number in batch.numbers) == list(range(len(crops)))
    for numbers, array in batches:
        assert len(numbers) == len(array)
        assert len(numbers) == 1 or len(numbers) * array.shape[3] <= batch_size * 320
        assert array.dtype == np.float32
        assert array.shape[1:3] == (3, 48)
        assert array.shape[3] in WIDTHS_PX
        assert {bucket_of(crops[number]) for number in numbers} == {array.shape[3]}


def test_a_line_is_scaled_to_the_height_normalised_and_filled_up_with_zeros() -> None:
    ((_, array),) = line_batches([np.full((24, 100, 3), 255, np.uint8)], 6)
    assert array.shape == (1, 3, 48, 320)
    assert (array[..., :200] == 1).all()
    assert (array[..., 200:] == 0).all()


def test_a_line_that_is_too_long_is_squeezed_into_the_widest_shape() -> None:
    ((_, array),) = line_batches([np.zeros((10, 5000, 3), np.uint8)], 6)
    assert array.shape[3] == WIDTHS_PX[-1]
    assert (array == -1).all()


def test_the_angle_network_gets_one_shape_whatever_the_lines_are() -> None:
    crops = [np.zeros((48, 20, 3), np.uint8), np.zeros((10, 900, 3), np.uint8)]
    assert AnglePreprocess()(crops).shape == (2, 3, 48, 192)

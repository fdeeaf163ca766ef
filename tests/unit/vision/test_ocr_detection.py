import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import ConfigError, InvalidInput
from hubserve.vision.ocr import DetectionPreprocess

lengths = st.integers(1, 12000)
limits = st.integers(32, 4000)


@given(lengths, lengths, limits, st.sampled_from(["max", "min"]))
def test_the_detector_sees_multiples_of_32_that_fit_into_memory(width: int, height: int, limit: int, limit_type: str) -> None:
    seen = DetectionPreprocess(limit, limit_type).size_of(width, height)
    assert all(length % 32 == 0 and 32 <= length <= 4000 for length in seen)
    assert seen[0] * seen[1] <= 4_000_000 * 1.3, "rounding to multiples of 32 adds a little"


@given(lengths, lengths, limits)
def test_a_longer_side_is_scaled_to_the_limit_and_no_picture_is_enlarged(width: int, height: int, limit: int) -> None:
    seen = DetectionPreprocess(limit).size_of(width, height)
    assert max(seen) <= limit + 16
    assert all(after <= max(32, before + 16) for before, after in zip((width, height), seen, strict=True))


@given(st.integers(32, 700), st.integers(32, 700))
def test_the_shorter_side_is_scaled_up_where_a_least_length_is_asked_for(width: int, height: int) -> None:
    assert min(DetectionPreprocess(736, "min").size_of(width, height)) == 736 or max(width, height) > 5 * min(width, height)


def test_values_are_normalised_in_the_order_blue_green_red() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (64, 96, 3), np.uint8)
    expected = (picture.astype(np.float32) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    prepared = DetectionPreprocess()(picture)
    assert (prepared.dtype, prepared.shape) == (np.float32, (3, 64, 96))
    np.testing.assert_allclose(prepared, expected.transpose(2, 0, 1), atol=1e-5)


@pytest.mark.parametrize("picture", [np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4, 3), np.float32), None])
def test_what_is_no_picture_is_refused(picture: object) -> None:
    with pytest.raises(InvalidInput):
        DetectionPreprocess()(picture)  # type: ignore[arg-type]


@pytest.mark.parametrize(("limit", "limit_type"), [(0, "max"), (5000, "max"), ("960", "max"), (960, "longest")])
def test_settings_that_cannot_be_used_are_named(limit: object, limit_type: str) -> None:
    with pytest.raises(ConfigError, match="limit"):
        DetectionPreprocess(limit, limit_type)  # type: ignore[arg-type]

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubserve.errors import ConfigError, InvalidInput
from hubserve.vision import ClassificationPreprocess, create_operators
from tests.examples import examples
from tests.unit.vision import pictures
from tests.unit.vision.test_operators import picture_of


def composed(resize_short, crop_size, normalize, to_chw, **values):
    operators = [{"ToRGB": None}, {"ResizeImage": {"resize_short": resize_short}}, {"CropImage": {"size": crop_size}}]
    operators += [{"NormalizeImage": values}] if normalize else []
    return create_operators(operators + ([{"ToCHWImage": None}] if to_chw else []))


@given(
    width=st.integers(1, 120),
    height=st.integers(1, 120),
    sizes=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    normalize=st.booleans(),
    to_chw=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=examples(200))
def test_the_fused_path_gives_what_the_operators_give_bit_for_bit(width, height, sizes, normalize, to_chw, seed):
    image = picture_of(width, height, seed)
    short, crop = max(sizes), min(sizes)
    fused = ClassificationPreprocess(short, crop, normalize, to_chw)(image)
    expected = composed(short, crop, normalize, to_chw)(image)
    assert (fused.dtype, fused.shape) == (np.float32 if normalize else np.uint8, (3, crop, crop) if to_chw else (crop, crop, 3))
    assert fused.flags.c_contiguous
    np.testing.assert_array_equal(fused, expected)


@pytest.mark.parametrize(("short", "crop"), [(256, 224), (384, 384)])
def test_a_photo_at_the_sizes_of_real_models(short, crop):
    fused = ClassificationPreprocess(short, crop)(pictures.cat())
    np.testing.assert_array_equal(fused, composed(short, crop, True, True)(pictures.cat()))


def test_other_means_and_scales_are_used():
    values = {"scale": "1.0/128.0", "mean": [0.5, 0.25, 1.0], "std": [0.5, 2.0, 0.125]}
    fused = ClassificationPreprocess(40, 32, **values)(pictures.cat())
    np.testing.assert_array_equal(fused, composed(40, 32, True, True, **values)(pictures.cat()))
    assert np.abs(fused - ClassificationPreprocess(40, 32)(pictures.cat())).max() > 1


def test_the_picture_is_left_as_it_was_and_results_do_not_share_memory():
    image, preprocess = pictures.cat(), ClassificationPreprocess()
    first = preprocess(image)
    kept = first.copy()
    preprocess(255 - image)
    np.testing.assert_array_equal(image, pictures.cat())
    np.testing.assert_array_equal(first, kept)


def test_a_read_only_picture_and_a_view_are_taken():
    image = pictures.cat()
    image.flags.writeable = False
    preprocess = ClassificationPreprocess()
    view = np.asfortranarray(image)[::1, ::-1]
    np.testing.assert_array_equal(preprocess(view), preprocess(np.ascontiguousarray(view)))


def test_a_crop_larger_than_the_short_side_is_refused_at_once():
    with pytest.raises(ConfigError, match="crop_size 384 is larger than resize_short 256"):
        ClassificationPreprocess(crop_size=384)


@pytest.mark.parametrize(
    "image",
    [np.zeros((9, 9, 3), np.float32), np.zeros((9, 9, 1), np.uint8), np.zeros((3, 0, 3), np.uint8), np.zeros((9, 9), np.uint8), "cat.jpg"],
)
def test_what_is_no_picture_is_refused(image):
    with pytest.raises(InvalidInput, match=r"an image is an array|a picture is uint8"):
        ClassificationPreprocess()(image)


def test_a_line_of_pixels_is_refused():
    with pytest.raises(InvalidInput, match="too long and thin"):
        ClassificationPreprocess()(np.zeros((50000, 1, 3), np.uint8))

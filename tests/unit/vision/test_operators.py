import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import ConfigError, InvalidInput
from hubserve.vision import create_operators, encode_picture
from hubserve.vision.normalize import parse_scale
from hubserve.vision.operators import CropImage, DecodeImage, NormalizeImage, ResizeImage, ToCHWImage, ToRGB
from tests.unit.vision import pictures

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CLASSIFIER = [
    {"ResizeImage": {"resize_short": 256}},
    {"CropImage": {"size": 224}},
    {"NormalizeImage": {"scale": 0.00392157, "mean": MEAN, "std": STD, "order": "", "channel_num": 3}},
    {"ToCHWImage": None},
]
sides = st.integers(1, 90)


def picture_of(width, height, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def normalized(image, scale, shape=(1, 1, 3)):
    """The formula, step by step in float32."""
    scaled = image.astype("float32") * np.float32(scale)
    return (scaled - np.array(MEAN, "float32").reshape(shape)) / np.array(STD, "float32").reshape(shape)


def bilinear(image, width, height):
    """Interpolate in float64, pixel centres at half, edges repeated."""

    def positions(new, old):
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        low = np.floor(at).astype(int)
        return low, np.minimum(low + 1, old - 1), at - low

    top, bottom, down = positions(height, image.shape[0])
    left, right, across = positions(width, image.shape[1])
    down, across = down[:, None, None], across[None, :, None]
    upper = image[top][:, left] * (1 - across) + image[top][:, right] * across
    lower = image[bottom][:, left] * (1 - across) + image[bottom][:, right] * across
    return upper * (1 - down) + lower * down


@given(width=sides, height=sides, short=st.integers(1, 64))
def test_the_short_side_gets_the_wanted_length_and_the_long_side_follows(width, height, short):
    resized = ResizeImage(resize_short=short)(picture_of(width, height))
    percent = short / min(width, height)
    assert resized.shape == (int(round(height * percent)), int(round(width * percent)), 3)  # noqa: RUF046 - as the reference is written
    assert min(resized.shape[:2]) == short


@given(width=sides, height=sides, new_width=st.integers(1, 64), new_height=st.integers(1, 64))
def test_resizing_is_bilinear(width, height, new_width, new_height):
    image = picture_of(width, height)
    resized = ResizeImage(size=[new_width, new_height])(image)
    assert resized.dtype == np.uint8
    assert np.abs(resized - bilinear(image, new_width, new_height)).max() <= 2  # OpenCV interpolates bytes with 11-bit weights


def test_the_interpolation_can_be_chosen():
    image = picture_of(40, 30)
    resized = {name: ResizeImage(size=20, interpolation=name)(image) for name in ("nearest", "bilinear", "area", "bicubic", "lanczos")}
    np.testing.assert_array_equal(resized["nearest"], cv2.resize(image, (20, 20), interpolation=cv2.INTER_NEAREST))
    np.testing.assert_array_equal(resized["bicubic"], cv2.resize(image, (20, 20), interpolation=cv2.INTER_CUBIC))
    assert len({each.tobytes() for each in resized.values()}) == 5


def test_one_channel_stays_a_dimension():
    assert ResizeImage(size=8)(np.zeros((4, 4, 1), np.uint8)).shape == (8, 8, 1)


def test_a_line_of_pixels_is_not_blown_up_to_gigabytes():
    with pytest.raises(InvalidInput, match="50000 x 1 is too long and thin: .* 12800000 x 256, more than"):
        ResizeImage(resize_short=256)(np.zeros((1, 50000, 3), np.uint8))


@given(width=sides, height=sides, crop=st.tuples(st.integers(1, 60), st.integers(1, 60)))
def test_the_crop_is_in_the_centre_and_a_larger_one_is_an_error(width, height, crop):
    image = picture_of(width, height)
    operator = CropImage(crop)
    if crop[0] > width or crop[1] > height:
        with pytest.raises(InvalidInput, match=f"cannot crop {crop[0]} x {crop[1]} out of an image of {width} x {height}"):
            operator(image)
        return
    left, top = (width - crop[0]) // 2, (height - crop[1]) // 2
    np.testing.assert_array_equal(operator(image), image[top : top + crop[1], left : left + crop[0]])


@given(width=sides, height=sides, dtype=st.sampled_from(["uint8", "float32", "int16"]), chw=st.booleans(), seed=st.integers(0, 99))
def test_normalising_gives_the_formulas_result_bit_for_bit(width, height, dtype, chw, seed):
    image = picture_of(width, height, seed).astype(dtype)
    image = image.transpose(2, 0, 1) if chw else image
    result = NormalizeImage(scale="1.0/255.0", mean=MEAN, std=STD, order="chw" if chw else "")(image)
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, normalized(image, 1.0 / 255.0, (3, 1, 1) if chw else (1, 1, 3)))


def test_a_view_is_normalised_like_a_copy():
    view = picture_of(60, 50)[5:40, 10:50, ::-1]
    np.testing.assert_array_equal(NormalizeImage(mean=MEAN, std=STD)(view), normalized(view, 1 / 255))


@pytest.mark.parametrize(("order", "shape"), [("", (10, 12, 4)), ("chw", (4, 10, 12))])
def test_half_precision_with_a_fourth_channel_of_zeros(order, shape):
    image = picture_of(12, 10)
    result = NormalizeImage(order=order, output_fp16=True, channel_num=4)(image.transpose(2, 0, 1) if order else image)
    assert (result.dtype, result.shape) == (np.float16, shape)
    fourth = result[3] if order else result[:, :, 3]
    assert not fourth.any()
    assert result.any()


@pytest.mark.parametrize(
    ("scale", "value"),
    [
        (None, 1 / 255),
        (1, 1.0),
        (0.5, 0.5),
        ("1.0/255.0", 1 / 255),
        ("1./255.", 1 / 255),
        (" 1 / 255 ", 1 / 255),
        (".5", 0.5),
        ("2e-3", 0.002),
    ],
)
def test_a_scale_is_a_number_or_a_fraction(scale, value):
    assert parse_scale(scale) == value


@pytest.mark.parametrize(
    "scale",
    [
        "__import__('os').getpid()",
        "1/0",
        "0",
        0,
        -1,
        "1//255",
        "1/255/2",
        "",
        "1e999",
        "nan",
        float("nan"),
        True,
        [1],
        "1+1",
        "9" * 1000,
        10**400,
        1e30,
        1e-30,
    ],
)
def test_any_other_scale_is_an_error_and_never_evaluated(scale):
    with pytest.raises(ConfigError, match="scale must be a number above 0 .*, or text such as '1.0/255.0'"):
        NormalizeImage(scale=scale)


def test_colours_are_swapped_and_channels_put_first_in_contiguous_arrays():
    image = picture_of(12, 10)
    np.testing.assert_array_equal(ToRGB()(image), image[:, :, ::-1])
    np.testing.assert_array_equal(ToCHWImage()(image), image.transpose(2, 0, 1))
    assert ToRGB()(image).flags.c_contiguous
    assert ToCHWImage()(image).flags.c_contiguous


def test_decoding_gives_rgb_or_bgr_and_channels_first_or_last():
    encoded = encode_picture(pictures.cat(), ".png")
    np.testing.assert_array_equal(DecodeImage()(encoded), pictures.cat()[:, :, ::-1])
    np.testing.assert_array_equal(DecodeImage(to_rgb=False)(encoded), pictures.cat())
    np.testing.assert_array_equal(DecodeImage(channel_first=True)(encoded), pictures.cat()[:, :, ::-1].transpose(2, 0, 1))


def test_a_list_as_paddleclas_writes_it_prepares_a_picture():
    operators = create_operators([{"DecodeImage": {"to_rgb": True}}, *CLASSIFIER])
    result = operators(encode_picture(pictures.cat(), ".png"))
    resized = cv2.resize(pictures.cat()[:, :, ::-1], (385, 256))
    np.testing.assert_array_equal(result, normalized(resized[16:240, 80:304], 0.00392157).transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("described", "says"),
    [
        ([{"ResizeImages": {"size": 3}}], "operator 1: unknown operator 'ResizeImages'; did you mean 'ResizeImage'"),
        ([{"ToCHWImage": None}, {"Blur": None}], "operator 2: unknown operator 'Blur'; Known are: DecodeImage, ToRGB"),
        ([{3: None}], "unknown operator 3"),
        (
            [{"ResizeImage": {"resize_shrt": 256}}],
            r"operator 1 \(ResizeImage\): unknown parameter 'resize_shrt'; did you mean 'resize_short'",
        ),
        ([{"ToCHWImage": {"size": 1}}], "unknown parameter 'size'; Known are: none"),
        ([{"CropImage": None}], "parameter 'size' is missing"),
        ([{"CropImage": [224]}], "parameters must be an object or null"),
        ([{"CropImage": {"size": 224}, "ToCHWImage": None}], "must be one name and its parameters"),
        (["ToCHWImage"], "must be one name and its parameters"),
        ({"ToCHWImage": None}, "operators are a list"),
        ([{"ResizeImage": None}], "needs 'resize_short' or 'size'"),
        ([{"ResizeImage": {"resize_short": 0}}], "resize_short must be a whole number from 1 up, got 0"),
        ([{"ResizeImage": {"resize_short": "256"}}], "whole number from 1 up, got '256'"),
        ([{"ResizeImage": {"size": [1, 2, 3]}}], r"one number or \[width, height\]"),
        ([{"ResizeImage": {"size": 5, "interpolation": "bicubik"}}], "unknown interpolation 'bicubik'; did you mean 'bicubic'"),
        ([{"CropImage": {"size": [2, True]}}], "whole number from 1 up, got True"),
        ([{"NormalizeImage": {"order": "cwh"}}], "order must be 'chw', 'hwc' or ''"),
        ([{"NormalizeImage": {"channel_num": 5}}], "channel_num must be 3 or 4"),
        ([{"NormalizeImage": {"mean": [1, 2]}}], "mean must be a list of 3 numbers"),
        ([{"NormalizeImage": {"std": [1, 0, 1]}}], "std must not hold 0"),
        ([{"NormalizeImage": {"std": [1, 1e-60, 1]}}], "std must not hold 0"),
        ([{"NormalizeImage": {"mean": [1, float("nan"), 1]}}], "mean must be a list of 3 numbers"),
        ([{"NormalizeImage": {"mean": [10**400, 0, 0]}}], "mean must be a list of 3 numbers up to 1e\\+12"),
        ([{"NormalizeImage": {"mean": "0.5"}}], "mean must be a list of 3 numbers"),
    ],
)
def test_a_wrong_list_says_what_is_wrong_and_what_was_meant(described, says):
    with pytest.raises(ConfigError, match=says):
        create_operators(described)


@pytest.mark.parametrize("operator", [ToRGB(), ToCHWImage(), CropImage(2), ResizeImage(size=2), NormalizeImage()])
@pytest.mark.parametrize("image", [np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), b"picture", None])
def test_what_is_no_image_is_refused_by_every_operator(operator, image):
    with pytest.raises(InvalidInput, match="an image is an array"):
        operator(image)


@pytest.mark.parametrize("operator", [ToRGB(), NormalizeImage()])
def test_three_channels_are_needed(operator):
    with pytest.raises(InvalidInput, match=r"3 channels.*\[4, 4, 1\]"):
        operator(np.zeros((4, 4, 1), np.uint8))

import io
import struct
import subprocess
import sys

import numpy as np
import pytest
import skimage.data
from PIL import Image

from hubserve.errors import InvalidInput
from hubserve.vision import decode_picture, encode_picture
from tests.unit.vision import pictures


@pytest.mark.parametrize("extension", [".png", ".bmp"])
def test_a_lossless_format_gives_the_same_pixels_back(extension):
    np.testing.assert_array_equal(decode_picture(encode_picture(pictures.cat(), extension)), pictures.cat())


@pytest.mark.parametrize("extension", [".jpg", ".jpeg", ".webp"])
def test_a_lossy_format_gives_nearly_the_same_pixels_back_and_quality_counts(extension):
    good, poor = (encode_picture(pictures.cat(), extension, quality) for quality in (95, 20))
    assert len(poor) < len(good) / 2
    assert np.abs(decode_picture(good).astype(int) - pictures.cat()).mean() < 3


def test_colours_come_in_the_order_blue_green_red():
    red = Image.new("RGB", (8, 8), (255, 0, 0))
    stored = io.BytesIO()
    red.save(stored, "PNG")
    assert decode_picture(stored.getvalue())[0, 0].tolist() == [0, 0, 255]


def test_a_gif_of_several_frames_gives_its_first():
    frames = [Image.new("P", (20, 10), colour) for colour in (3, 7)]
    for frame in frames:
        frame.putpalette([value for colour in range(256) for value in (colour * 30 % 256, 10, 20)])
    stored = io.BytesIO()
    frames[0].save(stored, "GIF", save_all=True, append_images=frames[1:])
    image = decode_picture(stored.getvalue())
    assert image.shape == (10, 20, 3)
    assert image[0, 0].tolist() == [20, 10, 90]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "I;16"])
def test_every_colour_mode_becomes_three_channels_of_bytes(mode):
    stored = io.BytesIO()
    Image.fromarray(skimage.data.camera()).convert("I" if mode == "I;16" else mode).convert(mode).save(stored, "PNG")
    image = decode_picture(stored.getvalue())
    assert (image.shape, image.dtype) == ((512, 512, 3), np.uint8)


def test_a_photo_taken_on_its_side_is_turned_upright():
    photo, exif = Image.fromarray(skimage.data.chelsea()), Image.Exif()
    exif[0x0112] = 6  # turn clockwise
    stored = io.BytesIO()
    photo.save(stored, "JPEG", exif=exif, quality=95)
    turned = decode_picture(stored.getvalue())
    assert turned.shape == (451, 300, 3)
    assert np.abs(turned.astype(int) - np.rot90(pictures.cat(), -1)).mean() < 3


@pytest.mark.parametrize("container", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8).data])
def test_any_bytes_like_object_is_decoded(container):
    encoded = encode_picture(pictures.cat(), ".png")
    np.testing.assert_array_equal(decode_picture(container(encoded)), pictures.cat())


@pytest.mark.parametrize("kept", [0.02, 0.5, 0.999])
@pytest.mark.parametrize("extension", [".jpg", ".png", ".bmp", ".webp"])
def test_a_picture_that_was_cut_short_is_refused_and_not_filled_with_grey(extension, kept):
    encoded = encode_picture(pictures.cat(), extension)
    with pytest.raises(InvalidInput, match="cut short|broken"):
        decode_picture(encoded[: int(len(encoded) * kept)])


def test_a_jpeg_with_something_after_its_end_is_decoded():
    assert decode_picture(encode_picture(pictures.cat()) + b"\0" * 500).shape == (300, 451, 3)


def test_a_gif_whose_frame_is_larger_than_its_header_says_is_refused():
    frame = b"," + struct.pack("<HHHHB", 0, 0, 60000, 60000, 0) + b"\x02\x02\x44\x01\x00;"
    with pytest.raises(InvalidInput, match="cannot be decoded"):
        decode_picture(pictures.gif_of(1, 1)[:-1] + frame)


@pytest.mark.parametrize("data", [b"", b"\0" * 1000, b"this is text"])
def test_what_is_no_picture_is_refused(data):
    with pytest.raises(InvalidInput, match="picture"):
        decode_picture(data)


@pytest.mark.parametrize(
    ("array", "extension", "says"),
    [
        (np.zeros((4, 4, 3), np.float32), ".jpg", "got float32"),
        (np.zeros((4, 4, 2), np.uint8), ".jpg", r"\[4, 4, 2\]"),
        (np.zeros((0, 4, 3), np.uint8), ".jpg", r"\[0, 4, 3\]"),
        (np.zeros((4, 4, 3), np.uint8), ".tiff", "use one of .jpg"),
        (np.zeros((1, 70000), np.uint8), ".jpg", "70000 x 1 picture as .jpg"),
    ],
)
def test_what_cannot_be_encoded_is_refused(array, extension, says):
    with pytest.raises(InvalidInput, match=says):
        encode_picture(array, extension)


def test_opencv_is_not_imported_before_a_picture_comes_and_its_lack_is_explained():
    code = (
        "import sys, hubserve.vision as vision\n"
        "assert 'cv2' not in sys.modules and 'PIL' not in sys.modules\n"
        "sys.modules['cv2'] = None  # as if it were not installed\n"
        "try: vision.decode_picture(b'x')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("MissingDependency cannot work on pictures: OpenCV cannot be imported")
    assert "pip install" in done.stdout

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import InvalidInput, TooLarge
from hubserve.vision import MAX_PIXELS, decode_picture, encode_picture, read_header
from tests.unit.vision import pictures

CRAFTED = {
    "image/png": [pictures.png_of],
    "image/jpeg": [pictures.jpeg_of],
    "image/gif": [pictures.gif_of],
    "image/bmp": [pictures.bmp_of, pictures.old_bmp_of],
    "image/webp": [pictures.webp_of, pictures.lossless_webp_of, pictures.lossy_webp_of],
}
CASES = [(media_type, make) for media_type, makers in CRAFTED.items() for make in makers]


def outcome(data):
    try:
        return read_header(data)[1:]
    except InvalidInput:
        return "refused"


@pytest.mark.parametrize(("media_type", "make"), CASES)
def test_a_header_gives_type_and_size(media_type, make):
    assert read_header(make(320, 200)) == (media_type, 320, 200)


@pytest.mark.parametrize("make", [make for _, make in CASES])
def test_a_picture_that_announces_too_many_pixels_is_refused_before_it_is_decoded(make, monkeypatch):
    decoded = []
    monkeypatch.setattr(cv2, "imdecode", lambda *_: decoded.append(1))
    width, height = (60000, 60000) if make not in (pictures.lossless_webp_of, pictures.lossy_webp_of) else (16000, 16000)
    with pytest.raises(TooLarge, match=rf"{width} x {height} pixels; at most {MAX_PIXELS}"):
        decode_picture(make(width, height))
    assert decoded == []


@pytest.mark.parametrize("make", [pictures.webp_of, pictures.bmp_of, pictures.png_of])
def test_the_largest_sizes_that_a_header_can_hold_do_not_overflow(make):
    largest = 1 << 24 if make is pictures.webp_of else (1 << 31) - 1
    with pytest.raises(TooLarge, match=f"{largest} x {largest}"):
        read_header(make(largest, largest))


def test_the_limit_is_exact_and_can_be_lowered():
    picture = encode_picture(pictures.cat())
    assert decode_picture(picture, max_pixels=451 * 300).shape == (300, 451, 3)
    with pytest.raises(TooLarge, match="at most 135299 pixels"):
        decode_picture(picture, max_pixels=451 * 300 - 1)


def test_a_bmp_with_its_first_row_on_top_has_a_positive_height():
    assert read_header(pictures.bmp_of(32, -20)).height == 20


def test_the_display_scale_of_a_lossy_webp_is_not_part_of_its_size():
    assert read_header(pictures.lossy_webp_of(320 | 1 << 14, 200 | 3 << 14))[1:] == (320, 200)


@pytest.mark.parametrize("make", [pictures.png_of, pictures.jpeg_of, pictures.gif_of, pictures.bmp_of])
def test_a_picture_without_pixels_is_refused(make):
    with pytest.raises(InvalidInput, match="no pixels: its header says 0 x 5"):
        read_header(make(0, 5))


def test_a_thumbnail_inside_a_jpeg_is_not_taken_for_the_picture():
    thumbnail = pictures.jpeg_of(16, 12)
    segment = b"\xff\xe1" + (2 + len(thumbnail)).to_bytes(2, "big") + thumbnail
    assert read_header(pictures.jpeg_of(640, 480, before=segment))[1:] == (640, 480)
    with pytest.raises(InvalidInput, match="its end is missing"):
        read_header(pictures.jpeg_of(640, 480, before=segment, end=b""))


def test_padding_and_stray_bytes_between_jpeg_segments_are_stepped_over_as_decoders_do():
    assert read_header(pictures.jpeg_of(640, 480, before=b"\xff\xff\xff\xe0\x00\x04ab" + b"stray\xff\x00"))[1:] == (640, 480)


@pytest.mark.parametrize("frame", [0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA])
def test_every_kind_of_jpeg_frame_is_measured(frame):
    assert read_header(pictures.jpeg_of(640, 480, frame=frame))[1:] == (640, 480)


@pytest.mark.parametrize("filler", [b"\xff", b"\x00", b"\xff\x00"])
def test_ten_megabytes_of_padding_before_a_jpegs_frame_are_stepped_over(filler):
    before = b"\xff\xe0\x00\x02" + filler * (10_000_000 // len(filler))
    assert read_header(pictures.jpeg_of(640, 480, before=before))[1:] == (640, 480)


@pytest.mark.parametrize("filler", [b"\xff\xe0\x00\x02", b"\xff\xd0", b"\xff\xe0\x00\x00"])
def test_a_jpeg_of_millions_of_empty_segments_is_given_up(filler):
    with pytest.raises(InvalidInput, match="no frame header"):
        read_header(pictures.jpeg_of(640, 480, before=filler * (10_000_000 // len(filler))))


@pytest.mark.parametrize(("data", "says"), [(b"", "empty"), (b"GIF", "not a picture"), (b"<html>" * 99, "594 bytes that are neither JPEG")])
def test_what_is_not_a_picture_is_refused(data, says):
    with pytest.raises(InvalidInput, match=says):
        read_header(data)


@pytest.mark.parametrize("make", [make for _, make in CASES])
@given(kept=st.floats(0, 0.999))
def test_any_beginning_of_a_header_is_an_answer_or_a_clear_error(make, kept):
    whole = make(320, 200)
    assert outcome(whole[: int(len(whole) * kept)]) in ((320, 200), "refused")


@given(start=st.sampled_from([make(320, 200)[:40] for _, make in CASES]), data=st.binary(max_size=200))
def test_any_bytes_after_a_signature_are_an_answer_or_a_clear_error(start, data):
    for signature_bytes in (2, 3, 6, 8, 16, 40):
        found = outcome(start[:signature_bytes] + data)
        assert found == "refused" or 1 <= found[0] * found[1] <= MAX_PIXELS

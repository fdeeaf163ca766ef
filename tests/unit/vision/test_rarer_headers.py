"""TIFF, JPEG 2000, AVIF, Netpbm and the other formats that few people send."""

import io
import struct

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from hubserve.errors import InvalidInput, TooLarge
from hubserve.vision import MAX_PIXELS, decode_picture, read_header
from tests.spellings import spellings
from tests.unit.vision import pictures

BGR = pictures.cat()[100:140, 150:210]
RGB = np.ascontiguousarray(BGR[:, :, ::-1])
GREY = cv2.cvtColor(BGR, cv2.COLOR_BGR2GRAY)


def by_opencv(extension, image=BGR):
    return bytes(cv2.imencode(extension, image)[1])


def by_pillow(form, mode="RGB", **options):
    stored = io.BytesIO()
    Image.fromarray(RGB).convert(mode).save(stored, form, **options)
    return stored.getvalue()


def by_tifffile(image=RGB, **options):
    stored = io.BytesIO()
    tifffile.imwrite(stored, image, photometric="rgb", **options)
    return stored.getvalue()


EXACT = {
    "tiff": by_opencv(".tiff"),
    "tiff of 16 bits": by_tifffile(RGB.astype(np.uint16) * 257),
    "tiff in big-endian order": by_tifffile(byteorder=">"),
    "big tiff": by_tifffile(bigtiff=True),
    "tiff in planes": by_tifffile(RGB.transpose(2, 0, 1).copy(), planarconfig="separate"),
    "tiff of two pages": by_tifffile(np.stack([RGB, 255 - RGB])),
    "tiff in CMYK": by_pillow("TIFF", "CMYK"),
    "tiff, LZW": by_pillow("TIFF", compression="tiff_lzw"),
    "jpeg 2000 codestream": by_pillow("JPEG2000", no_jp2=True),
    "jpeg 2000 with alpha": by_pillow("JPEG2000", "RGBA"),
    "ppm": by_opencv(".ppm"),
    "sun raster": by_opencv(".sr"),
}
NEAR = {
    "tiff, jpeg": by_pillow("TIFF", compression="jpeg"),
    "jpeg 2000": by_opencv(".jp2"),
    "avif": by_pillow("AVIF", quality=90),
    "avif with alpha": by_pillow("AVIF", "RGBA", quality=90),
    "radiance hdr": by_opencv(".hdr", (BGR / 255).astype(np.float32)),
    "jpeg in CMYK": by_pillow("JPEG", "CMYK"),
}
OTHER = {
    "tiff of one bit": by_pillow("TIFF", "1", compression="group4"),
    "tiff with a palette": by_pillow("TIFF", "P"),
    "tiff, grey": by_opencv(".tiff", GREY),
    "png of 16 bits": by_opencv(".png", GREY.astype(np.uint16) * 257),
    "jpeg 2000, grey": by_pillow("JPEG2000", "L"),
    "pgm": by_opencv(".pgm", GREY),
    "pbm": by_opencv(".pbm", GREY),
    "pam": by_opencv(".pam"),
    "pfm": by_opencv(".pfm", (BGR / 255).astype(np.float32)),
    "ppm of text": b"P3\n# made by hand\n3 2\n255\n" + b" ".join(b"%d" % value for value in range(18)) + b"\n",
    "pgm of 16 bits": b"P5 2 2 65535\n" + struct.pack(">4H", 0, 1000, 40000, 65535),
}
ALL = {**EXACT, **NEAR, **OTHER}


def as_opencv_reads(data):
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize("name", ALL)
def test_a_picture_is_what_opencv_reads_and_its_header_says_its_size(name):
    image = decode_picture(ALL[name])
    np.testing.assert_array_equal(image, as_opencv_reads(ALL[name]))
    assert read_header(ALL[name])[1:] == image.shape[1::-1]
    if name in EXACT:
        np.testing.assert_array_equal(image, BGR)
    elif name in NEAR:
        assert np.abs(image.astype(int) - BGR).mean() < 3


@pytest.mark.parametrize("name", [name for name in ALL if name not in ("tiff of two pages", "ppm of text")])
@pytest.mark.parametrize("kept", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_a_picture_that_was_cut_short_is_refused_and_not_filled_up(name, kept):
    with pytest.raises(InvalidInput):
        decode_picture(ALL[name][: int(len(ALL[name]) * kept)])


def jp2_codestream(width, height, components=3):
    sizes = struct.pack(">IIIIIIII", width, height, 0, 0, width, height, 0, 0)
    return b"\xff\x4f\xff\x51" + struct.pack(">HH", 38 + 3 * components, 0) + sizes + struct.pack(">H", components) + b"\xff\xd9"


def tiff(**values):
    tags = {256: 60000, 257: 60000, 258: 8, 277: 3, **{int(tag[1:]): value for tag, value in values.items()}}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0"


def box(kind, content):
    return struct.pack(">I4s", 8 + len(content), kind) + content


def avif(*sizes):
    properties = b"".join(box(b"ispe", struct.pack(">III", 0, *size)) for size in sizes)
    return box(b"ftyp", b"avif\0\0\0\0avifmif1") + box(b"meta", b"\0\0\0\0" + box(b"iprp", box(b"ipco", properties)))


@pytest.mark.parametrize(
    "data",
    [
        tiff(),
        tiff(_256=100, _257=100, _322=60000, _323=60000),
        tiff(_256=5000, _257=5000, _258=64, _277=4),
        jp2_codestream(60000, 60000),
        box(b"jP  ", b"\r\n\x87\n") + box(b"jp2c", jp2_codestream(60000, 60000)),
        jp2_codestream(5000, 5000, components=16000),
        avif((60000, 60000)),
        avif((100, 100), (60000, 60000)),
        b"P6\n60000 60000\n255\n",
        b"P6\n# " + b"x" * 50 + b"\n60000 # wide\n 60000 255\n",
        b"P7\nWIDTH 60000\nHEIGHT 60000\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n",
        b"P7\nWIDTH 5000\nHEIGHT 5000\nDEPTH 60000\nMAXVAL 255\nENDHDR\n",
        b"PF\n60000 60000\n-1.0\n",
        b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 60000 +X 60000\n",
        b"\x59\xa6\x6a\x95" + struct.pack(">IIIIIII", 60000, 60000, 24, 0, 1, 0, 0),
    ],
)
def test_a_header_that_announces_too_much_is_refused_before_anything_is_decoded(data, monkeypatch):
    decoded = []
    monkeypatch.setattr(cv2, "imdecode", lambda *_: decoded.append(1))
    with pytest.raises(TooLarge, match=f"at most {MAX_PIXELS} pixels"):
        decode_picture(data)
    assert decoded == []


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x76\x2f\x31\x01" + b"\0" * 60, "OpenEXR picture, which is not taken here: send it as"),
        (box(b"ftyp", b"heic\0\0\0\0mif1heic") + b"\0" * 60, "of the kind 'heic'.*send JPEG or PNG"),
        (box(b"ftyp", b"isom\0\0\0\0mp42") + b"\0" * 60, "of the kind 'isom'"),
        (box(b"ftyp", b"avis\0\0\0\0avifavis") + b"\0" * 60, "animated AVIF"),
        (avif(), "does not say how large it is"),
        (tiff(_256=0), "does not say how large it is"),
        (b"P6\n1 x\n255\n", "does not say how large it is"),
        (by_tifffile((RGB / 255).astype(np.float32)), "of a kind that OpenCV .* does not read here"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_to_send(data, says):
    with pytest.raises(InvalidInput, match=says):
        decode_picture(data)


@given(st.sampled_from(sorted(ALL)), st.integers(0, 120), st.binary(min_size=1, max_size=8))
def test_a_damaged_header_is_an_answer_or_a_clear_error(name, place, damage):
    data = bytearray(ALL[name])
    data[place : place + len(damage)] = damage
    try:
        found = read_header(bytes(data))
    except InvalidInput:
        return
    assert 1 <= found.width * found.height <= MAX_PIXELS


PNG = by_opencv(".png")


@pytest.mark.parametrize("spelling", spellings(b""))
def test_base64_of_a_picture_is_the_picture(spelling):
    text = spellings(PNG)[spelling]
    for sent in (text, text.encode(), memoryview(text.encode())):
        np.testing.assert_array_equal(decode_picture(sent), BGR)


def test_base64_of_something_else_is_refused():
    text = spellings(b"this is a text, and not a picture")["on one line"]
    for sent in (text, text.encode()):
        with pytest.raises(InvalidInput, match="this is not a picture"):
            decode_picture(sent)
    with pytest.raises(InvalidInput, match="character 1 of 10 is '%'"):
        decode_picture("%VBORw0KGg")
    with pytest.raises(InvalidInput, match="character 11 of 14 is '%'"):
        decode_picture(b"iVBORw0KGg%AAA")

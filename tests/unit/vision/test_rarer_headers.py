"""TIFF, JPEG 2000, AVIF, Netpbm and the other formats that few people send."""

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import InvalidInput, TooLarge
from hubserve.vision import MAX_PIXELS, decode_picture, read_header
from tests.spellings import spellings
from tests.unit.vision.rare_pictures import ALL, BGR, EXACT, NEAR, RGB, by_opencv, by_tifffile


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


JP2 = box(b"jP  ", b"\r\n\x87\n")


def sequence_header(width, height, still=True):
    """An AV1 sequence header with 16 bits for each length: of a still picture, or of a film with a clock and a decoder's model."""
    film = f"{1:032b}{1:032b}111{7:05b}{0:032b}{0:010b}1{1:05b}" + f"{0:012b}{9:05b}01{0:017b}1{0:04b}" * 2
    bits = "0001" + ("1" + f"{0:05b}" if still else "0" + "1" + film)
    bits += f"{15:04b}{15:04b}{width - 1:016b}{height - 1:016b}"
    bits += "0" * (-len(bits) % 8)
    content = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return b"\x12\x00" + b"\x0a" + bytes([len(content)]) + content


def avif(*sizes, frame=(60, 40), still=True):
    properties = b"".join(box(b"ispe", struct.pack(">III", 0, *size)) for size in sizes)
    frames = sequence_header(*frame, still=still)
    names = box(b"iinf", struct.pack(">IH", 0, 1) + box(b"infe", struct.pack(">IHH4s", 2 << 24, 1, 0, b"av01") + b"\0"))
    places = box(b"iloc", struct.pack(">IHHHHHHII", 1 << 24, 0x4400, 1, 1, 1, 0, 1, 0, len(frames)))
    content = box(b"iprp", box(b"ipco", properties)) + names + places + box(b"idat", frames)
    return box(b"ftyp", b"avif\0\0\0\0avifmif1") + box(b"meta", b"\0\0\0\0" + content)


@pytest.mark.parametrize(
    "data",
    [
        tiff(),
        tiff(_256=100, _257=100, _322=60000, _323=60000),
        tiff(_256=5000, _257=5000, _258=64, _277=4),
        jp2_codestream(60000, 60000),
        JP2 + box(b"jp2c", jp2_codestream(60000, 60000)),
        jp2_codestream(5000, 5000, components=16000),
        JP2 + box(b"jp2h", box(b"pclr", b"\0\1\xff")) + box(b"jp2c", jp2_codestream(9000, 9000, components=1)),
        avif((60000, 60000)),
        avif((100, 100), (60000, 60000)),
        avif((100, 100), frame=(60000, 60000)),
        avif((100, 100), frame=(60, 40), still=False),  # its frames may have any size that 16 bits can say
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


def test_the_size_of_an_avif_is_that_of_its_frames_whatever_its_container_says():
    assert read_header(avif((60, 40)))[1:] == (60, 40)
    lying = bytearray(NEAR["avif"])
    place = lying.index(b"ispe") + 8
    lying[place : place + 8] = struct.pack(">II", 8, 8)
    assert read_header(bytes(lying))[1:] == BGR.shape[1::-1]


@given(st.sampled_from(sorted(ALL)), st.integers(0, 500), st.binary(min_size=1, max_size=8))
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

"""What a picture's header says, read without decoding it.

A few hundred bytes can announce a picture of gigabytes. So the size is read here first, in the five formats that people send, and
what is not one of them is not handed to a decoder at all.
"""

import re
import struct
from typing import Callable, NamedTuple, Tuple

from hubserve.errors import InvalidInput, TooLarge

#: The most pixels that a picture may have, decoded or resized: 256 MiB as BGR.
MAX_PIXELS = 89478485

# A JPEG marker: 0xFF and a byte that is neither padding (0xFF) nor an escaped 0xFF of the image data (0x00).
_JPEG_MARKER = re.compile(rb"\xff([\x01-\xfe])", re.DOTALL)
_JPEG_WITHOUT_LENGTH = frozenset([0x01, *range(0xD0, 0xD9)])
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_DATA_OR_END = frozenset([0xD9, 0xDA])
_JPEG_END = b"\xff\xd9"
_MAX_JPEG_SEGMENTS = 4096


class PictureHeader(NamedTuple):
    """What the first bytes of a picture say.

    Attributes:
        media_type: such as ``image/jpeg``.
        width: in pixels, as stored: before any EXIF rotation.
        height: in pixels, as stored.
    """

    media_type: str
    width: int
    height: int


def read_header(data: bytes, max_pixels: int = MAX_PIXELS) -> PictureHeader:
    """Read the type and size of an encoded JPEG, PNG, GIF, BMP or WebP.

    Args:
        data: the whole encoded picture.
        max_pixels: the most pixels it may have.

    Raises:
        InvalidInput: it is empty, of another format, cut short, or has no pixels.
        TooLarge: it announces more than ``max_pixels``.
    """
    if not data:
        raise InvalidInput("the picture is empty (0 bytes): send the bytes of the file")
    media_type, size_of = _find_format(data)
    try:
        width, height = size_of(data)
    except (struct.error, IndexError):
        raise InvalidInput(f"the {media_type} picture ends within its header ({len(data)} bytes came): it was cut short") from None
    if width < 1 or height < 1:
        raise InvalidInput(f"the {media_type} picture has no pixels: its header says {width} x {height}")
    if width * height > max_pixels:
        raise TooLarge(f"the picture is {width} x {height} pixels; at most {max_pixels} pixels are accepted: send a smaller one")
    return PictureHeader(media_type, width, height)


def _find_format(data: bytes) -> Tuple[str, Callable[[bytes], Tuple[int, int]]]:
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg", _jpeg_size
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png", _png_size
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif", _gif_size
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "image/webp", _webp_size
    if data.startswith(b"BM"):
        return "image/bmp", _bmp_size
    raise InvalidInput(f"this is not a picture: {len(data)} bytes that are neither JPEG, PNG, GIF, BMP nor WebP")


def _jpeg_size(data: bytes) -> Tuple[int, int]:
    """Walk the segments to the frame header, as ITU-T T.81 annex B lays them out."""
    position = 2
    for _ in range(_MAX_JPEG_SEGMENTS):
        marker = _JPEG_MARKER.search(data, position)
        if marker is None or marker.group(1)[0] in _JPEG_DATA_OR_END:
            break
        kind, position = marker.group(1)[0], marker.end()
        if kind in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 3)
            # Old decoders fill what is missing with grey and say nothing. The image data cannot hold an end marker by chance.
            if data.rfind(_JPEG_END, position) == -1:
                raise InvalidInput(f"the image/jpeg picture was cut short: {len(data)} bytes came and its end is missing")
            return width, height
        if kind not in _JPEG_WITHOUT_LENGTH:
            position += struct.unpack_from(">H", data, position)[0]
    raise InvalidInput("the image/jpeg picture is broken or cut short: it has no frame header")


def _png_size(data: bytes) -> Tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    if data[12:16] != b"IHDR":
        raise InvalidInput("the image/png picture is broken: it does not begin with its header")
    if data.rfind(b"IEND") == -1:
        raise InvalidInput(f"the image/png picture was cut short: {len(data)} bytes came and its end is missing")
    return width, height


def _gif_size(data: bytes) -> Tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _bmp_size(data: bytes) -> Tuple[int, int]:
    (header_bytes,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header_bytes == 12 else "<ii", data, 18)
    return width, abs(height)  # a negative height says that the first row is the top one


def _webp_size(data: bytes) -> Tuple[int, int]:
    form = data[12:16]
    if form == b"VP8X":
        return 1 + int.from_bytes(_exactly(data, 24, 27), "little"), 1 + int.from_bytes(_exactly(data, 27, 30), "little")
    if form == b"VP8L":
        (packed,) = struct.unpack_from("<I", data, 21)
        return 1 + (packed & 0x3FFF), 1 + (packed >> 14 & 0x3FFF)
    if form == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF  # the upper two bits are a scale for display
    raise InvalidInput("the image/webp picture is broken: it holds no image")


def _exactly(data: bytes, start: int, stop: int) -> bytes:
    if len(data) < stop:
        raise IndexError(stop)
    return data[start:stop]

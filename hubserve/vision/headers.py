"""Read type and size from a picture's header, without decoding the picture.

A few hundred bytes can announce a picture of gigabytes. So the size is read here first, in every format that is taken
(:mod:`hubserve.vision.rarer_headers` has those that few people send), and anything else is not handed to a decoder at all.
"""

import re
import struct
from typing import Any, NamedTuple, Optional, Tuple

from hubserve.base64_text import decode_base64
from hubserve.errors import InvalidInput, TooLarge, shown
from hubserve.vision.rarer_headers import Costly, SizeOf, find_rarer

#: The most pixels that a picture may have, decoded or resized: 256 MiB as BGR.
MAX_PIXELS = 89478485

#: the formats that are taken, in words
FORMATS = "JPEG, PNG, GIF, BMP, WebP, TIFF, JPEG 2000, AVIF, PBM, PGM, PPM, PAM, PFM, Radiance HDR or Sun raster"

#: how base64 of a picture begins: no format but BMP begins with such characters
_TEXT = re.compile(rb"\s*(?:data:|[A-Za-z0-9+/_-]{8})", re.IGNORECASE)

# A JPEG marker: 0xFF and a byte that is neither padding (0xFF) nor an escaped 0xFF of the image data (0x00).
_JPEG_MARKER = re.compile(rb"\xff([\x01-\xfe])", re.DOTALL)
_JPEG_WITHOUT_LENGTH = frozenset([0x01, *range(0xD0, 0xD9)])
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_DATA_OR_END = frozenset([0xD9, 0xDA])
_JPEG_END = b"\xff\xd9"
_MAX_JPEG_SEGMENTS = 4096


class PictureHeader(NamedTuple):
    """Type and size, from a picture's first bytes.

    Attributes:
        media_type: such as ``image/jpeg``.
        width: in pixels, as stored: before any EXIF rotation.
        height: in pixels, as stored.
    """

    media_type: str
    width: int
    height: int


def read_header(data: bytes, max_pixels: int = MAX_PIXELS) -> PictureHeader:
    """Read the type and size of an encoded picture, in any of the formats that :data:`FORMATS` lists.

    Args:
        data: the whole encoded picture.
        max_pixels: the most pixels it may have.

    Raises:
        InvalidInput: it is empty, of another format, cut short, or has no pixels.
        TooLarge: it announces more than ``max_pixels``.
    """
    if not data:
        raise InvalidInput("the picture is empty (0 bytes): send the bytes of the file")
    found = _find_format(data)
    if found is None:
        raise InvalidInput(f"this is not a picture: {len(data)} bytes that are neither {FORMATS}, nor base64 of one")
    media_type, size_of = found
    try:
        size = size_of(data)
    except (struct.error, IndexError):
        raise InvalidInput(f"the {media_type} picture ends within its header ({len(data)} bytes came): it was cut short") from None
    width, height = size[:2]
    if width < 1 or height < 1:
        raise InvalidInput(f"the {media_type} picture has no pixels: its header says {width} x {height}")
    if width * height * (size.weight if isinstance(size, Costly) else 1) > max_pixels:
        raise TooLarge(_too_large(width, height, max_pixels))
    return PictureHeader(media_type, width, height)


def _too_large(width: int, height: int, max_pixels: int) -> str:
    why = "" if width * height > max_pixels else ", and fewer of pixels as large as this one's or of a tile as large"
    return f"the picture is {width} x {height} pixels; at most {max_pixels} pixels are accepted{why}: send a smaller one"


def picture_bytes(sent: Any) -> bytes:
    """Return the encoded picture that a client sent, as it is or as base64 in any of its spellings.

    Args:
        sent: any bytes-like object, or a text.

    Raises:
        InvalidInput: it is a text that is not base64.
    """
    if not isinstance(sent, str):
        raw = bytes(sent)
        if not _TEXT.match(raw) or _find_format(raw) is not None:
            return raw
        try:
            decoded = decode_base64(raw)
        except ValueError as error:
            raise InvalidInput(f"this is not a picture, and as a text it is not valid base64 of one: {error}") from None
        return decoded if _find_format(decoded) is not None else raw
    try:
        return decode_base64(sent)
    except ValueError as error:
        raise InvalidInput(f"{shown(sent, 40)!r} is not valid base64 of a picture: {error}") from None


def _find_format(data: bytes) -> Optional[Tuple[str, SizeOf]]:
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
    return find_rarer(data)


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

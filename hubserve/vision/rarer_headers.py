"""Read sizes from the headers of the rarer formats that OpenCV decodes: TIFF, JPEG 2000, AVIF, the Netpbm family, Radiance HDR, Sun raster.

Each function takes the whole encoded picture and returns width and height as stored. Where decoding may take more memory than the pixels
do, it returns :class:`Costly`.
"""

import re
import struct
from typing import Callable, Dict, NamedTuple, Optional, Tuple

from hubserve.errors import InvalidInput
from hubserve.vision.avif_header import avif_size, boxes

#: samples of a pixel of usual size: four of 16 bits
_USUAL_PIXEL_BYTES = 8
_MOST_TIFF_ENTRIES = 4096
#: TIFF type -> struct's letter, for the types in which sizes come
_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT = 256, 257, 258, 277, 322, 323
#: tags of the places of strips and tiles, and of their sizes
_PARTS = ((273, 279), (324, 325))
_J2K_START = b"\xff\x4f\xff\x51"
_J2K_END = b"\xff\xd9"
_JP2_START = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
_SUN_START = b"\x59\xa6\x6a\x95"
_EXR_START = b"\x76\x2f\x31\x01"
_NETPBM_KINDS = (b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"F", b"f")
_TIFF_STARTS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_HDR_STARTS = (b"#?RADIANCE", b"#?RGBE")
#: headers that are text must say the size within this
_TEXT_BYTES = 4096
_NUMBER = rb"(?:\s|#[^\n]*\n)+(\d{1,10})(?=\s|#)"
_NETPBM = re.compile(rb"P[1-6Ff]" + _NUMBER + _NUMBER)
_PAM = {name: re.compile(rb"\n" + name + rb"[ \t]+(\d{1,10})\s") for name in (b"WIDTH", b"HEIGHT", b"DEPTH")}
_HDR_SIZE = re.compile(rb"\n[-+]Y[ \t]+(\d{1,10})[ \t]+[-+]X[ \t]+(\d{1,10})\s")

SizeOf = Callable[[bytes], Tuple[int, ...]]


class Costly(NamedTuple):
    """A picture's size, and the memory of a pixel during decoding, as a multiple of a usual pixel's."""

    width: int
    height: int
    weight: int


def find_rarer(data: bytes) -> Optional[Tuple[str, SizeOf]]:
    """Return the media type of a picture in one of these formats, and the function that reads its size; None for anything else.

    Raises:
        InvalidInput: it is a known format that cannot be taken.
    """
    for starts, media_type, size_of in _STARTS:
        if data.startswith(starts):
            return media_type, size_of
    if data[4:8] == b"ftyp":
        return _avif(data)
    if data.startswith(_EXR_START):
        raise InvalidInput("this is an OpenEXR picture, which is not taken here: send it as TIFF, PNG or Radiance HDR")
    if data[:1] == b"P" and data[1:2] in _NETPBM_KINDS and data[2:3].isspace():
        return ("image/x-portable-arbitrarymap", _pam_size) if data[1:2] == b"7" else ("image/x-portable-anymap", _netpbm_size)
    return None


# --- TIFF, revision 6.0, and BigTIFF ---


def _tiff_size(data: bytes) -> Costly:
    tags = _TiffTags(data)
    width, height = tags.first(_WIDTH), tags.first(_HEIGHT)
    if not width or not height:
        raise InvalidInput("the image/tiff picture is broken: its first page does not say how large it is")
    for places, sizes in _PARTS:
        # the decoder leaves parts that are missing as they are, and says nothing
        if any(place + size > len(data) for place, size in zip(tags.values(places), tags.values(sizes))):
            raise InvalidInput(f"the image/tiff picture was cut short: {len(data)} bytes came and some of its first page is missing")
    pixel_bytes = (tags.first(_SAMPLES) or 1) * (((tags.first(_BITS) or 1) + 7) // 8)
    tile = tags.first(_TILE_WIDTH) * tags.first(_TILE_HEIGHT)  # decoded whole, even if the picture is a corner of it
    weight = max(1, -(-tile // (width * height))) * max(1, -(-pixel_bytes // _USUAL_PIXEL_BYTES))
    return Costly(width, height, weight)


class _TiffTags:
    """Whole numbers in the directory of a TIFF's first page."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._order = "<" if data[:2] == b"II" else ">"
        self._is_big = data[2:4] in (b"+\x00", b"\x00+")
        self._place = "Q" if self._is_big else "I"
        directory = self._read(self._place, 8 if self._is_big else 4)
        count = self._read("Q" if self._is_big else "H", directory)
        entry_bytes, at = (20, directory + 8) if self._is_big else (12, directory + 2)
        self._entries: Dict[int, int] = {}
        for number in range(min(count, _MOST_TIFF_ENTRIES)):
            self._entries.setdefault(self._read("H", at + number * entry_bytes), at + number * entry_bytes)

    def _read(self, letter: str, place: int) -> int:
        return int(struct.unpack_from(self._order + letter, self._data, place)[0])

    def values(self, tag: int) -> Tuple[int, ...]:
        """Return a tag's values; none if it is missing, or not of whole numbers."""
        entry = self._entries.get(tag)
        letter = None if entry is None else _TIFF_TYPES.get(self._read("H", entry + 2))
        if entry is None or letter is None:
            return ()
        count = self._read(self._place, entry + 4)
        place = entry + (12 if self._is_big else 8)
        if count * struct.calcsize(letter) > (8 if self._is_big else 4):
            place = self._read(self._place, place)
        if place + count * struct.calcsize(letter) > len(self._data):
            raise IndexError(place)
        return struct.unpack_from(f"{self._order}{count}{letter}", self._data, place)

    def first(self, tag: int) -> int:
        """Return a tag's first value; 0 if it has none."""
        return next(iter(self.values(tag)), 0)


# --- boxes: JPEG 2000 (ISO/IEC 15444-1) and AVIF ---


def _jp2_size(data: bytes) -> Costly:
    place, channels = 0, 1
    if data.startswith(_JP2_START):
        top = list(boxes(data, 0, len(data)))
        place = next((start for kind, start, _ in top if kind == b"jp2c"), -1)
        headers = [(start, end) for kind, start, end in top if kind == b"jp2h"]
        palettes = [at for start, end in headers for kind, at, _ in boxes(data, start, end) if kind == b"pclr"]
        channels = max((data[at + 2] for at in palettes), default=1)  # what each single number becomes
    if place < 0 or data[place : place + 4] != _J2K_START:
        raise InvalidInput("the image/jp2 picture is broken or cut short: it has no codestream")
    right, bottom, left, top = struct.unpack_from(">IIII", data, place + 8)
    (components,) = struct.unpack_from(">H", data, place + 40)
    if data.rfind(_J2K_END, place) == -1:
        raise InvalidInput(f"the image/jp2 picture was cut short: {len(data)} bytes came and its end is missing")
    return Costly(right - left, bottom - top, max(1, -(-max(components, channels) // 4)))


def _avif(data: bytes) -> Tuple[str, SizeOf]:
    if data[8:12] == b"avis":
        raise InvalidInput("this is an animated AVIF, which is not taken here: send one picture of it")
    (size,) = struct.unpack_from(">I", data, 0)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, min(size, 256), 4))]
    if b"avif" not in brands:
        name = data[8:12].decode("ascii", "replace")
        raise InvalidInput(
            f"this is not a picture that can be read here (a file of the kind '{name}', such as HEIC or a film): send JPEG or PNG"
        )
    return "image/avif", avif_size


# --- headers of text, and one of numbers ---


def _netpbm_size(data: bytes) -> Tuple[int, int]:
    found = _NETPBM.match(data[:_TEXT_BYTES])
    if found is None:
        raise InvalidInput("the picture in a Netpbm format (PBM, PGM, PPM, PFM) is broken or cut short: it does not say how large it is")
    return int(found[1]), int(found[2])


def _pam_size(data: bytes) -> Costly:
    head = data[:_TEXT_BYTES].partition(b"ENDHDR")[0]
    found = {name: form.findall(head) for name, form in _PAM.items()}
    if any(len(values) != 1 for values in found.values()):
        raise InvalidInput("the PAM picture is broken or cut short: its header must have WIDTH, HEIGHT and DEPTH once each")
    width, height, depth = (int(values[0]) for values in found.values())
    return Costly(width, height, max(1, -(-depth // 4)))


def _hdr_size(data: bytes) -> Tuple[int, int]:
    found = _HDR_SIZE.search(data[:_TEXT_BYTES])
    if found is None:
        raise InvalidInput("the Radiance HDR picture is broken or cut short: its header does not say how large it is")
    return int(found[2]), int(found[1])


def _sun_size(data: bytes) -> Tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 4)
    return width, height


_STARTS: Tuple[Tuple[Tuple[bytes, ...], str, SizeOf], ...] = (
    (_TIFF_STARTS, "image/tiff", _tiff_size),
    ((_JP2_START, _J2K_START), "image/jp2", _jp2_size),
    (_HDR_STARTS, "image/vnd.radiance", _hdr_size),
    ((_SUN_START,), "image/x-sun-raster", _sun_size),
)

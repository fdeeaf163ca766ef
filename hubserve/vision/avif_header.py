"""Read the sizes in an AVIF: those of its container (ISO/IEC 23008-12) and those of its AV1 frames.

The decoder makes room for the frames, whatever the container says, so both count.
"""

import struct
from typing import Dict, Iterator, List, Tuple

from hubserve.errors import InvalidInput

Box = Tuple[bytes, int, int]
_SEQUENCE_HEADER = 1
_MOST_ITEMS = 4096


def boxes(data: bytes, place: int, end: int) -> Iterator[Box]:
    """Yield type, start and end of the content of each box between two offsets."""
    while place + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, place + 8)
            head = 16
        stop = end if size == 0 else place + size
        if stop < place + head:
            return
        yield kind, place + head, min(stop, end)
        place = stop


def avif_size(data: bytes) -> Tuple[int, int]:
    """Return the largest size in an AVIF: a picture may be put together of several, and have others beside it.

    Raises:
        InvalidInput: it does not say how large it is.
        struct.error, IndexError: it ends too early.
    """
    sizes: List[Tuple[int, int]] = []
    frames: List[Tuple[int, int]] = []
    for kind, start, end in boxes(data, 0, len(data)):
        if kind == b"meta":
            inner = list(boxes(data, start + 4, end))
            sizes += [_ispe(data, at) for box in inner if box[0] == b"iprp" for at in _properties(data, box)]
            frames += [size for item in _av1_items(data, inner) for size in _frame_sizes(item)]
    if not sizes or not frames:
        raise InvalidInput("the image/avif picture is broken or cut short: it does not say how large it is")
    return max([*sizes, *frames], key=lambda size: size[0] * size[1])


def _properties(data: bytes, box: Box) -> Iterator[int]:
    for kind, at, stop in boxes(data, *box[1:]):
        if kind == b"ipco":
            yield from (place for inner, place, _ in boxes(data, at, stop) if inner == b"ispe")


def _ispe(data: bytes, place: int) -> Tuple[int, int]:
    width, height = struct.unpack_from(">II", data, place + 4)
    return width, height


def _av1_items(data: bytes, inner: List[Box]) -> Iterator[bytes]:
    """Return the content of each item that is an AV1 picture."""
    types: Dict[int, bytes] = {}
    for box in inner:
        if box[0] == b"iinf":
            head = 6 if data[box[1]] == 0 else 8
            for _, at, _ in list(boxes(data, box[1] + head, box[2]))[:_MOST_ITEMS]:
                number, _, kind = struct.unpack_from(">HH4s" if data[at] < 3 else ">IH4s", data, at + 4)
                types[number] = kind
    idat = next((box[1] for box in inner if box[0] == b"idat"), 0)
    for box in inner:
        if box[0] == b"iloc":
            for number, content in _contents(data, box[1], idat):
                if types.get(number) == b"av01":
                    yield content


def _contents(data: bytes, place: int, idat: int) -> Iterator[Tuple[int, bytes]]:
    """Return the number and the content of each item, from the ``iloc`` box at an offset."""
    version = data[place]
    lengths = struct.unpack_from(">H", data, place + 4)[0]
    offset_bytes, length_bytes, base_bytes, index_bytes = (lengths >> shift & 15 for shift in (12, 8, 4, 0))
    reader = _Bytes(data, place + 6)
    wide = 4 if version == 2 else 2
    for _ in range(min(reader.number(wide), _MOST_ITEMS)):
        number = reader.number(wide)
        method = reader.number(2) & 15 if version else 0
        reader.number(2)
        start = reader.number(base_bytes) + (idat if method == 1 else 0)
        parts, left = [], len(data)
        for _ in range(reader.number(2)):
            reader.number(index_bytes if version else 0)
            offset, length = start + reader.number(offset_bytes), reader.number(length_bytes)
            part = data[offset : offset + length] if length else data[offset:]
            left -= len(part)
            if left < 0:
                raise IndexError(offset)
            parts.append(part)
        yield number, b"".join(parts)


class _Bytes:
    """Reader of consecutive whole numbers."""

    def __init__(self, data: bytes, place: int) -> None:
        self._data, self._place = data, place

    def number(self, size: int) -> int:
        self._place += size
        if self._place > len(self._data):
            raise IndexError(self._place)
        return int.from_bytes(self._data[self._place - size : self._place], "big")


# --- AV1 bitstream, section 5.5 ---


def _frame_sizes(item: bytes) -> Iterator[Tuple[int, int]]:
    """Return the description of frames in each sequence header of an item."""
    place = 0
    while place < len(item):
        head = item[place]
        place += 2 if head & 4 else 1
        size = len(item) - place
        if head & 2:
            size, place = _leb128(item, place)
        if head >> 3 & 15 == _SEQUENCE_HEADER:
            yield _sequence_size(item[place : place + size])
        place += size


def _leb128(item: bytes, place: int) -> Tuple[int, int]:
    value = 0
    for number in range(8):
        value |= (item[place + number] & 127) << 7 * number
        if not item[place + number] & 128:
            return value, place + number + 1
    raise IndexError(place)


class _Bits:
    """Reader of a header's bits, most significant first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data[:256], "big"), 8 * len(data[:256])

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise IndexError(count)
        return self._value >> self._left & ((1 << count) - 1)

    def skip_uvlc(self) -> None:
        zeros = 0
        while not self.take(1):
            zeros += 1
        self.take(min(zeros, 32))


def _sequence_size(header: bytes) -> Tuple[int, int]:
    bits = _Bits(header)
    bits.take(4)  # profile, still picture
    if bits.take(1):  # the header of a still picture: its one frame has this size
        bits.take(5)
        width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
        return bits.take(width_bits) + 1, bits.take(height_bits) + 1
    _skip_operating_points(bits)
    # a frame may have any size that the header has bits for
    width_bits, height_bits = bits.take(4) + 1, bits.take(4) + 1
    width, height = bits.take(width_bits) + 1, bits.take(height_bits) + 1
    return max(width, 1 << width_bits), max(height, 1 << height_bits)


def _skip_operating_points(bits: _Bits) -> None:
    delay_bits = 0
    if bits.take(1):  # timing
        bits.take(64)
        if bits.take(1):
            bits.skip_uvlc()
        if bits.take(1):  # a model of the decoder
            delay_bits = bits.take(5) + 1
            bits.take(32 + 10)
    has_display_delay = bits.take(1)
    for _ in range(bits.take(5) + 1):
        bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if delay_bits and bits.take(1):
            bits.take(2 * delay_bits + 1)
        if has_display_delay and bits.take(1):
            bits.take(4)

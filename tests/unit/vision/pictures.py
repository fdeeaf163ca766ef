"""Real photographs, and headers that announce more than they hold."""

import struct
import zlib

import numpy as np
import skimage.data


def cat():
    """uint8 (300, 451, 3), BGR."""
    return np.ascontiguousarray(skimage.data.chelsea()[:, :, ::-1])


def png_chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", pixels) + png_chunk(b"IEND", b"")


def jpeg_of(width, height, before=b"", frame=0xC0, end=b"\xff\xd9"):
    components = b"\x03\x01\x11\x00\x02\x11\x01\x03\x11\x01"
    start = b"\xff" + bytes([frame]) + struct.pack(">HBHH", 17, 8, height, width) + components
    return b"\xff\xd8" + before + start + b"\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00" + b"\x55" * 50 + end


def gif_of(width, height):
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff" + b";"


def bmp_of(width, height):
    return b"BM" + struct.pack("<IHHI", 58, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 4, 0, 0, 0, 0) + b"\0" * 4


def old_bmp_of(width, height):
    return b"BM" + struct.pack("<IHHI", 30, 0, 0, 26) + struct.pack("<IHHHH", 12, width, height, 1, 24) + b"\0" * 4


def _riff(chunks):
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def webp_of(width, height):
    """The extended form."""
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return _riff(b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + size)


def lossless_webp_of(width, height):
    return _riff(b"VP8L" + struct.pack("<I", 5) + b"\x2f" + struct.pack("<I", (width - 1) | (height - 1) << 14))


def lossy_webp_of(width, height):
    return _riff(b"VP8 " + struct.pack("<I", 10) + b"\x10\x00\x00\x9d\x01\x2a" + struct.pack("<HH", width, height))

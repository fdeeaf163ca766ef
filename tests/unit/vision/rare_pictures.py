"""The same small picture in the formats that few people send: read exactly, nearly, or with other colours."""

import io
import struct

import cv2
import numpy as np
import tifffile
from PIL import Image

from tests.unit.vision.pictures import cat

BGR = cat()[100:140, 150:210]
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

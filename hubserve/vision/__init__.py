"""Pictures in and out, and the operators between a picture and a model's input. OpenCV is imported with the first picture."""

from hubserve.vision.codecs import decode_picture, encode_picture
from hubserve.vision.headers import MAX_PIXELS, PictureHeader, read_header
from hubserve.vision.operators import Compose, create_operators
from hubserve.vision.preprocess import ClassificationPreprocess

__all__ = [
    "MAX_PIXELS",
    "ClassificationPreprocess",
    "Compose",
    "PictureHeader",
    "create_operators",
    "decode_picture",
    "encode_picture",
    "read_header",
]

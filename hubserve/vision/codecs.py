"""Decode pictures to arrays, and encode arrays."""

from typing import Any

import numpy as np

from hubserve.errors import InvalidInput
from hubserve.vision.headers import MAX_PIXELS, picture_bytes, read_header
from hubserve.vision.opencv import opencv

_QUALITY_FLAGS = {".jpg": "IMWRITE_JPEG_QUALITY", ".jpeg": "IMWRITE_JPEG_QUALITY", ".webp": "IMWRITE_WEBP_QUALITY"}
_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def decode_picture(data: Any, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a picture in any of the formats that :data:`hubserve.vision.headers.FORMATS` lists and the installed OpenCV reads.

    Of several frames or pages the first counts. It is turned upright as its EXIF data say; grey becomes three equal channels, transparency
    is dropped, and 16 bits become 8.

    Args:
        data: the encoded bytes, any bytes-like object; or base64 of them, in any of its spellings.
        max_pixels: the most pixels it may have; checked in the header, before anything is decoded.

    Returns:
        uint8 (H, W, 3), BGR.

    Raises:
        InvalidInput: it is empty, not one of these formats, broken or cut short, or OpenCV does not read its format.
        TooLarge: it announces more than ``max_pixels``.
        MissingDependency: OpenCV is not installed.
    """
    cv2 = opencv()
    encoded = picture_bytes(data)
    header = read_header(encoded, max_pixels)
    try:
        image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise InvalidInput(_unreadable(header.media_type, len(encoded)), detail=str(error)) from error
    if image is None:
        raise InvalidInput(_unreadable(header.media_type, len(encoded)))
    return np.asarray(image)


def _unreadable(media_type: str, size_bytes: int) -> str:
    if media_type in ("image/jpeg", "image/png", "image/bmp", "image/webp"):
        return f"the {media_type} picture ({size_bytes} bytes) cannot be decoded: it is broken or was cut short"
    return (
        f"the {media_type} picture ({size_bytes} bytes) cannot be decoded: it is broken, was cut short, or is of a kind that OpenCV "
        f"{opencv().__version__} does not read here. If it can be opened elsewhere, send it as PNG or JPEG"
    )


def encode_picture(image: np.ndarray, extension: str = ".jpg", quality: int = 95) -> bytes:
    """Encode an array as a picture.

    Args:
        image: uint8 (H, W, 3) BGR or uint8 (H, W) grey.
        extension: ``.jpg``, ``.png``, ``.webp`` or ``.bmp``.
        quality: 1 to 100; for JPEG and WebP.

    Raises:
        InvalidInput: the array is not a picture, or is too large for the format; or the extension is unknown.
        MissingDependency: OpenCV is not installed.
    """
    if extension not in _EXTENSIONS:
        raise InvalidInput(f"cannot encode a picture as '{extension}'; use one of {', '.join(_EXTENSIONS)}")
    shaped = image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)
    if image.dtype != np.uint8 or not shaped or not image.size:
        raise InvalidInput(f"a picture is uint8 (H, W, 3) BGR or (H, W) grey, got {image.dtype.name} {list(image.shape)}")
    cv2 = opencv()
    flag = _QUALITY_FLAGS.get(extension)
    try:
        done, encoded = cv2.imencode(extension, image, [getattr(cv2, flag), int(quality)] if flag else [])
    except cv2.error as error:
        raise InvalidInput(f"cannot encode a {image.shape[1]} x {image.shape[0]} picture as {extension}", detail=str(error)) from error
    if not done:
        raise InvalidInput(f"cannot encode a {image.shape[1]} x {image.shape[0]} picture as {extension}: it is too large for the format")
    return bytes(encoded.data)

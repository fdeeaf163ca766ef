"""Read pictures that requests hold or name."""

import base64
import urllib.request
from io import BytesIO
from pathlib import Path
from typing import Any, Optional

import numpy as np
from tiinfer import get_ti_model_dir

__all__ = ["base64bytes_to_nparray", "base64bytes_to_pil_image", "image_to_cv2_mat", "image_to_pil_image"]

_LONGEST_PATH = 1024


def base64bytes_to_nparray(s: Any, dtype: Any = np.uint8) -> np.ndarray:
    """Decode the base64 of a picture to an array in the picture's own mode, such as uint8 (H, W, 3) RGB."""
    return np.array(base64bytes_to_pil_image(s), dtype)


def base64bytes_to_pil_image(s: Any) -> Any:
    """Decode the base64 of a picture with Pillow."""
    return _pil_image(base64.b64decode(s))


def image_to_cv2_mat(img_data: str) -> Any:
    """Return a picture as uint8 (H, W, 3) BGR; None if it cannot be decoded.

    Args:
        img_data: base64 of a picture, its URL, or the path of a file in the script's folder.
    """
    import cv2

    return cv2.imdecode(np.frombuffer(_content(img_data), np.uint8), cv2.IMREAD_COLOR)


def image_to_pil_image(img_data: str) -> Any:
    """Return a picture as Pillow's; the argument is as for :func:`image_to_cv2_mat`."""
    return _pil_image(_content(img_data))


def _pil_image(content: bytes) -> Any:
    from PIL import Image

    return Image.open(BytesIO(content))


def _content(img_data: str) -> bytes:
    file = _own_file(img_data)
    if file is not None:
        return file.read_bytes()
    if img_data.startswith("http"):
        with urllib.request.urlopen(img_data) as response:  # noqa: S310 - the instance's opener takes http(s) of allowed addresses
            content: bytes = response.read()
            return content
    return base64.b64decode(img_data)


def _own_file(text: str) -> Optional[Path]:
    """Return the file of a path inside the script's folder; None for any other text: clients must not read the server's other files."""
    if len(text) > _LONGEST_PATH or "\0" in text:
        return None
    folder = Path(get_ti_model_dir()).resolve()
    try:
        path = (folder / text).resolve()
        return path if folder in path.parents and path.is_file() else None
    except OSError:  # a name that is too long
        return None

"""``paddlehub.utils.utils``: pictures and vectors as base64 text, folders and hashes."""

import base64
import hashlib
import os
from typing import Any

import numpy as np


def base64_to_cv2(b64str: str) -> np.ndarray:
    """Base64 text of an encoded picture -> uint8 (H, W, 3) BGR."""
    from hubserve.vision.codecs import decode_picture

    return decode_picture(base64.b64decode(b64str))


def cv2_to_base64(image: np.ndarray) -> str:
    """uint8 (H, W, 3) BGR -> base64 text of it as a JPEG."""
    import cv2

    return base64.b64encode(cv2.imencode(".jpg", image)[1].tobytes()).decode("ascii")


def md5(text: Any) -> str:
    """The MD5 digest of a text, as PaddleHub names cache entries."""
    data = text if isinstance(text, bytes) else str(text).encode("utf-8")
    return hashlib.md5(data).hexdigest()  # noqa: S324 - a name, no protection


def mkdir(path: str) -> None:
    """Make a folder and its parents."""
    os.makedirs(path, exist_ok=True)


def is_windows() -> bool:
    """Whether this is Windows."""
    return os.name == "nt"

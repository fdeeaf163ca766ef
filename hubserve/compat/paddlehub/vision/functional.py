"""``paddlehub.vision.functional``: operations on pictures, (H, W, C) arrays."""

import os
from typing import Any, Sequence, Union

import numpy as np
from paddlehub._training import placeholder

Size = Union[int, Sequence[int]]

#: OpenCV's constants, copied so that importing this file does not load OpenCV
INTERPOLATION = {"NEAREST": 0, "LINEAR": 1, "CUBIC": 2, "AREA": 3, "LANCZOS4": 4}
LINEAR = INTERPOLATION["LINEAR"]


def __getattr__(name: str) -> Any:
    """Return a placeholder for a random change of colours or angles, which only training uses."""
    if name in ("brightness", "contrast", "hue", "rotate", "saturation"):
        return placeholder(__name__, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def normalize(im: np.ndarray, mean: Any, std: Any) -> np.ndarray:
    """Return ``(im / 255 - mean) / std`` as float32; uint8 or float values from 0 to 255."""
    scaled = im.astype(np.float32, copy=False) / 255.0
    scaled -= mean
    scaled /= std
    return scaled


def permute(im: np.ndarray) -> np.ndarray:
    """Transpose (H, W, C) to (C, H, W)."""
    return np.transpose(im, (2, 0, 1))


def resize(im: np.ndarray, target_size: Size, interpolation: int = LINEAR) -> np.ndarray:
    """Resize to a square of one length, or to (width, height)."""
    import cv2

    width, height = (target_size, target_size) if isinstance(target_size, int) else target_size
    return np.asarray(cv2.resize(im, (width, height), interpolation=interpolation))


def resize_long(im: np.ndarray, long_size: int, interpolation: int = LINEAR) -> np.ndarray:
    """Resize the longer side to a length; the sides keep their ratio."""
    scale = float(long_size) / max(im.shape[0], im.shape[1])
    return resize(im, (round(im.shape[1] * scale), round(im.shape[0] * scale)), interpolation)


def horizontal_flip(im: np.ndarray) -> np.ndarray:
    """Flip left and right."""
    return im[:, ::-1]


def vertical_flip(im: np.ndarray) -> np.ndarray:
    """Flip top and bottom."""
    return im[::-1]


def check_dir(dir_path: str) -> None:
    """Create a folder, in place of a file of that name."""
    if os.path.isfile(dir_path):
        os.remove(dir_path)
    os.makedirs(dir_path, exist_ok=True)

"""Scale pictures within bounds, and pad them to a least size."""

import math
from enum import Enum
from typing import Optional, Tuple

import numpy as np

__all__ = ["Horizontal", "Vertical", "fill_image", "scale_fill_image", "scale_image"]


class Horizontal(Enum):
    """The side on which columns are added."""

    LEFT = 1
    RIGHT = 2


class Vertical(Enum):
    """The side on which rows are added."""

    UPPER = 1
    LOWER = 2


def scale_image(image: np.ndarray, min_size: int, max_size: int) -> Tuple[np.ndarray, float]:
    """Scale a picture so that its shorter side is ``min_size``, or less if its longer side would exceed ``max_size``.

    Args:
        image: uint8 (H, W, 3).
        min_size: in pixels.
        max_size: in pixels.
    Returns:
        The scaled picture, and the scale.
    """
    import cv2

    _check_image(image)
    if min_size > max_size:
        raise ValueError(f"min_size, {min_size}, is above max_size, {max_size}")
    height, width = image.shape[:2]
    scale = round(min_size / min(height, width), 3)
    new_height, new_width = (min_size, scale * width) if height < width else (scale * height, min_size)
    if max(new_height, new_width) > max_size:
        scale = round(max_size / max(height, width), 3)
        new_height, new_width = height * scale, width * scale
    return cv2.resize(image, (math.ceil(new_width), math.ceil(new_height))), scale


def fill_image(
    image: np.ndarray,
    padding_limit: int,
    horizontal: Optional[Horizontal] = None,
    vertical: Optional[Vertical] = None,
    fill_color: Optional[float] = None,
) -> np.ndarray:
    """Pad a picture to ``padding_limit`` pixels on each side that is shorter.

    Args:
        image: uint8 (H, W, 3).
        padding_limit: in pixels.
        horizontal: the side of new columns; by default the right one.
        vertical: the side of new rows; by default the lower one.
        fill_color: of all channels of the new pixels; by default 1.
    """
    _check_image(image)
    height, width = image.shape[:2]
    columns, rows = max(0, padding_limit - width), max(0, padding_limit - height)
    sides = (
        (0, rows) if vertical in (None, Vertical.LOWER) else (rows, 0),
        (0, columns) if horizontal in (None, Horizontal.RIGHT) else (columns, 0),
        *[(0, 0)] * (image.ndim - 2),
    )
    return np.pad(image, sides, constant_values=1 if fill_color is None else fill_color)


def scale_fill_image(
    image: np.ndarray,
    min_size: int,
    max_size: int,
    padding_limit: int,
    horizontal: Optional[Horizontal] = None,
    vertical: Optional[Vertical] = None,
    fill_color: Optional[float] = None,
) -> Tuple[np.ndarray, float]:
    """Scale a picture as :func:`scale_image` does, and pad it as :func:`fill_image` does.

    Returns:
        The picture, and the scale.
    """
    if padding_limit > max_size:
        raise ValueError(f"padding_limit, {padding_limit}, is above max_size, {max_size}")
    scaled, scale = scale_image(image, min_size, max_size)
    return fill_image(scaled, padding_limit, horizontal, vertical, fill_color), scale


def _check_image(image: np.ndarray) -> None:
    if not isinstance(image, np.ndarray):
        raise TypeError(f"image should be numpy.ndarray, got {type(image)}")

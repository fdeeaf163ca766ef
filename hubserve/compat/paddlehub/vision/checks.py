"""Checks of the transforms' settings, and reading of pictures."""

from functools import reduce
from typing import Any, Union

import numpy as np


def check_steps(transforms: Any) -> None:
    """Raise unless the argument is a list of one or more transforms."""
    if not isinstance(transforms, list):
        raise TypeError(f"the transforms must be a list, got {type(transforms).__name__}")
    if not transforms:
        raise ValueError("the list of transforms is empty; give at least one")


def check_size(size: Any, *, also_one_length: bool) -> None:
    """Raise unless the size is (width, height), or one length if that is allowed."""
    if isinstance(size, (list, tuple)):
        if len(size) != 2:
            raise (TypeError if also_one_length else ValueError)(f"a size has two lengths, (width, height), got {size}")
    elif not (also_one_length and isinstance(size, int)):
        raise TypeError(f"a size is a list or tuple of two lengths, got {type(size).__name__}")


def check_interpolation(name: str, known: Any) -> None:
    """Raise unless the name is a known interpolation."""
    if name not in known:
        raise ValueError(f"interpolation should be one of {', '.join(known)}, got {name}")


def check_mean_and_std(mean: Any, std: Any) -> None:
    """Raise unless both are lists, and no standard deviation is 0."""
    if not (isinstance(mean, (list, tuple)) and isinstance(std, (list, tuple))):
        raise ValueError("mean and std must be lists, with a number for each channel")  # noqa: TRY004 - as published
    if reduce(lambda one, other: one * other, std) == 0:
        raise ValueError("no number in std may be 0")


def read_picture(im: Union[str, np.ndarray], to_rgb: bool) -> np.ndarray:
    """Read a picture by its path as float32 BGR, or return an array; ``to_rgb`` exchanges red and blue."""
    picture = read_bgr(im).astype("float32") if isinstance(im, str) else read_bgr(im)
    if not to_rgb:
        return picture
    import cv2

    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))


def read_bgr(im: Union[str, np.ndarray]) -> np.ndarray:
    """Read a picture by its path as uint8 (H, W, 3) BGR, or return an array.

    Raises:
        ValueError: the file is not a picture, or None was given instead of one.
    """
    if im is None:
        raise ValueError("there is no picture: None was given")
    if not isinstance(im, str):
        return im
    import cv2

    picture = cv2.imread(im)
    if picture is None:
        raise ValueError(f"cannot read the picture '{im}'; is the path right, and the file complete?")
    return np.asarray(picture)


def pad_to(im: np.ndarray, size: Any, value: Any) -> np.ndarray:
    """Add a border at the bottom and the right, up to (width, height) or a square of one length."""
    import cv2

    width, height = (size, size) if isinstance(size, int) else size
    below, beside = height - im.shape[0], width - im.shape[1]
    if below < 0 or beside < 0:
        raise ValueError(f"a picture of {im.shape[1]} x {im.shape[0]} cannot be padded to {width} x {height}: it is larger")
    return np.asarray(cv2.copyMakeBorder(im, 0, below, 0, beside, cv2.BORDER_CONSTANT, value=value))

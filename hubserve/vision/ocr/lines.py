"""Prepare crops of lines as inputs of the networks that read them."""

import math
from bisect import bisect_left
from typing import Dict, Iterator, List, NamedTuple, Sequence

import numpy as np

from hubserve.vision.normalize import Normalization
from hubserve.vision.opencv import opencv

#: Inputs have one of these widths, in pixels: engines keep memory for each shape that they have seen. A longer line is squeezed.
WIDTHS_PX = (320, 480, 640, 960, 1280, 1920, 2560)
_HEIGHT_PX = 48
_ANGLE_WIDTH_PX = 192


class LineBatch(NamedTuple):
    """Lines of similar width.

    Attributes:
        numbers: which of the crops they are.
        array: float32 (n, 3, height, width).
    """

    numbers: List[int]
    array: np.ndarray


def fit(crop: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale a crop to the height, and to the width at most; normalise to -1 .. 1; fill up with zeros on the right.

    Args:
        crop: uint8 (h, w, 3), BGR.
        height: of the result, in pixels.
        width: as ``height``.
    Returns:
        float32 (3, height, width).
    """
    cv2 = opencv()
    scaled_px = max(1, min(width, math.ceil(height * crop.shape[1] / crop.shape[0])))
    fitted = np.zeros((3, height, width), np.float32)
    fitted[:, :, :scaled_px] = _SIGNED.planes(cv2.split(cv2.resize(crop, (scaled_px, height))))
    return fitted


class AnglePreprocess:
    """Crops -> the input of the network that finds lines that are upside down: float32 (n, 3, 48, 192)."""

    def __call__(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """Prepare one or more crops."""
        return np.stack([fit(crop, _HEIGHT_PX, _ANGLE_WIDTH_PX) for crop in crops])


def line_batches(crops: Sequence[np.ndarray], batch_size: int, height: int = _HEIGHT_PX) -> Iterator[LineBatch]:
    """Lines for the recognition network, those of similar width together.

    Args:
        crops: uint8 (h, w, 3), BGR.
        batch_size: the most lines of the smallest width in one batch; of wider ones there are fewer, so that memory stays the same.
        height: of its input, in pixels.
    Yields:
        Each crop once; widths are those of :data:`WIDTHS_PX`.
    """
    buckets: Dict[int, List[int]] = {}
    for number, crop in enumerate(crops):
        buckets.setdefault(bucket_of(crop, height), []).append(number)
    for width, numbers in sorted(buckets.items()):
        most = max(1, batch_size * WIDTHS_PX[0] // width)
        for start in range(0, len(numbers), most):
            together = numbers[start : start + most]
            yield LineBatch(together, np.stack([fit(crops[number], height, width) for number in together]))


def bucket_of(crop: np.ndarray, height: int = _HEIGHT_PX) -> int:
    """Return the smallest width of :data:`WIDTHS_PX` that holds the crop at this height; the largest for longer ones."""
    wanted = math.ceil(height * crop.shape[1] / crop.shape[0])
    return WIDTHS_PX[min(bisect_left(WIDTHS_PX, wanted), len(WIDTHS_PX) - 1)]


_SIGNED = Normalization(1 / 255, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))

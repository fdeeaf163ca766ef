"""Prepare a picture as the text detector's input."""

import math
from typing import Tuple

import numpy as np

from hubserve.errors import ConfigError, InvalidInput
from hubserve.vision.normalize import Normalization
from hubserve.vision.opencv import opencv
from hubserve.vision.operators import check_image, positive

#: the detector halves its input five times
STRIDE_PX = 32
LIMIT_TYPES = ("max", "min")
#: What is larger is scaled down whatever was asked for, so that one picture cannot take all memory.
LONGEST_SIDE_PX = 4000
_MOST_PIXELS = 4_000_000


class DetectionPreprocess:
    """Scale a picture to sides that are multiples of 32, normalise, channels first. The channels stay BGR: so was the detector trained.

    Args:
        limit_side_len: the limit, in pixels.
        limit_type: ``"max"`` scales down where the longer side is above the limit, ``"min"`` scales up where the shorter one is below it.

    Raises:
        ConfigError: a value cannot be used.
    """

    def __init__(self, limit_side_len: int = 960, limit_type: str = "max") -> None:
        self.limit_px = positive("DetectionPreprocess", "limit_side_len", limit_side_len)
        if limit_type not in LIMIT_TYPES:
            raise ConfigError(f"limit_type must be one of {', '.join(LIMIT_TYPES)}, got {limit_type!r}")
        if not STRIDE_PX <= self.limit_px <= LONGEST_SIDE_PX:
            raise ConfigError(f"limit_side_len must be from {STRIDE_PX} to {LONGEST_SIDE_PX} pixels, got {limit_side_len}")
        self.limit_type = limit_type
        self._normalization = Normalization()

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Prepare one picture.

        Args:
            picture: uint8 (H, W, 3), BGR.
        Returns:
            float32 (3, h, w), h and w as :meth:`size_of` gives them.

        Raises:
            InvalidInput: the array is not such a picture.
        """
        if check_image(picture).dtype != np.uint8 or picture.shape[2] != 3:
            raise InvalidInput(f"a picture is uint8 (H, W, 3) BGR, got {picture.dtype.name} {list(picture.shape)}")
        cv2 = opencv()
        width, height = self.size_of(picture.shape[1], picture.shape[0])
        resized = picture if picture.shape[:2] == (height, width) else cv2.resize(picture, (width, height))
        return self._normalization.planes(cv2.split(resized))

    def size_of(self, width: int, height: int) -> Tuple[int, int]:
        """Return the detector's width and height for a picture: multiples of 32, at least 32, at most 4000 and 4 million pixels in all."""
        side = max(width, height) if self.limit_type == "max" else min(width, height)
        scales = side > self.limit_px if self.limit_type == "max" else side < self.limit_px
        ratio = self.limit_px / side if scales else 1.0
        ratio = min(ratio, LONGEST_SIDE_PX / max(width, height), math.sqrt(_MOST_PIXELS / (width * height)))
        return _to_stride(width * ratio), _to_stride(height * ratio)


def _to_stride(length_px: float) -> int:
    return max(round(length_px / STRIDE_PX) * STRIDE_PX, STRIDE_PX)

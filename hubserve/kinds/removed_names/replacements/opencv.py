"""Removed functions of OpenCV, rebuilt on present ones."""

from typing import Any, Tuple

import numpy as np


def estimate_rigid_transform(src: Any, dst: Any, fullAffine: bool, *_: Any, **__: Any) -> Any:  # noqa: N803 - as OpenCV had it
    """Return the affine matrix between two sets of points, or None."""
    import cv2

    points = [np.asarray(each, np.float32).reshape(-1, 2) for each in (src, dst)]
    estimate: Any = cv2.estimateAffine2D if fullAffine else cv2.estimateAffinePartial2D
    return estimate(*points)[0]


def convert_fp16(src: Any, *_: Any, **__: Any) -> Any:
    """Convert float32 to the bits of float16, or back."""
    if src.dtype == np.float32:
        return src.astype(np.float16).view(np.int16)
    return src.view(np.float16).astype(np.float32)


def linear_polar(src: Any, center: Tuple[float, float], maxRadius: float, flags: int) -> Any:  # noqa: N803
    """Return a picture in polar coordinates."""
    import cv2

    return cv2.warpPolar(src, src.shape[1::-1], center, maxRadius, flags | cv2.WARP_POLAR_LINEAR)


def log_polar(src: Any, center: Tuple[float, float], M: float, flags: int) -> Any:  # noqa: N803
    """Return a picture in polar coordinates whose radius is logarithmic; ``M`` is its scale."""
    import cv2

    return cv2.warpPolar(src, src.shape[1::-1], center, float(np.exp(src.shape[1] / M)), flags | cv2.WARP_POLAR_LOG)

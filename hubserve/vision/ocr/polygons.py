"""Polygons around text: find the tightest rectangle, and grow."""

from typing import Any, Tuple

import numpy as np

from hubserve.errors import MissingDependency
from hubserve.vision.opencv import opencv

#: what pyclipper computes with are whole numbers; with this many steps in a pixel nothing is lost
_STEPS_PER_PX = 64


def pyclipper() -> Any:
    """Import and return the ``pyclipper`` package.

    Raises:
        MissingDependency: it is not installed in this environment.
    """
    try:
        import pyclipper as package
    except ImportError as error:
        raise MissingDependency(
            f"cannot find text in pictures: pyclipper cannot be imported ({error}). "
            "Install it with: pip install pyclipper (or: pip install 'hubserve[ocr]')."
        ) from error
    return package


def smallest_rectangle(points: np.ndarray) -> Tuple[np.ndarray, float]:
    """Return the rectangle of the smallest area around points, at any angle.

    Args:
        points: (n, 2), x and y.
    Returns:
        float32 (4, 2), clockwise from the corner at the upper left; the length of its shorter side.
    """
    cv2 = opencv()
    rectangle = cv2.minAreaRect(np.asarray(points, np.float32).reshape(-1, 1, 2))
    return clockwise(np.asarray(cv2.boxPoints(rectangle), np.float32)), float(min(rectangle[1]))


def clockwise(corners: np.ndarray) -> np.ndarray:
    """Return four corners in the order upper left, upper right, lower right, lower left, as a picture with y downwards shows them."""
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left, right = (pair[np.argsort(pair[:, 1], kind="stable")] for pair in (by_x[:2], by_x[2:]))
    return np.stack([left[0], right[0], right[1], left[1]])


def grow(polygon: np.ndarray, ratio: float) -> np.ndarray:
    """Move a polygon's edges outwards by its area times ``ratio`` divided by its length, with round corners.

    The detector is trained on text that was shrunk by such a distance. Source: Liao et al., Real-time Scene Text Detection with
    Differentiable Binarization, 2020 (arXiv 1911.08947), section 3.5.

    Args:
        polygon: (n, 2), of some area.
        ratio: 0 or more.
    Returns:
        float32 (m, 2); the polygon itself if there is nothing to grow.
    """
    cv2, clipper = opencv(), pyclipper()
    points = np.asarray(polygon, np.float32)
    length = cv2.arcLength(points, True)
    distance = cv2.contourArea(points) * ratio / length if length else 0.0
    offset = clipper.PyclipperOffset()
    offset.ArcTolerance = _STEPS_PER_PX / 16
    offset.AddPath(np.round(points * _STEPS_PER_PX).astype(np.int64).tolist(), clipper.JT_ROUND, clipper.ET_CLOSEDPOLYGON)
    grown = offset.Execute(distance * _STEPS_PER_PX)
    return np.asarray(grown[0], np.float32) / _STEPS_PER_PX if grown else points

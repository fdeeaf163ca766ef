"""Find boxes around text in the detector's probability map."""

from typing import List, NamedTuple, Tuple

import numpy as np

from hubserve.errors import ConfigError
from hubserve.vision.ocr.polygons import grow, smallest_rectangle
from hubserve.vision.opencv import opencv

#: of the map, in pixels: anything smaller is not text
_SMALLEST_PX = 3.0
#: contours that are looked at; a picture of noise has more
_MOST_CANDIDATES = 1000
SCORE_MODES = ("fast", "slow")


class TextBoxes:
    """Box finder for the map of a detector trained with differentiable binarization (arXiv 1911.08947).

    Args:
        thresh: a pixel belongs to text above this probability.
        box_thresh: a box is kept if its pixels have this probability on average.
        unclip_ratio: how much boxes grow; see :func:`~hubserve.vision.ocr.polygons.grow`.
        use_dilation: thicken the text by a pixel before it is outlined.
        score_mode: ``"fast"`` averages over the rectangle, ``"slow"`` over the outline.

    Raises:
        ConfigError: a value cannot be used.
    """

    def __init__(
        self,
        thresh: float = 0.3,
        box_thresh: float = 0.6,
        unclip_ratio: float = 1.5,
        use_dilation: bool = False,
        score_mode: str = "fast",
    ) -> None:
        for name, value, most in (("thresh", thresh, 1), ("box_thresh", box_thresh, 1), ("unclip_ratio", unclip_ratio, 10)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
                raise ConfigError(f"{name} must be a number from 0 to {most}, got {value!r}")
        if score_mode not in SCORE_MODES:
            raise ConfigError(f"score_mode must be one of {', '.join(SCORE_MODES)}, got {score_mode!r}")
        self.thresh, self.box_thresh, self.unclip_ratio = thresh, box_thresh, unclip_ratio
        self.use_dilation, self.score_mode = bool(use_dilation), score_mode

    def __call__(self, probabilities: np.ndarray, width: int, height: int) -> np.ndarray:
        """Find the boxes of one picture.

        Args:
            probabilities: float32 (h, w), 0 to 1.
            width: of the picture, in its own pixels.
            height: as ``width``.
        Returns:
            float32 (n, 4, 2): corners in the picture's pixels, clockwise from the upper left, none of them outside of it.
        """
        scale = np.array([width / probabilities.shape[1], height / probabilities.shape[0]], np.float32)
        most = np.array([width - 1, height - 1], np.float32)
        found = [np.clip(box * scale, 0, most) for box in self._find(probabilities)]
        return np.stack(found) if found else np.zeros((0, 4, 2), np.float32)

    def _find(self, probabilities: np.ndarray) -> List[np.ndarray]:
        boxes = []
        for outline in self._outlines(probabilities):
            rectangle, short_px = smallest_rectangle(outline)
            if short_px < _SMALLEST_PX:
                continue
            scored = rectangle if self.score_mode == "fast" else outline
            if mean_within(probabilities, scored) < self.box_thresh:
                continue
            grown, short_px = smallest_rectangle(grow(rectangle, self.unclip_ratio))
            if short_px >= _SMALLEST_PX + 2:
                boxes.append(grown)
        return boxes

    def _outlines(self, probabilities: np.ndarray) -> List[np.ndarray]:
        cv2 = opencv()
        text = (probabilities > self.thresh).astype(np.uint8)
        if self.use_dilation:
            text = cv2.dilate(text, np.ones((2, 2), np.uint8))
        found = cv2.findContours(text, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        return [outline.reshape(-1, 2) for outline in found[-2][:_MOST_CANDIDATES]]  # OpenCV 3 puts the picture before them


class _Window(NamedTuple):
    left: int
    top: int
    right: int
    bottom: int


def mean_within(probabilities: np.ndarray, polygon: np.ndarray) -> float:
    """Return the average of a map (h, w) over a polygon (n, 2); 0 if the polygon holds no pixel."""
    cv2 = opencv()
    window = _around(polygon, probabilities.shape)
    mask = np.zeros((window.bottom - window.top, window.right - window.left), np.uint8)
    inside = np.round(polygon - np.array([window.left, window.top])).astype(np.int32)
    cv2.fillPoly(mask, [inside.reshape(-1, 1, 2)], 1)
    return float(cv2.mean(probabilities[window.top : window.bottom, window.left : window.right], mask)[0])


def _around(polygon: np.ndarray, shape: Tuple[int, ...]) -> _Window:
    height, width = shape[:2]
    left, top = (int(np.clip(np.floor(polygon[:, axis].min()), 0, most - 1)) for axis, most in ((0, width), (1, height)))
    right, bottom = (int(np.clip(np.ceil(polygon[:, axis].max()), 0, most - 1)) for axis, most in ((0, width), (1, height)))
    return _Window(left, top, right + 1, bottom + 1)

"""The pipeline: find lines, straighten them, turn those that are upside down, read them."""

from typing import Any, Callable, Dict, List, NamedTuple

import numpy as np

from hubserve.errors import InvalidInput
from hubserve.vision.ocr import AnglePreprocess, CtcDecoder, DetectionPreprocess, Line, TextBoxes, cut_out, line_batches, reading_order

Network = Callable[[np.ndarray], np.ndarray]


class Networks(NamedTuple):
    """The networks; each takes and returns one array.

    Attributes:
        detect: float32 (1, 3, h, w) -> (1, 1, h, w).
        angle: float32 (n, 3, 48, 192) -> (n, 2): the probabilities of 0 and 180 degrees.
        recognize: float32 (n, 3, 48, w) -> (n, steps, classes).
    """

    detect: Network
    angle: Network
    recognize: Network


class TextLine(NamedTuple):
    """A line of text. Attributes: ``text``; ``confidence``, 0 to 1; ``box``, float32 (4, 2), clockwise from the upper left."""

    text: str
    confidence: float
    box: np.ndarray

    def to_json(self) -> Dict[str, Any]:
        """Return the line in the form of PaddleOCR's hubserving."""
        corners = np.round(self.box).astype(int).tolist()
        return {"text": self.text, "confidence": round(self.confidence, 5), "text_region": corners}


class TextReader:
    """Reader of text in pictures.

    Args:
        networks: of the pipeline.
        decoder: of the recognition network's outputs.
        settings: as in ``params.py``.

    Raises:
        ConfigError: a setting cannot be used.
    """

    def __init__(self, networks: Networks, decoder: CtcDecoder, settings: Dict[str, Any]) -> None:
        self._networks, self._decoder = networks, decoder
        self._prepare = DetectionPreprocess(settings["det_limit_side_len"], settings["det_limit_type"])
        self._find = TextBoxes(
            settings["det_db_thresh"],
            settings["det_db_box_thresh"],
            settings["det_db_unclip_ratio"],
            settings["use_dilation"],
            settings["det_db_score_mode"],
        )
        self._angle, self._use_angle = AnglePreprocess(), settings["use_angle_cls"]
        self._angle_thresh, self._angle_batch = number(settings, "cls_thresh"), settings["cls_batch_num"]
        self._line_batch, self._drop_score = settings["rec_batch_num"], number(settings, "drop_score")

    def __call__(self, picture: np.ndarray) -> List[TextLine]:
        """Read one picture, uint8 (H, W, 3) BGR: its lines in reading order; none where there is no text."""
        boxes = self.find(picture)
        crops = [cut_out(picture, box) for box in boxes]
        read = self._recognize(crops)
        turned = self._upside_down(crops)
        # The angle network is unreliable on small print: such lines are read both ways, and the better result counts.
        for number, other in zip(turned, self._recognize([np.ascontiguousarray(crops[number][::-1, ::-1]) for number in turned])):
            read[number] = max(read[number], other, key=lambda line: line.confidence)
        lines = [TextLine(*line, box) for line, box in zip(read, boxes)]
        return [line for line in lines if line.text and line.confidence >= self._drop_score]

    def find(self, picture: np.ndarray) -> np.ndarray:
        """Find boxes around lines, float32 (n, 4, 2), in reading order."""
        probabilities = self._networks.detect(self._prepare(picture)[None])[0, 0]
        boxes = self._find(probabilities, picture.shape[1], picture.shape[0])
        return boxes[reading_order(boxes)]

    def _recognize(self, crops: List[np.ndarray]) -> List[Line]:
        lines: List[Any] = [None] * len(crops)
        for numbers, array in line_batches(crops, self._line_batch):
            for number, line in zip(numbers, self._decoder(self._networks.recognize(array))):
                lines[number] = line
        return lines

    def _upside_down(self, crops: List[np.ndarray]) -> List[int]:
        """Return the numbers of the crops that seem to be upside down."""
        if not self._use_angle:
            return []
        found: List[int] = []
        for start in range(0, len(crops), self._angle_batch):
            upside_down = self._networks.angle(self._angle(crops[start : start + self._angle_batch]))[:, 1]
            found += (start + np.flatnonzero(upside_down > self._angle_thresh)).tolist()
        return found


def number(settings: Dict[str, Any], name: str) -> float:
    """Return a setting that must be a number from 0 to 1.

    Raises:
        InvalidInput: it is not such a number.
    """
    value = settings[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InvalidInput(f"{name} must be a number from 0 to 1, got {value!r}")
    return float(value)

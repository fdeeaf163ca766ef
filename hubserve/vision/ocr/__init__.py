"""Steps from a picture to its text around the three networks of PP-OCR (detection, angle, recognition)."""

from hubserve.vision.ocr.boxes import TextBoxes
from hubserve.vision.ocr.crops import cut_out
from hubserve.vision.ocr.ctc import CtcDecoder, Line, read_characters
from hubserve.vision.ocr.detection import DetectionPreprocess
from hubserve.vision.ocr.lines import AnglePreprocess, LineBatch, line_batches
from hubserve.vision.ocr.order import reading_order

__all__ = [
    "AnglePreprocess",
    "CtcDecoder",
    "DetectionPreprocess",
    "Line",
    "LineBatch",
    "TextBoxes",
    "cut_out",
    "line_batches",
    "read_characters",
    "reading_order",
]

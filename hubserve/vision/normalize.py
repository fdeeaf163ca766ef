"""``(value * scale - mean) / std`` by table: a byte has only 256 values, so each result is computed once and then looked up."""

import math
import re
from typing import Any, Sequence, Union

import numpy as np

from hubserve.errors import ConfigError
from hubserve.vision.opencv import opencv

#: RGB, for values from 0 to 1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# Within these, no result leaves the range of float32.
_SMALLEST, _LARGEST = 1e-12, 1e12
_NUMBER = r"\s*([0-9]*\.?[0-9]+|[0-9]+\.)([eE][-+]?[0-9]+)?\s*"
_FRACTION = re.compile(f"{_NUMBER}(?:/{_NUMBER})?")


class Normalization:
    """Normalizer of three channels, with the results of the plain float32 formula bit for bit.

    Args:
        scale: a number, or text such as ``"1.0/255.0"``; None means 1/255.
        mean: one number per channel.
        std: one number per channel, none of them 0.

    Raises:
        ConfigError: a value cannot be used.
    """

    def __init__(self, scale: Any = None, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        self._scale = np.float32(parse_scale(scale))
        self._mean, self._std = _per_channel("mean", mean), _per_channel("std", std)
        if np.abs(self._std).min() < _SMALLEST:
            raise ConfigError(f"std must not hold 0 (nor less than {_SMALLEST:g}), got {list(std)}: every value is divided by it")
        every_byte = np.arange(256, dtype=np.uint8).reshape(1, 256, 1)
        #: float32 (1, 256, 3) and, per channel, (256,)
        self._table = self._formula(every_byte, (1, 1, 3))
        self._tables = [np.ascontiguousarray(self._table[0, :, channel]) for channel in range(3)]

    def _formula(self, image: np.ndarray, shape: Any) -> np.ndarray:
        return np.asarray((image.astype(np.float32) * self._scale - self._mean.reshape(shape)) / self._std.reshape(shape))

    def pixels(self, image: np.ndarray) -> np.ndarray:
        """Normalise (H, W, 3) of any dtype to float32."""
        if image.dtype != np.uint8:
            return self._formula(image, (1, 1, 3))
        return np.asarray(opencv().LUT(np.ascontiguousarray(image), self._table))

    def planes(self, channels: Union[np.ndarray, Sequence[np.ndarray]]) -> np.ndarray:
        """Normalise three (H, W) channels, or one array (3, H, W), of any dtype to float32 (3, H, W)."""
        if channels[0].dtype != np.uint8:
            return self._formula(np.asarray(channels), (3, 1, 1))
        lut = opencv().LUT
        normalized = np.empty((3, *channels[0].shape), np.float32)
        for number, table in enumerate(self._tables):
            lut(channels[number], table, normalized[number])
        return normalized


def parse_scale(scale: Any) -> float:
    """Read a scale: a number, or text that is a number or one number divided by another. Nothing is evaluated.

    Raises:
        ConfigError: it is neither, or outside of 1e-12 to 1e12.
    """
    if scale is None:
        return 1.0 / 255.0
    value = math.nan
    if isinstance(scale, str):
        found = _FRACTION.fullmatch(scale)
        if found:
            above, below = float(found[1] + (found[2] or "")), float((found[3] or "1") + (found[4] or ""))
            value = above / below if below else math.inf
    elif isinstance(scale, (int, float)) and not isinstance(scale, bool):
        value = scale
    if not _SMALLEST <= value <= _LARGEST:
        raise ConfigError(
            f"scale must be a number above 0 (from {_SMALLEST:g} to {_LARGEST:g}), or text such as '1.0/255.0', got {str(scale)[:40]!r}"
        )
    return float(value)


def _per_channel(name: str, values: Any) -> np.ndarray:
    numbers = isinstance(values, (list, tuple)) and all(isinstance(value, (int, float)) and abs(value) <= _LARGEST for value in values)
    if not numbers or len(values) != 3:
        raise ConfigError(f"{name} must be a list of 3 numbers up to {_LARGEST:g}, one per channel, got {str(values)[:80]}")
    return np.array(values, dtype=np.float32)

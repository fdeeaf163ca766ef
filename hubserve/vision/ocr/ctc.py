"""Decode the recognition network's probabilities to text."""

from pathlib import Path
from typing import Any, List, NamedTuple, Sequence

import numpy as np

from hubserve.errors import LoadFailed, ModuleFailed


class Line(NamedTuple):
    """Attributes: ``text``; ``confidence``, 0 to 1: the average over its characters, 0 where there are none."""

    text: str
    confidence: float


class CtcDecoder:
    """Greedy decoder: the likeliest class of each step, without repetitions, then without blanks (class 0).

    Args:
        characters: those of the classes from 1 on.
    """

    def __init__(self, characters: Sequence[str]) -> None:
        self._characters = ["", *characters]

    @property
    def classes(self) -> int:
        """Number of classes, the blank included."""
        return len(self._characters)

    def __call__(self, probabilities: np.ndarray) -> List[Line]:
        """Decode a batch.

        Args:
            probabilities: float32 (n, steps, classes).
        Raises:
            ModuleFailed: there is another number of classes than characters.
        """
        if probabilities.ndim != 3 or probabilities.shape[2] != self.classes:
            raise ModuleFailed(
                f"the recognition model gives {list(probabilities.shape)} and the dictionary has {self.classes - 2} characters: "
                f"{self.classes} classes were expected. Give the dictionary that belongs to the model."
            )
        return [self._decode(classes, best) for classes, best in zip(probabilities.argmax(2), probabilities.max(2))]

    def _decode(self, classes: np.ndarray, best: np.ndarray) -> Line:
        kept = classes != 0
        kept[1:] &= classes[1:] != classes[:-1]
        if not kept.any():
            return Line("", 0.0)
        return Line("".join(self._characters[each] for each in classes[kept]), float(best[kept].mean()))


def read_characters(path: Any) -> List[str]:
    """Read the characters of a dictionary file, one per line, and add the space, which such files leave out.

    Raises:
        LoadFailed: it cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LoadFailed(f"cannot read the dictionary '{path}': {error}. Make it with: python tools/export_ocr.py") from None
    return [*text.rstrip("\n").split("\n"), " "]

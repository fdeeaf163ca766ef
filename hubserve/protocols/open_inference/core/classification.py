"""The classification extension: an output as its best classes, ``"<score>:<index>[:<label>]"`` each."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hubserve.errors import InvalidInput, shown


def class_count(parameters: dict[str, Any], output: str) -> int:
    """How many classes a client asks for; 0 for the tensor as it is.

    Raises:
        InvalidInput: it is no whole number from 0 up.
    """
    count = parameters.get("classification", 0)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise InvalidInput(
            f"the parameter 'classification' of output '{output}' must be a number of classes from 1 up, got {shown(count, 40)}"
        )
    return count


def check_classifiable(output: str, datatype: str) -> None:
    """Raise InvalidInput if an output of this datatype has no classes."""
    if datatype in ("BYTES", "BOOL"):
        raise InvalidInput(f"class result not available for output '{output}' due to unsupported type '{datatype}'; ask for numbers")


def best_classes(scores: np.ndarray, count: int, labels: Sequence[str], *, is_batched: bool) -> np.ndarray:
    """The best classes, highest score first; of equal scores the lower index.

    Args:
        scores: numbers of any shape; what is not a number comes last.
        count: how many classes to give, as far as there are so many.
        labels: what the classes are called, by index; may be shorter.
        is_batched: whether the first dimension is the batch; each item has its own classes.
    Returns:
        BYTES of shape [count], or [batch, count].
    """
    rows = scores.reshape(len(scores), -1) if is_batched and scores.ndim else scores.reshape(1, -1)
    count = min(count, rows.shape[1])
    best = np.empty((len(rows), count), object)
    for number, row in enumerate(rows):
        for place, index in enumerate(_best(row, count)):
            label = labels[index] if index < len(labels) else ""
            best[number, place] = (f"{float(row[index]):f}:{index}" + (f":{label}" if label else "")).encode()
    return best if is_batched and scores.ndim else best.reshape(-1)


def _best(row: np.ndarray, count: int) -> list[int]:
    if row.dtype.kind == "f":
        row = np.where(np.isnan(row), -np.inf, row)
    if not count:
        return []
    # of so many classes only those that can be among the best are sorted
    threshold = np.partition(row, len(row) - count)[len(row) - count]
    candidates = np.flatnonzero(row >= threshold)
    # sorting is stable, so the lower index must come later: it is all turned round
    order = np.argsort(row[candidates][::-1], kind="stable")[::-1]
    return [int(each) for each in candidates[::-1][order][:count]]


def float32_of(words: np.ndarray) -> np.ndarray:
    """Numbers whose upper halves are given as uint16 (BF16)."""
    return (words.astype(np.uint32) << 16).view(np.float32)

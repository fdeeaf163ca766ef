"""The classification extension: replace an output by its best classes, ``"<score>:<index>[:<label>]"`` each."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hubserve.errors import InvalidInput, shown


def class_count(parameters: dict[str, Any], output: str) -> int:
    """Return the number of classes that a client asks for; 0 for the tensor itself.

    Raises:
        InvalidInput: it is not a whole number from 0 up.
    """
    count = parameters.get("classification", 0)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise InvalidInput(
            f"the parameter 'classification' of output '{output}' must be a number of classes from 1 up, got {shown(count, 40)}"
        )
    return count


def check_classifiable(output: str, datatype: str) -> None:
    """Raise InvalidInput if an output of this datatype cannot be classified."""
    if datatype in ("BYTES", "BOOL"):
        raise InvalidInput(f"class result not available for output '{output}' due to unsupported type '{datatype}'; ask for numbers")


def best_classes(scores: np.ndarray, count: int, labels: Sequence[str], *, is_batched: bool) -> np.ndarray:
    """Return the best classes, highest score first; of equal scores the lower index first.

    Args:
        scores: numbers of any shape; NaN comes last.
        count: most classes to return.
        labels: names of the classes, by index; may be shorter.
        is_batched: whether the first dimension is the batch; classes are then found per item.
    Returns:
        BYTES of shape [count], or [batch, count].
    """
    rows = scores.reshape(len(scores), -1) if is_batched and scores.ndim else scores.reshape(1, -1)
    count = min(count, rows.shape[1])
    best = np.empty((len(rows), count), object)
    for number, row in enumerate(rows):
        for rank, index in enumerate(_best(row, count)):
            label = labels[index] if index < len(labels) else ""
            best[number, rank] = (f"{float(row[index]):f}:{index}" + (f":{label}" if label else "")).encode()
    return best if is_batched and scores.ndim else best.reshape(-1)


def _best(row: np.ndarray, count: int) -> list[int]:
    if row.dtype.kind == "f":
        row = np.where(np.isnan(row), -np.inf, row)
    if not count:
        return []
    # sort only the classes that can be among the best
    threshold = np.partition(row, len(row) - count)[len(row) - count]
    candidates = np.flatnonzero(row >= threshold)
    # a stable ascending sort that is reversed afterwards: the lower index must come later in it
    order = np.argsort(row[candidates][::-1], kind="stable")[::-1]
    return [int(each) for each in candidates[::-1][order][:count]]


def float32_of(words: np.ndarray) -> np.ndarray:
    """Return float32 numbers from BF16, their upper halves as uint16."""
    return (words.astype(np.uint32) << 16).view(np.float32)

"""Check whether a classifier's scores are probabilities."""

from typing import List

import numpy as np

PROBABILITIES = "probabilities"
#: how far the sum of an item's probabilities may be from 1: half precision and quantised models are less exact
_TOLERANCE = 1e-2


def are_probabilities(scores: np.ndarray) -> bool:
    """Return True if each row of [items, classes] is non-negative and sums to 1."""
    sums = scores.sum(axis=1, dtype=np.float64)
    return bool(scores.dtype.kind == "f" and (scores >= 0).all() and (np.abs(sums - 1) < _TOLERANCE).all())


def scores_kind(scores: np.ndarray) -> str:
    """Describe scores [items, classes] for people to read: :data:`PROBABILITIES`, or why they are not probabilities."""
    if not scores.size:
        return "not known: the model returned none"
    if are_probabilities(scores):
        return PROBABILITIES
    total = float(scores.sum(axis=1, dtype=np.float64)[0])
    return f"no probabilities: those of a grey picture are from {scores[0].min():.4g} to {scores[0].max():.4g}, {total:.4g} in all"


def kind_warnings(kind: str, softmax_applied: bool) -> List[str]:
    """Return the warnings about a model's scores for the user.

    Args:
        kind: as :func:`scores_kind` returns it, before any softmax.
        softmax_applied: whether softmax is applied to them.
    """
    if kind.startswith("not known"):
        return [f"whether the scores are probabilities is {kind}"]
    if softmax_applied and kind == PROBABILITIES:
        return ["softmax is applied to scores that are probabilities already. Set 'softmax' to false in params.py (or init_args)."]
    if not softmax_applied and kind != PROBABILITIES:
        return [f"the scores are {kind}. If they are logits, set 'softmax' to true in params.py (or init_args)."]
    return []


def softmax(scores: np.ndarray) -> np.ndarray:
    """Apply softmax to float [items, classes]; each row of the result sums to 1."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))

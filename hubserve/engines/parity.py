"""Compare outputs of two engines within tolerance."""

from typing import NamedTuple, Sequence, Tuple

import numpy as np

#: Of the largest value of an output. 32-bit engines stay below a tenth of it; computing in bfloat16 or int8 does not.
TOLERANCE = 1e-4


class Comparison(NamedTuple):
    """Attributes: ``agrees``; ``difference``, the largest absolute one of all outputs; ``why_not``, in words."""

    agrees: bool
    difference: float
    why_not: str = ""


def compare(reference: Sequence[np.ndarray], candidate: Sequence[np.ndarray]) -> Comparison:
    """Compare all outputs of one batch.

    Floats may differ by :data:`TOLERANCE` times the largest value of their output, so that a top class can differ only
    where the reference itself ranks two that closely; everything else must be equal.
    """
    if len(reference) != len(candidate):
        return Comparison(False, 0.0, f"it gives {len(candidate)} outputs instead of {len(reference)}")
    largest = 0.0
    for index, (want, got) in enumerate(zip(reference, candidate)):
        if want.shape != got.shape or want.dtype != got.dtype:
            return Comparison(False, largest, f"output {index} is {got.dtype} {list(got.shape)} instead of {want.dtype} {list(want.shape)}")
        difference, allowed = _distance(want, got)
        largest = max(largest, difference)
        if not difference <= allowed:  # so that NaN disagrees
            return Comparison(False, difference, f"output {index} differs by up to {difference:.1e}, more than {allowed:.1e}")
    return Comparison(True, largest)


def _distance(want: np.ndarray, got: np.ndarray) -> Tuple[float, float]:
    if not want.size:
        return 0.0, 0.0
    if want.dtype == object:  # texts
        return float(not np.array_equal(want, got)), 0.0
    want_wide, got_wide = want.astype(np.float64), got.astype(np.float64)
    same = (want == got) | (np.isnan(want_wide) & np.isnan(got_wide))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(want_wide - got_wide))
    if not np.issubdtype(want.dtype, np.floating):
        return float(apart.max()), 0.0
    finite = np.abs(want_wide[np.isfinite(want_wide)])
    return float(apart.max()), TOLERANCE * float(finite.max() if finite.size else 0.0)

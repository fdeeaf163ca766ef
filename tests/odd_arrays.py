"""Arrays of every dtype and memory layout that a module, a client or another framework may pass."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from hubserve.types import DTYPES

#: dtypes whose elements can be sent, in either byte order
SENDABLE = [*DTYPES, *(np.dtype(name).newbyteorder(">").str for name in DTYPES if np.dtype(name).itemsize > 1)]
TEXTS = ["S3", "U3", ">U3", "object"]
UNSENDABLE = ["complex64", ">c16", "longdouble", "datetime64[s]", "timedelta64[ms]", "i4,f4", "V3"]


def array_of(dtype: str, shape: tuple[int, ...] = (3, 4), seed: int = 0) -> np.ndarray:
    """Return an array whose values differ from each other and from their byte-swapped selves."""
    count = int(np.prod(shape, dtype=int))
    numbers = np.random.default_rng(seed).permutation(100)[:count]
    if dtype in ("S3", "U3", ">U3"):
        return np.array([f"t{number}" for number in numbers], dtype).reshape(shape)
    if dtype == "object":
        made = np.empty(count, object)
        made[:] = [f"t{number}".encode() * 2 for number in numbers]
        return made.reshape(shape)
    if dtype in ("i4,f4", "V3"):
        return np.zeros(shape, dtype)
    return numbers.astype("int64").astype(dtype).reshape(shape)


def _read_only(array: np.ndarray) -> np.ndarray:
    frozen = array.copy()
    frozen.flags.writeable = False
    return frozen


#: name -> the same values in another layout; some change the shape
LAYOUTS: dict[str, Any] = {
    "plain": lambda array: array,
    "Fortran": np.asfortranarray,
    "reversed": lambda array: array[::-1],
    "strided": lambda array: np.repeat(array, 2, axis=0)[::2],
    "transposed": lambda array: array.T,
    "broadcast": lambda array: np.broadcast_to(array[:1], array.shape),
    "read-only": _read_only,
    "empty": lambda array: array[:0],
    "no dimension": lambda array: array[0, 0] if array.dtype.kind != "O" else np.array(array[0, 0], object),
}


@st.composite
def arrays(draw: Any, dtypes: "list[str]", layouts: Any = tuple(LAYOUTS)) -> Any:
    """Draw a dtype and an array of it."""
    dtype = draw(st.sampled_from(dtypes))
    return dtype, LAYOUTS[draw(st.sampled_from(list(layouts)))](array_of(dtype, seed=draw(st.integers(0, 9))))


def values(array: Any) -> Any:
    """Convert an array to nested lists of Python numbers and bytes."""
    listed = np.asarray(array).tolist()

    def plain(value: Any) -> Any:
        return [plain(each) for each in value] if isinstance(value, list) else value.encode() if isinstance(value, str) else value

    return plain(listed)

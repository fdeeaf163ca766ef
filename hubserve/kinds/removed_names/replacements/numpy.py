"""Removed functions of numpy, rebuilt on present ones."""

import warnings
from typing import Any, Callable, Optional, Sequence

import numpy as np

Note = Callable[[], None]

NINF, NZERO, PZERO = -np.inf, -0.0, 0.0


def fromstring(original: Callable[..., Any], note: Note) -> Optional[Callable[..., Any]]:
    """Wrap ``fromstring`` to read bytes, which numpy 2.3 and newer refuse, by ``frombuffer``; None if it still reads them."""
    if _reads_bytes(original):
        return None

    def replacement(string: Any, dtype: Any = float, count: int = -1, sep: str = "", *, like: Any = None) -> Any:
        if sep:
            return original(string, dtype, count, sep=sep, **({} if like is None else {"like": like}))
        note()
        data = string.encode() if isinstance(string, str) else string
        if len(data) % np.dtype(dtype).itemsize and count < 0:
            raise ValueError("string size must be a multiple of element size")
        return np.frombuffer(data, dtype, count).copy()  # writable, like the old function's array

    return replacement


def _reads_bytes(original: Callable[..., Any]) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # older versions only warn
            original(b"\0", np.uint8)
    except (ValueError, TypeError):
        return False
    return True


def asscalar(a: Any) -> Any:
    """Return the only value of an array."""
    return a.item()


def in1d(ar1: Any, ar2: Any, assume_unique: bool = False, invert: bool = False, **options: Any) -> Any:
    """Test for each value of a flat array whether it is in another one."""
    return np.isin(np.asarray(ar1).ravel(), ar2, assume_unique=assume_unique, invert=invert, **options)


def asfarray(a: Any, dtype: Any = np.float64) -> Any:
    """Return an array of floats."""
    return np.asarray(a, dtype if np.issubdtype(dtype, np.inexact) else np.float64)


def msort(a: Any) -> Any:
    """Return a copy that is sorted along its first axis."""
    return np.sort(a, axis=0)


def alen(a: Any) -> int:
    """Return the length of the first axis; 1 for a scalar."""
    return len(np.array(a, ndmin=1))


def find_common_type(array_types: Sequence[Any], scalar_types: Sequence[Any]) -> Any:
    """Return the common type of arrays and scalars: that of the arrays, unless a scalar is of a higher kind."""
    arrays = [np.dtype(each) for each in array_types]
    scalars = [np.dtype(each) for each in scalar_types]
    if not arrays or not scalars:
        return np.result_type(*(arrays or scalars)) if arrays or scalars else None
    of_arrays, of_scalars = np.result_type(*arrays), np.result_type(*scalars)
    kinds = "biufc"
    return of_scalars if kinds.find(of_scalars.kind) > kinds.find(of_arrays.kind) else of_arrays


def obj2sctype(rep: Any, default: Any = None) -> Any:
    """Return the scalar type of a type, a type's name or an array."""
    try:
        return (rep.dtype if isinstance(rep, np.ndarray) else np.dtype(rep)).type
    except TypeError:
        return default


def issubclass_(arg1: Any, arg2: Any) -> bool:
    """Return True for a subclass; False for a value that is not a class."""
    return isinstance(arg1, type) and issubclass(arg1, arg2)


def ndarray_tostring(array: Any, order: Any = "C") -> bytes:
    """Return the bytes of an array."""
    return bytes(array.tobytes(order))


def ndarray_itemset(array: Any, *args: Any) -> None:
    """Set one value: ``itemset(value)``, ``itemset(flat index, value)``, ``itemset((row, column), value)``."""
    *index, value = args
    if not index:
        array[(0,) * array.ndim] = value
    elif len(index) == 1 and not isinstance(index[0], tuple):
        array.flat[index[0]] = value
    else:
        array[index[0] if len(index) == 1 else tuple(index)] = value


def ndarray_newbyteorder(array: Any, new_order: str = "S") -> Any:
    """Return a view of the same bytes in another order."""
    return array.view(array.dtype.newbyteorder(new_order))


def ndarray_ptp(array: Any, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
    """Return the difference between the largest and the smallest value."""
    return np.ptp(array, axis=axis, out=out, keepdims=keepdims)

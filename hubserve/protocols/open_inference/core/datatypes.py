"""Convert between the protocol's datatypes and raw tensors, and numpy arrays.

BYTES are numpy arrays of dtype object that hold ``bytes``. BF16 are numpy arrays of uint16: the upper halves of float32.
"""

import asyncio
import math
from typing import Any

import numpy as np

from hubserve.errors import InvalidInput, shown
from hubserve.types import BFLOAT16, BYTES, FEW_ELEMENTS, array_from_bytes, dtype_name, pack_bytes, parse_shape, with_packed

#: the protocol's name -> a TensorSpec's dtype
DTYPE_OF = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BF16": BFLOAT16,
    "BYTES": BYTES,
}
#: an array of up to this many bytes is copied, which is faster than making a view
_COPIED_BYTES = 4096
DATATYPE_OF = {dtype: datatype for datatype, dtype in DTYPE_OF.items()}


def dtype_of(datatype: Any) -> str:
    """Return the TensorSpec dtype of a datatype.

    Args:
        datatype: a client's, such as "FP32".
    Raises:
        InvalidInput: it is not a datatype of the protocol.
    """
    dtype = DTYPE_OF.get(datatype) if isinstance(datatype, str) else None
    if dtype is None:
        raise InvalidInput(f"'{shown(datatype, 40)}' is not a datatype; use one of {', '.join(DTYPE_OF)}")
    return dtype


def config_type_of(datatype: str) -> str:
    """Return a datatype's name in a model configuration, such as "TYPE_FP32"; BYTES is "TYPE_STRING" there."""
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"


def datatype_of(array: np.ndarray, dtype: str = "") -> str:
    """Return the protocol's datatype of an array, such as "FP32".

    Args:
        array: anything that hubserve's wire carries.
        dtype: of its TensorSpec, which distinguishes bfloat16 from uint16.
    """
    return "BF16" if dtype == BFLOAT16 and array.dtype == np.uint16 else DATATYPE_OF[dtype_name(array)]


def array_from_raw(data: Any, datatype: Any, shape: Any) -> np.ndarray:
    """Decode a tensor's binary form: little-endian elements in C order; BYTES each behind its length as uint32.

    Args:
        data: any bytes-like object; BYTES are copied, other elements viewed.
        datatype: a client's.
        shape: a client's.
    Raises:
        InvalidInput: datatype or shape are unusable, or do not match the length of the data.
        ManyElements: called on the event loop for more BYTES than it has time to decode.
    """
    return array_of_dtype(data, dtype_of(datatype), shape)


class ManyElements(Exception):
    """A tensor has too many byte strings to be decoded on the event loop.

    Attributes:
        count: the number of byte strings.
    """

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count


def array_of_dtype(data: Any, dtype: str, shape: Any) -> np.ndarray:
    """Decode raw elements like :func:`array_from_raw`, with a TensorSpec's dtype."""
    if dtype != BYTES:
        return array_from_bytes(data, dtype, shape)
    lengths = parse_shape(shape)
    count = math.prod(lengths)
    if count > FEW_ELEMENTS and _is_on_loop():
        raise ManyElements(count)
    array = array_from_bytes(data, dtype, shape)
    return with_packed(array, data) if count > FEW_ELEMENTS else array


def _is_on_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def raw_from_array(array: np.ndarray) -> Any:
    """Return a tensor's binary form: bytes, or a view of a contiguous array's."""
    if array.dtype.kind in "OSU":
        return pack_bytes(array)
    if array.nbytes <= _COPIED_BYTES:
        return array.tobytes()
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data

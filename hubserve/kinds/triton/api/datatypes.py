"""Names and numbers of datatypes, and the binary form of byte strings."""

from typing import Any, Dict, Union

import numpy as np

from hubserve.kinds.triton.api.errors import TritonModelException
from hubserve.kinds.triton.api.texts import text_of
from hubserve.types import dtype_name, pack_bytes, unpack_bytes

_NAMES = ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "STRING", "BF16")
#: name -> Triton's number of the datatype; BYTES is the clients' name of STRING
NUMBERS: Dict[str, int] = {**{name: number for number, name in enumerate(_NAMES, 1)}, "BYTES": 13}
BF16 = NUMBERS["BF16"]
_NUMPY: Dict[int, Any] = {
    1: np.bool_,
    2: np.uint8,
    3: np.uint16,
    4: np.uint32,
    5: np.uint64,
    6: np.int8,
    7: np.int16,
    8: np.int32,
    9: np.int64,
    10: np.float16,
    11: np.float32,
    12: np.float64,
    13: np.object_,
}
#: by the dtype itself, because computing its name would dominate the time for a small tensor; by name for other byte orders
_OF_DTYPE: Dict[Any, int] = {np.dtype(numpy): number for number, numpy in _NUMPY.items() if number != NUMBERS["STRING"]}
_OF_DTYPE.update({dtype.name: number for dtype, number in list(_OF_DTYPE.items())})


#: name in a configuration -> numpy type; BF16 has none
TRITON_STRING_TO_NUMPY: Dict[str, Any] = {f"TYPE_{name}": _NUMPY[NUMBERS[name]] for name in _NAMES if NUMBERS[name] in _NUMPY}


def triton_string_to_numpy(triton_type_string: str) -> Any:
    """Return the numpy type of a datatype in a configuration, such as "TYPE_FP32"; None for BF16, which numpy lacks.

    Raises:
        TritonModelException: there is no such datatype.
    """
    number = NUMBERS.get(text_of(triton_type_string).replace("TYPE_", "", 1))
    if number is None:
        raise TritonModelException(f"unknown datatype '{triton_type_string}'; use one of TYPE_{', TYPE_'.join(_NAMES)}")
    return _NUMPY.get(number)


def triton_to_numpy_type(data_type: int) -> Any:
    """Return the numpy type of a datatype's number; None for BF16, which numpy lacks.

    Raises:
        TritonModelException: there is no such datatype.
    """
    if int(data_type) == BF16:
        return None
    if int(data_type) not in _NUMPY:
        raise TritonModelException(f"unknown datatype number {data_type}; use one from 1 to {BF16}")
    return _NUMPY[int(data_type)]


def numpy_to_triton_type(data_type: Any) -> int:
    """Return the datatype number of a numpy type.

    Raises:
        TritonModelException: tensors cannot have this type.
    """
    dtype = np.dtype(data_type)
    number = _OF_DTYPE.get(dtype)
    if number is None:
        number = NUMBERS["STRING"] if dtype.kind in "OSUT" else _OF_DTYPE.get(dtype.name)
    if number is None:
        raise TritonModelException(f"a tensor cannot be of dtype {dtype.name}; convert the array with astype()")
    return number


def number_of(array: np.ndarray, dtype: str = "") -> int:
    """Return the number of an array's datatype.

    Args:
        array: of any dtype that a tensor may have.
        dtype: of its TensorSpec, which distinguishes bfloat16 from uint16.
    """
    return BF16 if dtype == "bfloat16" else numpy_to_triton_type(array.dtype if dtype_name(array) != "bytes" else np.object_)


class _Packed(bytes):
    """Packed byte strings with the ``item()`` of an array, which older code calls."""

    def item(self) -> bytes:
        """Return the bytes themselves."""
        return bytes(self)


def serialize_byte_tensor(input_tensor: np.ndarray) -> bytes:
    """Pack byte strings, each after its length as a little-endian uint32, in C order.

    Args:
        input_tensor: of ``bytes`` or ``str``.
    Returns:
        The bytes; none for an array without elements.
    """
    return _Packed(pack_bytes(input_tensor))


def deserialize_bytes_tensor(encoded_tensor: Union[bytes, np.ndarray]) -> np.ndarray:
    """Unpack the bytes of :func:`serialize_byte_tensor` into an array of one dimension that holds ``bytes``."""
    data = encoded_tensor.tobytes() if isinstance(encoded_tensor, np.ndarray) else bytes(encoded_tensor)
    count = start = 0
    while start + 4 <= len(data):
        start += 4 + int.from_bytes(data[start : start + 4], "little")
        count += 1
    return unpack_bytes(data, [count])

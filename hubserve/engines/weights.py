"""Check that a ``.pdiparams`` file is complete: Paddle loads a truncated one silently, and computes with the rest.

The file is one record after the other, without an index: format version (uint32), number of levels of detail (uint64), each level's
length and bytes, tensor version (uint32), length of a description (int32), the description (``TensorDesc`` of Paddle's framework.proto:
element type, lengths), elements.
"""

import math
import mmap
import struct
from pathlib import Path

from hubserve.engines.protobuf import integer_of, integers_of, parse_message
from hubserve.errors import LoadFailed

#: VarType.Type of framework.proto -> bytes of one element
_ELEMENT_BYTES = {0: 1, 1: 2, 2: 4, 3: 8, 4: 2, 5: 4, 6: 8, 20: 1, 21: 1, 22: 2, 23: 8, 24: 16, 32: 1, 33: 1}


class _UnknownElement(Exception):
    """An element type of a later Paddle; the rest of the file cannot be checked."""


def check_weights(path: Path) -> None:
    """Walk through a ``.pdiparams`` file, of Paddle 2 or 3, from record to record; the elements themselves are not read.

    Raises:
        LoadFailed: the file does not end with its last tensor, or is of another format.
    """
    size_bytes = path.stat().st_size
    if not size_bytes:
        return  # a program without parameters may have an empty file
    position = 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            while 0 <= position < size_bytes:
                position = _end_of_record(data, position)
        except _UnknownElement:
            return
        except (struct.error, ValueError, KeyError, IndexError):
            position = -1
    if position != size_bytes:
        raise LoadFailed(f"the weights '{path}' are damaged or cut short ({size_bytes} bytes). Copy or save the file again.")


def _end_of_record(data: mmap.mmap, position: int) -> int:
    version, levels = struct.unpack_from("<IQ", data, position)
    if version or levels > 8:
        raise ValueError("no such record")
    position += 12
    for _ in range(levels):
        (level_bytes,) = struct.unpack_from("<Q", data, position)
        position += 8 + level_bytes
    tensor_version, description_bytes = struct.unpack_from("<Ii", data, position)
    if tensor_version or description_bytes < 0:
        raise ValueError("unknown version")
    position += 8
    description = parse_message(data[position : position + description_bytes])
    lengths = integers_of(description, 2)
    if any(length < 0 for length in lengths):
        raise ValueError("negative length")
    element = integer_of(description, 1)
    if element not in _ELEMENT_BYTES:
        raise _UnknownElement
    return int(position + description_bytes + math.prod(lengths) * _ELEMENT_BYTES[element])

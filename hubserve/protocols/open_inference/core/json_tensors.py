"""Convert between tensors and lists of JSON values."""

import asyncio
import json
from codecs import getincrementaldecoder
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import orjson

from hubserve.errors import InvalidInput, ModuleFailed, beginning, shown
from hubserve.protocols.open_inference.core.classification import float32_of
from hubserve.protocols.open_inference.core.datatypes import dtype_of
from hubserve.types import BFLOAT16, BYTES, parse_shape

_NUMBERS = frozenset((int, float))
_MAX_DEPTH = 32
#: encoded in one step, before other tasks may run; an element counts as some bytes more than its length
_STEP_ELEMENTS = 16 << 10
_STEP_BYTES = 256 << 10
_ELEMENT_BYTES = 64
#: kind of numpy dtype -> accepted types of JSON values
_TYPES = {"f": _NUMBERS, "i": frozenset((int,)), "u": frozenset((int,)), "b": frozenset((bool, int))}
_EXPECTED = {"f": "numbers", "i": "whole numbers", "u": "whole numbers", "b": "true or false"}


def array_from_values(values: Any, datatype: Any, shape: Any, name: str) -> np.ndarray:
    """Return the tensor that a client sent as JSON.

    Args:
        values: a list in row-major order, flat or nested in any way.
        datatype: the client's.
        shape: the client's.
        name: of the input, for messages.
    Raises:
        InvalidInput: datatype or shape are unusable, or type or number of the values do not match them.
    """
    dtype, lengths = dtype_of(datatype), parse_shape(shape)
    if not isinstance(values, list):
        raise InvalidInput(f"the data of input '{name}' must be a list, got {_shorten(values)}")
    flat = _flatten(values, name)
    count = 1
    for length in lengths:  # Python integers: a huge shape must not overflow into a fitting one
        count *= length
    if count != len(flat):
        raise InvalidInput(
            f"input '{name}' of shape {shown(list(lengths), 120)} needs {count if count < 1 << 60 else 'far too many'} elements, "
            f"got {len(flat)}"
        )
    return _elements(flat, dtype, datatype, name).reshape(lengths)


def _flatten(values: list[Any], name: str) -> list[Any]:
    for _ in range(_MAX_DEPTH):
        if not values or type(values[0]) is not list:
            return values
        if set(map(type, values)) != {list}:
            raise InvalidInput(f"the data of input '{name}' mix lists and values; nest them evenly, or not at all")
        values = list(chain.from_iterable(values))
    raise InvalidInput(f"the data of input '{name}' are nested more than {_MAX_DEPTH} deep; a flat list will do")


def _elements(flat: list[Any], dtype: str, datatype: str, name: str) -> np.ndarray:
    types = set(map(type, flat))
    if dtype == BYTES:
        if not types <= {str}:
            raise _wrong_type(name, datatype, "texts", flat, {str})
        array = np.empty(len(flat), object)
        array[:] = [each.encode("utf-8", "surrogatepass") for each in flat]
        return array
    target = np.dtype("float32" if dtype == BFLOAT16 else dtype)
    if not types <= _TYPES[target.kind]:
        raise _wrong_type(name, datatype, _EXPECTED[target.kind], flat, set(_TYPES[target.kind]))
    try:
        if target.kind == "f":
            with np.errstate(over="ignore"):
                array = np.array(flat, np.float64).astype(target)
        else:
            array = _whole_numbers(flat, target, datatype, name)
    except OverflowError:
        raise InvalidInput(f"the data of input '{name}' hold a number that is too large for {datatype}") from None
    return _upper_halves(array) if dtype == BFLOAT16 else array


def _whole_numbers(flat: list[Any], target: np.dtype, datatype: str, name: str) -> np.ndarray:
    if not flat:
        return np.empty(0, target)
    lowest, highest = (0, 1) if target.kind == "b" else (int(np.iinfo(target).min), int(np.iinfo(target).max))
    if min(flat) < lowest or max(flat) > highest:
        raise InvalidInput(f"the data of input '{name}' must be from {lowest} to {highest} for {datatype}, got {min(flat)} to {max(flat)}")
    return np.array(flat, target)


def _wrong_type(name: str, datatype: str, expected: str, flat: list[Any], types: set[Any]) -> InvalidInput:
    wrong = next(each for each in flat if type(each) not in types)
    return InvalidInput(f"the data of input '{name}' must be {expected} for {datatype}, got {_shorten(wrong)}")


def _upper_halves(array: np.ndarray) -> np.ndarray:
    """Return float32 numbers as BF16, rounded to the nearest."""
    words = array.view(np.uint32)
    rounded = words + 0x7FFF + ((words >> 16) & 1)
    return np.where(np.isnan(array), (words >> 16) | 0x40, rounded >> 16).astype(np.uint16)


def values_of(array: np.ndarray, datatype: str, nan: str = "token") -> bytes:
    """Encode a tensor's elements as the text of a flat JSON list. Bytes that are not UTF-8 are replaced.

    Args:
        array: the tensor.
        datatype: the protocol's.
        nan: NaN and Infinity become "null", or the words ("token"), or raise ("error").
    Raises:
        ModuleFailed: the tensor holds NaN or Infinity, and ``nan`` is "error".
    """
    flat = array.ravel()
    if datatype == "BYTES":
        return dump_json([_text(each) for each in flat])
    if datatype == "BF16":
        flat = float32_of(flat)
    elif datatype == "FP16":
        flat = flat.astype(np.float32)
    if nan != "null" and flat.dtype.kind == "f" and not np.isfinite(flat).all():
        if nan == "error":
            raise ModuleFailed(
                "the model's answer holds NaN or Infinity, which JSON does not have; ask for it in binary, or set 'v2_nan' to \"null\""
            )
        return json.dumps(flat.tolist()).encode()
    return orjson.dumps(np.ascontiguousarray(flat), option=orjson.OPT_SERIALIZE_NUMPY)


def is_large(array: np.ndarray) -> bool:
    """Return True if encoding a tensor's elements would hold up the event loop."""
    return array.size > _STEP_ELEMENTS or (array.dtype.kind == "O" and sum(map(len, array.ravel())) > _STEP_BYTES)


async def values_in_steps(array: np.ndarray, datatype: str, nan: str) -> bytes:
    """Encode like :func:`values_of`, but yield to the event loop every few milliseconds."""
    flat, parts = array.ravel(), []
    for some in _texts_in_steps(flat) if datatype == "BYTES" else _numbers_in_steps(flat):
        if len(some) == 1 and datatype == "BYTES" and len(some[0]) > _STEP_BYTES:
            parts.append(await _long_text(some[0]))
        else:
            parts.append(values_of(some, datatype, nan)[1:-1])
        await asyncio.sleep(0)
    return b"[%s]" % b",".join(parts)


def _numbers_in_steps(flat: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(flat), _STEP_ELEMENTS):
        yield flat[start : start + _STEP_ELEMENTS]


def _texts_in_steps(flat: np.ndarray) -> Iterator[np.ndarray]:
    """Yield elements in groups of about ``_STEP_BYTES``; a longer element alone."""
    start = size = 0
    for index, element in enumerate(flat):
        more = len(element) + _ELEMENT_BYTES
        if size and size + more > _STEP_BYTES:
            yield flat[start:index]
            start, size = index, 0
        size += more
    yield flat[start:]


async def _long_text(element: Any) -> bytes:
    decoder = getincrementaldecoder("utf-8")("replace")
    parts = []
    for start in range(0, len(element), _STEP_BYTES):
        step = element[start : start + _STEP_BYTES]
        text = step if isinstance(step, str) else decoder.decode(step, start + _STEP_BYTES >= len(element))
        parts.append(dump_json(text)[1:-1])
        await asyncio.sleep(0)
    return b'"%s"' % b"".join(parts)


def _shorten(value: Any) -> str:
    return dump_json(beginning(value)).decode()[:80]


def _text(element: Any) -> str:
    return element if isinstance(element, str) else bytes(element).decode("utf-8", "replace")


def dump_json(value: Any) -> bytes:
    """Return a value as JSON; texts may hold lone surrogates."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":"), default=str).encode()

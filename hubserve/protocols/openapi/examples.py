"""Examples that a server answers as they are: a small picture, zeros, and values for the arguments of methods."""

import math
from collections.abc import Sequence
from typing import Any

from hubserve.kinds.example_picture import PICTURE
from hubserve.types import ANY, BYTES, REST

__all__ = ["MOST_ELEMENTS", "PICTURE", "Unknown", "nested", "shape_of_one", "value_of_argument", "zeros"]

#: a tensor of more elements is too long for an example
MOST_ELEMENTS = 4096
#: what an argument of this name usually is, by a part of the name
_BY_NAME: tuple[tuple[str, Any], ...] = (
    ("images", [PICTURE]),
    ("image", PICTURE),
    ("texts", ["some text"]),
    ("text", "some text"),
    ("sentences", ["some text"]),
    ("sentence", "some text"),
    ("numbers", [1, 2, 3]),
    ("number", 1),
)
_BY_TYPE: dict[str, Any] = {"string": "some text", "integer": 1, "number": 0.5, "boolean": True, "object": {}}


class Unknown(Exception):
    """No value is likely enough to be right."""


def value_of_argument(name: str, schema: dict[str, Any]) -> Any:
    """Return an example of an argument.

    Args:
        name: the argument's.
        schema: of its values.
    Raises:
        Unknown: neither says what it may be.
    """
    kind = schema.get("type")
    usual = next((value for part, value in _BY_NAME if part in name.lower()), None)
    if usual is not None and kind in (None, _json_type(usual)):
        return usual
    if usual is not None and kind == "array":
        return [usual]
    if "enum" in schema:
        return schema["enum"][0]
    if kind == "array":
        return [value_of_argument("", schema.get("items", {}))]
    if kind in _BY_TYPE:
        return _BY_TYPE[kind]
    raise Unknown(name)


def _json_type(value: Any) -> str:
    return "array" if isinstance(value, list) else "string" if isinstance(value, str) else "integer"


def shape_of_one(shape: Sequence[int]) -> list[int]:
    """Return the shape of a tensor with one element along each open dimension."""
    return [1 if length == ANY else length for length in shape if length != REST]


def zeros(dtype: str, shape: Sequence[int]) -> list[Any] | None:
    """Return the elements of a tensor of zeros as a flat list; texts for :data:`BYTES`; None if they are too many."""
    count = math.prod(shape)
    if count > MOST_ELEMENTS:
        return None
    return [{BYTES: "some text", "bool": False}.get(dtype, 0)] * count


def nested(flat: list[Any], shape: Sequence[int]) -> Any:
    """Return a flat list as nested lists of a shape; the element itself if there is only one."""
    if len(flat) == 1:
        return flat[0]
    for length in reversed(shape[1:]):
        flat = [flat[start : start + length] for start in range(0, len(flat), length or 1)]
    return flat

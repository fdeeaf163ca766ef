"""Parse clients' JSON within bounds of depth and size."""

import json
from typing import Any, NamedTuple

import numpy as np
import orjson

from hubserve.errors import InvalidInput, NotJson, TooLarge
from hubserve.settings import ServerSettings

#: a document of up to this many bytes is parsed on the event loop
SMALL_BYTES = 64 << 10
#: so is a longer one of few values, such as one large text; orjson reads 2 MiB of text in a millisecond
_MAX_LIGHT_BYTES = 4 << 20
_FEW_VALUES = 16 << 10
#: scanned at once
_PIECE_BYTES = 256 << 10
#: structural characters of JSON, and all others
_MARKS = b'[]{},"'
_OTHERS = bytes(set(range(256)) - set(_MARKS))
_STEPS = bytes.maketrans(b"[{]},", b"\x01\x01\xff\xff\x00")


class JsonBounds(NamedTuple):
    """Limits of one JSON document.

    Attributes:
        depth: levels of lists and objects.
        values: of any type, in all.
    """

    depth: int
    values: int

    def check_byte_strings(self, count: int) -> None:
        """Check the number of byte strings in the tensors of a request; each takes as long as ten values of a document.

        Raises:
            TooLarge: there are too many.
        """
        limit = max(_FEW_VALUES, self.values // 10)
        if count > limit:
            raise TooLarge(
                f"the request holds {count} byte strings, and this server takes {limit}, a tenth of 'max_elements'; "
                "send fewer, or raise that"
            )

    @classmethod
    def of(cls, settings: ServerSettings) -> "JsonBounds":
        """Return the bounds of a server's settings."""
        return cls(settings.max_json_depth, settings.max_elements)


def is_light(text: Any) -> bool:
    """Return True if a document can be parsed on the event loop without delaying other requests.

    Args:
        text: any bytes-like object.
    """
    size = len(text)
    if size <= SMALL_BYTES:
        return True
    if size > _MAX_LIGHT_BYTES:
        return False
    values = 0
    view = memoryview(text)
    for start in range(0, size, _PIECE_BYTES):
        piece = bytes(view[start : start + _PIECE_BYTES])
        values += piece.count(b",") + piece.count(b"[") + piece.count(b"{")
        if values > _FEW_VALUES:
            return False
    return True


def is_small_object(text: Any, bounds: JsonBounds) -> bool:
    """Return True if a text is certainly a small JSON object within bounds; :func:`parse_json` decides about others."""
    if len(text) > SMALL_BYTES or _may_exceed(text, bounds):
        return False
    try:
        return isinstance(orjson.loads(text), dict)
    except orjson.JSONDecodeError:
        return False


def _may_exceed(text: Any, bounds: JsonBounds) -> bool:
    """Return True if a document may exceed its bounds: every level and every value takes characters."""
    depth, values = bounds
    size = len(text)
    if size <= 2 * depth and size <= values:
        return False
    raw = buffer_of(text)
    return bool(size > values or raw.count(b"[") + raw.count(b"{") > depth)


def parse_json(text: Any, what: str, bounds: JsonBounds, *, any_encoding: bool = False) -> Any:
    """Parse a client's JSON, in which NaN and Infinity are numbers.

    Args:
        text: any bytes-like object.
        what: it is, for messages.
        bounds: limits of the document.
        any_encoding: accept UTF-16 and UTF-32, too, as Python's own parser does.
    Raises:
        NotJson: it is not JSON, or nested too deep.
        TooLarge: it holds too many values.
    """
    if _may_exceed(text, bounds):
        _check(buffer_of(text), what, bounds)
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        reason: Exception = error
    raw = buffer_of(text)
    encoding = json.detect_encoding(raw) if any_encoding else "utf-8"
    if not encoding.startswith("utf-8"):
        return parse_json(_as_utf8(raw, encoding, what), what, bounds)
    if any_encoding or any(each in raw for each in (b"NaN", b"Infinity", b"\\ud", b"\\uD")):
        try:
            return json.loads(bytes(raw))
        except (ValueError, RecursionError) as error:
            reason = error
    raise NotJson(f"{what} is not valid JSON: {str(reason)[:200]}")


def _as_utf8(raw: Any, encoding: str, what: str) -> bytes:
    try:
        return bytes(raw).decode(encoding).encode()
    except UnicodeDecodeError as error:
        raise NotJson(f"{what} is not valid JSON: {error}") from None


def buffer_of(text: Any) -> Any:
    """Return the bytes or bytearray behind a complete view, or a copy, for methods that a memoryview lacks."""
    buffer = getattr(text, "obj", text)
    return buffer if isinstance(buffer, (bytes, bytearray)) and len(buffer) == len(text) else bytes(text)


def _check(raw: Any, what: str, bounds: JsonBounds) -> None:
    depth, values = structure_of(raw, bounds)
    if depth > bounds.depth:
        raise NotJson(
            f"{what} is not valid JSON for this server, which takes lists and objects nested {bounds.depth} deep (max_json_depth); "
            "send flatter JSON, or raise that"
        )
    if values > bounds.values:
        raise TooLarge(
            f"{what} holds more than {bounds.values} values; send fewer at once, send tensors in binary, or raise 'max_elements'"
        )


def structure_of(raw: Any, bounds: JsonBounds | None = None) -> tuple[int, int]:
    """Return the depth of a document and an upper bound of its number of values; both are meaningless if it is not JSON.

    Args:
        raw: bytes or a bytearray.
        bounds: the scan stops once they are exceeded.
    """
    depth = deepest = values = 0
    in_text, carried = False, b""  # inside a text; a backslash that escapes the next piece's first character
    for start in range(0, len(raw), _PIECE_BYTES):
        piece = carried + bytes(raw[start : start + _PIECE_BYTES])
        kept = piece.rstrip(b"\\")
        carried = b"\\" if (len(piece) - len(kept)) % 2 else b""  # pairs are escaped backslashes
        if b"\\" in kept:
            kept = kept.replace(b"\\\\", b"").replace(b'\\"', b"")
        parts = kept.translate(None, _OTHERS).split(b'"')
        outside = b"".join(parts[1::2] if in_text else parts[::2])
        in_text ^= len(parts) % 2 == 0
        steps = np.frombuffer(outside.translate(_STEPS), np.int8)
        if not len(steps):
            continue
        depths = np.cumsum(steps, dtype=np.int32)
        deepest = max(deepest, depth + int(depths.max()))
        depth += int(depths[-1])
        values += int(np.count_nonzero(steps != -1))
        if bounds and (deepest > bounds.depth or values > bounds.values):
            break
    return deepest, values


def json_type(value: Any) -> str:
    """Return the type of a JSON value, in words."""
    if value is None:
        return "null"
    return {dict: "an object", list: "a list", str: "a text", bool: "a boolean"}.get(type(value), "a number")


def parse_object(text: Any, what: str, bounds: JsonBounds) -> dict[str, Any]:
    """Parse a client's JSON object; arguments as :func:`parse_json` takes them.

    Raises:
        InvalidInput: it is not a JSON object.
    """
    value = parse_json(text, what, bounds)
    if not isinstance(value, dict):
        raise InvalidInput(f"{what} must be a JSON object, got {json_type(value)}")
    return value

"""Decode base64 values of JSON documents, large ones without parsing them as JSON text."""

import asyncio
import re
from typing import Any

import numpy as np
import pybase64

from hubserve.errors import InvalidInput
from hubserve.module import decode_base64
from hubserve.protocols.documents import JsonBounds, buffer_of, parse_json

#: smaller values are parsed with the rest of the document
_LARGE_BYTES = 4096
#: a document with more than this beside the value is parsed as a whole
_MAX_OTHER_BYTES = 64 << 10
#: decoded in one step, before other tasks may run: a multiple of four characters
_STEP_CHARS = 1 << 20
_VALUE = re.compile(rb'\s*:\s*"')
_PLACEHOLDER = b"\x7fa large text\x7f"


def split_large_value(body: memoryview, key: str, bounds: JsonBounds) -> dict[str, Any] | None:
    """Parse a JSON object without its one large base64 value.

    Args:
        body: the JSON.
        key: of the value.
        bounds: limits of the document.
    Returns:
        The object, with a view into ``body`` as that key's value; None if it has another form and must be parsed as a whole.
    """
    buffer = buffer_of(body)  # the methods of bytes are far faster than a regular expression over the whole text
    name = b'"%s"' % key.encode()
    at = buffer.find(name)
    found = _VALUE.match(buffer, at + len(name)) if at >= 0 else None
    if not found:
        return None
    start, end = found.end(), buffer.find(b'"', found.end())
    if end - start < _LARGE_BYTES or len(buffer) - (end - start) > _MAX_OTHER_BYTES or buffer.find(b"\\", start, end) >= 0:
        return None
    try:
        rest = parse_json(b"%s%s%s" % (body[:start], _PLACEHOLDER, body[end:]), "the body", bounds)
    except InvalidInput:
        return None
    # the match may be inside another value: then the placeholder is not at the top level
    if not isinstance(rest, dict) or rest.get(key) != _PLACEHOLDER.decode():
        return None
    return {**rest, key: body[start:end]}


def decode_value(text: str, what: str) -> bytes:
    """Decode base64 in any spelling that :func:`hubserve.module.decode_base64` accepts.

    Args:
        text: the value.
        what: it is, for messages.
    Raises:
        InvalidInput: it is not base64.
    """
    decoded = _decode_strict(text)
    if decoded is not None:
        return decoded
    try:
        return decode_base64(text)
    except ValueError as error:
        raise InvalidInput(f"{what} is not valid base64: {error}") from None


async def decode_large_value(text: memoryview) -> Any:
    """Decode a large value in steps; None if it is not strict base64, though it may be valid in another spelling."""
    if len(text) <= _STEP_CHARS:
        return _decode_strict(text)
    raw = np.empty(len(text) // 4 * 3, np.uint8).data  # unlike a bytearray, not zeroed first
    filled = 0
    for start in range(0, len(text), _STEP_CHARS):
        step = _decode_strict(text[start : start + _STEP_CHARS])
        if step is None or (len(step) != _STEP_CHARS // 4 * 3 and start + _STEP_CHARS < len(text)):
            return None
        raw[filled : filled + len(step)] = step
        filled += len(step)
        await asyncio.sleep(0)
    return raw[:filled]


def _decode_strict(text: Any) -> bytes | None:
    try:
        # validate=True also selects the vectorised decoder
        return pybase64.b64decode(text, validate=True)
    except ValueError:
        return None

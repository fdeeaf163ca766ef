"""Keeps a JSON document's one large base64 value out of the JSON parser."""

import re
from typing import Any

from hubserve.errors import InvalidInput
from hubserve.protocols.documents import JsonBounds, parse_json, whole_of

#: smaller values are parsed with everything else
_LARGE_BYTES = 4096
#: a document with more than this beside the value does not look as expected
_MOST_BESIDE_BYTES = 64 << 10
_VALUE = re.compile(rb'\s*:\s*"')
_STAND_IN = b"\x7fa large text\x7f"


def split_large_text(body: memoryview, key: str, bounds: JsonBounds) -> dict[str, Any] | None:
    """Parse a JSON object without making a text of its one large base64 value.

    Args:
        body: the JSON.
        key: the key of the value.
        bounds: of the document.
    Returns:
        The object with a view into ``body`` as that key's value; None if it does not look as expected, and must be parsed whole.
    """
    whole = whole_of(body)  # searched by bytes' own methods, which are far quicker than an expression over the whole text
    name = b'"%s"' % key.encode()
    at = whole.find(name)
    found = _VALUE.match(whole, at + len(name)) if at >= 0 else None
    if not found:
        return None
    start, end = found.end(), whole.find(b'"', found.end())
    if end - start < _LARGE_BYTES or len(whole) - (end - start) > _MOST_BESIDE_BYTES or whole.find(b"\\", start, end) >= 0:
        return None
    try:
        rest = parse_json(b"%s%s%s" % (body[:start], _STAND_IN, body[end:]), "the body", bounds)
    except InvalidInput:
        return None
    # the match may have been inside another value: then the stand-in is not at the top, and nothing is taken from it
    if not isinstance(rest, dict) or rest.get(key) != _STAND_IN.decode():
        return None
    return {**rest, key: body[start:end]}

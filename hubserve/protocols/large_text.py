"""Keeps a JSON document's one large base64 value out of the JSON parser."""

import re
from typing import Any

import orjson

#: smaller values are parsed with everything else
_LARGE_BYTES = 4096
_STAND_IN = b"\x7fa large text\x7f"


def split_large_text(body: memoryview, key: str) -> dict[str, Any] | None:
    """Parse a JSON object without making a text of its one large base64 value.

    Args:
        body: the JSON.
        key: the key of the value.
    Returns:
        The object with a view into ``body`` as that key's value; None if it does not look as expected, and must be parsed whole.
    """
    whole: Any = body.obj  # searched by bytes' own methods, which are far quicker than an expression over the whole text
    found = re.search(rb'"%s"\s*:\s*"' % re.escape(key.encode()), whole)
    if not found:
        return None
    start, end = found.end(), whole.find(b'"', found.end())
    if end - start < _LARGE_BYTES or whole.find(b"\\", start, end) >= 0:
        return None
    try:
        rest = orjson.loads(b"%s%s%s" % (body[:start], _STAND_IN, body[end:]))
    except orjson.JSONDecodeError:
        return None
    # the match may have been inside another value: then the stand-in is not at the top, and nothing is taken from it
    if not isinstance(rest, dict) or rest.get(key) != _STAND_IN.decode():
        return None
    return {**rest, key: body[start:end]}

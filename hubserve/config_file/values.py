"""Values as people write them: null for "not set", one text where a list may stand, a number where a text belongs."""

from typing import Any, get_args, get_origin, get_type_hints

import msgspec


def plain_values(raw: Any, struct: type[msgspec.Struct]) -> Any:
    """Prepare decoded JSON for a lax conversion, which reads numbers and switches that are written as texts.

    Args:
        raw: decoded JSON; anything but an object is returned as it is.
        struct: what it is converted to.
    """
    if not isinstance(raw, dict):
        return raw
    forms = get_type_hints(struct)
    return {key: _plain(value, forms.get(key)) for key, value in raw.items() if value is not None}


def _plain(value: Any, form: Any) -> Any:
    if get_origin(form) is list and isinstance(value, (str, int, float)):
        return [value]
    if get_origin(form) is dict and isinstance(value, dict) and get_args(form)[1] is str:
        return {key: _as_text(each) for key, each in value.items()}
    return value


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value

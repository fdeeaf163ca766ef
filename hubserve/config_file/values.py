"""Lenient values: null for "not set", a single value for a list, a number for a string."""

from typing import Any, get_args, get_origin, get_type_hints

import msgspec


def plain_values(raw: Any, struct: type[msgspec.Struct]) -> Any:
    """Prepare decoded JSON for a lax conversion, which reads numbers and booleans written as strings.

    Args:
        raw: decoded JSON; anything but an object is returned unchanged.
        struct: the target type.
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

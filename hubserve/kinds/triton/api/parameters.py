"""Check the parameters that a model sets on requests and responses."""

import json
from typing import Any, Dict

from hubserve.kinds.triton.api.errors import TritonModelException
from hubserve.kinds.triton.api.texts import text_of


def parameters_of(given: Any) -> Dict[str, Any]:
    """Return a model's parameters in the form that crosses the wire.

    Args:
        given: a dict, or the JSON text of an object, as ``InferenceRequest.parameters()`` gives it; None for none.
    Raises:
        TritonModelException: it is neither, or a value is not text, a boolean or a number of at most 64 bits.
    """
    if isinstance(given, (str, bytes, bytearray, memoryview)):
        given = _read(text_of(given))
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise TritonModelException(f"parameters must be a dict, or the JSON text of an object, got {type(given).__name__}")
    return {_name(name): _value(name, value) for name, value in given.items()}


def _read(text: str) -> Any:
    try:
        return json.loads(text) if text else None
    except ValueError as error:
        raise TritonModelException(f"parameters were given as a text that is not JSON: {error}") from None


def _name(name: Any) -> str:
    if not isinstance(name, (str, bytes)):
        raise TritonModelException(f"the names of parameters must be texts, got {name!r}, which is {type(name).__name__}")
    return text_of(name)


def _value(name: Any, value: Any) -> Any:
    if isinstance(value, (str, bytes, bytearray)):
        return text_of(value)
    if not isinstance(value, (bool, int, float)):
        raise TritonModelException(f"parameters must be texts, numbers and booleans by name, got {name!r}: {type(value).__name__}")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        raise TritonModelException(f"the parameter {name!r} has more than 64 bits; send it as a text")
    return value

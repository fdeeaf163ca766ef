"""Encode the results of modules as JSON.

Beyond JSON's own types it accepts numpy's, dates and times, ``Decimal``, ``UUID``, paths, enums, dataclasses, bytes that are UTF-8, and any
mapping, sequence or set. Numbers that are not finite become ``null`` unless the server's setting ``nan`` says otherwise.
"""

import dataclasses
import datetime
import decimal
import enum
import inspect
import json
import math
import pathlib
import uuid
from array import array
from collections import deque
from collections.abc import Mapping, Sequence, Set, ValuesView
from typing import Any, Callable, List, Tuple

import numpy as np

from hubserve.errors import HubError, ModuleFailed, safe_text
from hubserve.kinds.module_failures import as_failure, traceback_of

_MAX_SHOWN = 80
_JSON_TYPES = (type(None), str, int, float, dict, list, tuple)


class ResultEncoder:
    """Encoder of results; ordinary ones need the standard library's C encoder only.

    Args:
        nan: how NaN and Infinity are encoded: "null"; "error" fails the request; "token" writes them as Python does.
    """

    def __init__(self, nan: str = "null") -> None:
        self._nan = nan
        self._json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=plain, allow_nan=nan == "token")

    def encode(self, value: Any) -> bytes:
        """Encode one result, even if methods of its own classes fail.

        Raises:
            ModuleFailed: it cannot be written as JSON; the message says which part and why.
        """
        try:
            return self._encode(value)
        except HubError:
            raise
        except RecursionError:
            raise ModuleFailed("the module's answer is nested too deeply, or contains itself, and cannot be written as JSON") from None
        except MemoryError as error:
            raise as_failure(error) from error
        except BaseException as error:  # code of the value's own class may raise anything
            raise ModuleFailed(f"the module's answer cannot be written as JSON: {safe_text(error)}", traceback_of(error)) from error

    def _encode(self, value: Any) -> bytes:
        try:
            text = self._json.encode(value)
        except (TypeError, ValueError):  # an unusual key, a number that is not finite, or not JSON: _walk finds out
            text = self._json.encode(self._walk(value))
        return text.encode("utf-8", "surrogatepass")

    def _walk(self, value: Any) -> Any:
        """Copy a value into JSON's own types; one call per level, so that values as deep as clients may send can be returned."""
        while not isinstance(value, _JSON_TYPES):
            if isinstance(value, np.ndarray) and value.dtype.kind == "f" and np.isfinite(value).all():
                return value.tolist()
            try:
                value = plain(value)
            except (TypeError, ValueError) as error:
                raise _NotJson(str(error)) from None
        if isinstance(value, float) and not math.isfinite(value) and self._nan != "token":
            return self._not_finite(value)
        if not isinstance(value, (dict, list, tuple)):
            return value
        is_dict = isinstance(value, dict)
        entries: List[Tuple[Any, Any]] = []
        for position, each in value.items() if isinstance(value, dict) else enumerate(value):
            name = _key(position) if is_dict else position
            try:
                entries.append((name, self._walk(each)))
            except _NotJson as error:
                raise error.at(f"[{str(name)[:_MAX_SHOWN]!r}]" if is_dict else f"[{name}]") from None
        return dict(entries) if is_dict else [each for _, each in entries]

    def _not_finite(self, value: float) -> None:
        if self._nan == "error":
            raise _NotJson(
                f'it is {float(value)!r}, which JSON does not have; return None, or set "nan" to "null" in the server\'s configuration'
            )


class _NotJson(ModuleFailed):
    """A part of an answer cannot be encoded as JSON."""

    code = ModuleFailed.code

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(f"the module's answer cannot be written as JSON{', at ' + where[:_MAX_SHOWN] if where else ''}: {reason}")
        self._reason = reason
        self._where = where

    def at(self, container: str) -> "_NotJson":
        """Return this error as seen from the container that the part is in."""
        return _NotJson(self._reason, container + self._where)


def _key(key: Any) -> Any:
    """Convert a dict's key to a type that :mod:`json` accepts."""
    if isinstance(key, float) and not math.isfinite(key):
        return json.dumps(float(key))
    if key is None or isinstance(key, (str, int, float)):
        return key
    try:
        name = plain(key)
    except (TypeError, ValueError):
        name = key
    if isinstance(name, (str, int, float)):
        return _key(name)
    raise _NotJson(f"a key is a {type(key).__name__}; keys must be strings, numbers or booleans")


def plain(value: Any) -> Any:
    """Convert a value one step towards JSON's types, as the ``default`` of ``json.dumps``.

    Raises:
        TypeError: there is no such conversion; the message says what to return instead.
    """
    for types, convert in _CONVERSIONS:
        if isinstance(value, types):
            return convert(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(_advice(value))


def _plain_array(value: np.ndarray) -> Any:
    kind = value.dtype.kind
    if kind == "M":
        texts = np.asarray(np.datetime_as_string(value)).astype(object)
        texts[np.isnat(value)] = None
        return texts.tolist()
    if kind == "m":
        return (value / np.timedelta64(1, "s")).tolist()
    if kind == "c":
        raise TypeError(f"{value.dtype.name} is not a JSON type. Return the real and imaginary parts as two lists")
    return value.tolist()


def _plain_bytes(value: Any) -> str:
    try:
        return bytes(value).decode("utf-8")
    except UnicodeDecodeError:
        raise TypeError(f"{type(value).__name__} that are not UTF-8 are not JSON. Return base64.b64encode(value).decode()") from None


def _sorted(value: Any) -> List[Any]:
    try:
        return sorted(value)
    except TypeError:  # elements that cannot be compared
        return list(value)


def _advice(value: Any) -> str:
    name = type(value).__name__
    if inspect.iscoroutine(value):
        return f"{name} is not a JSON type. The method is 'async def' and is never awaited: define it with 'def'"
    if inspect.isgenerator(value) or inspect.isasyncgen(value) or hasattr(value, "__next__"):
        return f"{name} is not a JSON type. A request has one answer: collect the values in a list and return it"
    return f"{name} is not a JSON type. Return numbers, strings, lists and dicts"


#: types and their conversions by :func:`plain`; the first match counts
_CONVERSIONS: Tuple[Tuple[Any, Callable[[Any], Any]], ...] = (
    (np.ndarray, _plain_array),
    (np.generic, lambda value: _plain_array(np.asarray(value))),
    (Set, _sorted),
    ((bytes, bytearray, memoryview), _plain_bytes),
    (enum.Enum, lambda value: value.value),
    ((datetime.date, datetime.time), lambda value: value.isoformat()),
    (datetime.timedelta, datetime.timedelta.total_seconds),
    ((decimal.Decimal, uuid.UUID, pathlib.PurePath), str),
    (Mapping, lambda value: dict(value.items())),
    ((deque, Sequence, ValuesView, array), list),
)

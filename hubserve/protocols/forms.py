"""Decode multipart forms: files and base64 texts are pictures, other fields are arguments of the module's method."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pybase64
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request
from starlette.types import Scope

from hubserve.errors import HubError, InvalidInput, usage_sentence
from hubserve.gateway.dataplane import MAX_PICTURES, ServedModule
from hubserve.kinds.description import Description, Interface
from hubserve.protocols.documents import JsonBounds, is_light, parse_json
from hubserve.types import InferRequest

# Starlette's parser warns of each malformed form, which is the client's fault and answered as such.
logging.getLogger("python_multipart").setLevel(logging.ERROR)

#: parsed in one step, before other tasks may run
_STEP_BYTES = 64 << 10
_MAX_FIELDS = 1024
#: fields whose text is base64 of a picture
_PICTURE_FIELDS = ("images", "image")
#: type of arguments that the method passes on as keyword arguments: usually settings, numbers or booleans
_PASSED_ON = "passed on"
_WORDS = {"true": True, "True": True, "false": False, "False": False}
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d{1,30})?([eE][-+]?\d{1,3})?")
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")


class Field(NamedTuple):
    """One field of a form; its value is the bytes of a file, or a text."""

    name: str
    value: bytes | str


async def read_form(scope: Scope, body: memoryview) -> list[Field]:
    """Parse a multipart body.

    Raises:
        InvalidInput: the body is not a form, or has too many fields.
    """
    try:
        form = await _FormRequest(scope, body).form(max_files=MAX_PICTURES, max_fields=_MAX_FIELDS, max_part_size=len(body))
    except MultiPartException as error:
        raise InvalidInput(f"the multipart body cannot be read: {error.message}") from None
    try:
        return [Field(name, await value.read() if isinstance(value, UploadFile) else value) for name, value in form.multi_items()]
    finally:
        await form.close()


class _FormRequest(Request):
    """Request for starlette's form parser whose body has already been read."""

    def __init__(self, scope: Scope, body: memoryview) -> None:
        super().__init__(scope)
        self._body_bytes = body

    async def stream(self) -> AsyncIterator[bytes]:  # type: ignore[override]  # an async generator either way
        for start in range(0, len(self._body_bytes), _STEP_BYTES):
            yield bytes(self._body_bytes[start : start + _STEP_BYTES])
            await asyncio.sleep(0)
        yield b""


def apply_form(request: InferRequest, fields: list[Field], module: ServedModule, bounds: JsonBounds) -> None:
    """Fill a request from a form.

    Args:
        request: its pictures, arguments, or both are set.
        fields: of the form.
        module: the request's.
        bounds: limits of JSON in texts.
    Raises:
        InvalidInput: the module does not accept these fields; the message says what it accepts.
    """
    described = module.description
    if Interface.PICTURE not in described.interfaces:
        request.arguments = _as_json(module, _arguments(fields, described, bounds))
        return
    names = {*_PICTURE_FIELDS, described.json_pictures}
    pictures: list[Any] = [field.value for field in fields if isinstance(field.value, bytes) or field.name in names]
    rest = [field for field in fields if not isinstance(field.value, bytes) and field.name not in names]
    arguments = _arguments(rest, described, bounds)
    if rest and pictures and described.picture_item is not None:  # items of a batch have no arguments
        if not module.plan.info.serving_method:
            names_of_rest = ", ".join(f"'{name[:80]}'" for name in list(arguments)[:8])
            raise InvalidInput(f"with pictures this module takes no further fields; the form has {names_of_rest}")
        texts = [_as_base64(each) for each in pictures]
        request.arguments = _as_json(module, {described.json_pictures or _PICTURE_FIELDS[0]: texts, **arguments})
        return
    if pictures or not rest:
        request.pictures = [each.encode() if isinstance(each, str) else each for each in pictures]
    if rest:
        request.arguments = _as_json(module, arguments)


def _as_json(module: ServedModule, arguments: dict[str, Any]) -> bytes:
    return json.dumps({**module.plan.predict_args, **arguments}, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _as_base64(value: bytes | str) -> str:
    return value if isinstance(value, str) else pybase64.b64encode(value).decode()


def _arguments(fields: list[Field], described: Description, bounds: JsonBounds) -> dict[str, Any]:
    """Return keyword arguments: texts converted to the types of the method's arguments, files as lists of base64 texts."""
    types = described.argument_types or {}
    collected: dict[str, list[bytes | str]] = {}
    for name, value in fields:
        alias = _PICTURE_FIELDS[0]
        # PaddleHub 1 used "image", later modules use "images"
        argument = alias if name == _PICTURE_FIELDS[1] and name not in types and alias in types else name
        collected.setdefault(argument, []).append(value)
    arguments = {}
    for name, values in collected.items():
        try:
            arguments[name] = _argument(values, types.get(name, _PASSED_ON), bounds)
        except HubError as error:
            message = f"the form's field '{name[:80]}' cannot be used: {error.message}"
            raise InvalidInput(message + usage_sentence(described.usage)) from None
    return arguments


def _argument(values: list[bytes | str], kind: str, bounds: JsonBounds) -> Any:
    texts = [_as_base64(each) for each in values]
    if isinstance(values[0], bytes):
        return texts[0] if kind == "str" and len(texts) == 1 else texts
    if kind == "list" and len(texts) == 1:
        parsed = _json_of(texts[0], bounds)
        return parsed if isinstance(parsed, list) else texts
    if len(texts) > 1:
        return texts
    return _of_type(texts[0], kind, bounds)


def _of_type(text: str, kind: str, bounds: JsonBounds) -> Any:
    if kind == "bool":
        word = text.strip().lower()
        if word not in (*_TRUE, *_FALSE):
            raise InvalidInput(f"it must be true or false, got '{text[:80]}'")
        return word in _TRUE
    if kind in ("int", "float"):
        try:
            return int(text) if kind == "int" else float(text)
        except ValueError:
            raise InvalidInput(f"it must be a {'whole ' if kind == 'int' else ''}number, got '{text[:80]}'") from None
    if kind == "str":
        return text
    if kind == _PASSED_ON and (word := text.strip()) and (word in _WORDS or _NUMBER.fullmatch(word)):
        return _WORDS[word] if word in _WORDS else json.loads(word)
    parsed = _json_of(text, bounds)
    return parsed if isinstance(parsed, (list, dict)) else text


def _json_of(text: str, bounds: JsonBounds) -> Any:
    """Parse a text that is a JSON list or object; None for any other text."""
    encoded = text.encode("utf-8", "surrogatepass")
    if not text.lstrip().startswith(("[", "{")) or not is_light(encoded):
        return None
    try:
        return parse_json(encoded, "it", bounds)
    except InvalidInput:
        return None

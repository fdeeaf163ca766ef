"""Schemas and examples of JSON requests from the arguments of modules' methods."""

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from hubserve.errors import InvalidInput
from hubserve.gateway.dataplane import ServedModule
from hubserve.kinds.description import Argument, Description, Interface
from hubserve.protocols.documents import JsonBounds, parse_json
from hubserve.protocols.openapi.annotations import schema_of
from hubserve.protocols.openapi.examples import Unknown, value_of_argument
from hubserve.protocols.openapi.texts import characters, plain

_BOUNDS = JsonBounds(depth=32, values=16 << 10)
#: a type of :class:`hubserve.kinds.called_methods.CalledMethod` -> its schema
_NAMED_TYPES: dict[str, dict[str, Any]] = {
    "bool": {"type": "boolean"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "str": {"type": "string"},
    "list": {"type": "array", "items": {}},
    "dict": {"type": "object"},
}
_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str,),
    "array": (list,),
    "object": (dict,),
}
#: "name (type): text" in a section "Args:", or ":param type name: text"
_DOCUMENTED = re.compile(r"^[ \t]*(?::param[ \t]+(?:[^:\s]+[ \t]+)?|\**)(\w+)[ \t]*(?:\([^)\n]*\))?[ \t]*:[ \t]+(\S.*)$", re.MULTILINE)


class JsonRequest(NamedTuple):
    """JSON requests of one form.

    Attributes:
        schema: of the body.
        example: a body that the module answers; None if none is known.
    """

    schema: dict[str, Any]
    example: Any = None


def request_of(module: ServedModule) -> JsonRequest | None:
    """Return the JSON requests that a loaded module's method takes; None for a module without such a method."""
    described, info = module.description, module.plan.info
    if Interface.JSON not in described.interfaces or not (info.serving_method or described.arguments or described.any_json):
        return None
    return _request_of(described, module.plan.predict_args)


def _request_of(described: Description, predict_args: Mapping[str, Any]) -> JsonRequest:
    if described.any_json:
        return JsonRequest({"description": "Any JSON value."}, _parsed(described.example))
    texts = dict(_DOCUMENTED.findall(described.doc))
    properties, required, example = {}, [], {}
    is_known = bool(described.arguments) or not described.takes_any
    for each in described.arguments:
        schema, default = _schema(each, described), _parsed(each.default)
        if default is not None and _fits(schema, default):
            schema["default"] = example[each.name] = default
        is_required = each.required and each.name not in predict_args
        if is_required:
            required.append(each.name)
            try:
                example[each.name] = value_of_argument(each.name, schema)
            except Unknown:
                is_known = False
        if each.name in texts:
            schema["description"] = plain(texts[each.name])
        properties[characters(each.name)] = schema
    body: dict[str, Any] = {"type": "object"}
    if properties:
        body["properties"] = properties
    if required:
        body["required"] = required
    body["additionalProperties"] = described.takes_any or not described.arguments
    if described.example:
        return JsonRequest(body, _parsed(described.example))
    return JsonRequest(body, example if is_known else None)


def _schema(argument: Argument, described: Description) -> dict[str, Any]:
    schema = schema_of(argument.annotation) or dict(_NAMED_TYPES.get((described.argument_types or {}).get(argument.name, ""), {}))
    if argument.default == "null":
        schema["nullable"] = True
    return schema


def _fits(schema: dict[str, Any], value: Any) -> bool:
    """Return True if a default agrees with a schema of :mod:`hubserve.protocols.openapi.annotations`."""
    kind = schema.get("type")
    if kind is None:
        return True
    if not isinstance(value, _JSON_TYPES[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return False
    if isinstance(value, list):
        return all(_fits(schema["items"], each) for each in value)
    inner = schema.get("additionalProperties")
    if isinstance(value, dict) and inner:
        return all(_fits(inner, each) for each in value.values())
    return value in schema.get("enum", (value,))


def _parsed(text: str) -> Any:
    """Return the value of JSON text of an instance; None for none, and for what is not JSON."""
    encoded = text.encode("utf-8", "replace")
    try:
        parse_json(encoded, "it", _BOUNDS)  # within bounds; the following refuses what only Python takes for JSON, such as NaN
        return orjson.loads(encoded)
    except (InvalidInput, orjson.JSONDecodeError):
        return None


def as_text(value: Any) -> str:
    """Return a value as JSON text."""
    return json.dumps(value, ensure_ascii=False)

"""Describe ``/predict/<module>`` for ``/openapi.json``: every form of request that a module takes."""

import base64
import math
from typing import Any
from urllib.parse import quote

from hubserve.access.keys import Need
from hubserve.kinds.description import Description, Interface
from hubserve.protocols.openapi.arguments import JsonRequest, request_of
from hubserve.protocols.openapi.document import (
    BINARY,
    FORM,
    JSON,
    DescribedModule,
    Document,
    answer,
    operation,
    with_examples,
)
from hubserve.protocols.openapi.examples import MOST_ELEMENTS, PICTURE, shape_of_one
from hubserve.protocols.openapi.texts import block, paragraphs, plain
from hubserve.types import BFLOAT16, BYTES, parse_dtype

PICTURES = "image/*"
_FILE = {"type": "string", "format": "binary"}
_BASE64 = {"type": "string", "format": "byte"}
_ANSWER = {
    "type": "object",
    "description": "PaddleHub's envelope.",
    "properties": {
        "status": {"type": "string", "description": '"000" if the request was answered, else the kind of failure.'},
        "msg": {"type": "string", "description": "What went wrong; empty if nothing did."},
        "results": {"description": "The module's answer."},
    },
    "required": ["status", "msg", "results"],
}
_FAILURES = "With `status_codes: paddlehub` failures of the module and wrong arguments are answered with 200, too: look at `status`."
_FILES = f"To send files, choose the content type `{FORM}`."
_DEADLINE = {
    "name": "X-Hub-Timeout-Ms",
    "in": "header",
    "description": "Milliseconds after which an answer is no longer wanted.",
    "schema": {"type": "number", "minimum": 1},
}
_PRIORITY = {
    "name": "X-Hub-Priority",
    "in": "header",
    "description": "Requests with lower numbers are computed first.",
    "schema": {"type": "integer", "minimum": -100, "maximum": 100, "default": 0},
}


def describe_module(document: Document, each: DescribedModule, statuses: list[int], *, fails_with_200: bool) -> None:
    """Add the operation of one module, if it answers over this protocol.

    Args:
        document: to add to.
        each: the module.
        statuses: of HTTP, with which the protocol reports errors.
        fails_with_200: whether some errors are answered with status 200.
    """
    described, info = each.module.description, each.module.plan.info
    content = _content(document, each)
    if not content or "/" in each.name or each.module.plan.sequences:  # such paths, and members of sequences, cannot be asked for
        return
    envelope = document.component("schemas", "PaddleHubAnswer", _ANSWER)
    responses = {"200": answer(paragraphs("The answer.", _FAILURES if fails_with_200 else ""), envelope)}
    responses.update(document.errors("PaddleHub", statuses, envelope))
    parameters: list[dict[str, Any]] = [
        document.component("parameters", "Timeout", _DEADLINE),
        document.component("parameters", "Priority", _PRIORITY),
    ]
    if BINARY in content:
        parameters = [*_array_headers(described), *parameters]
    made = operation(
        f"predict_{each.id}",
        f"Ask {each.name}" if not info.serving_method else f"Call {info.serving_method} of {each.name}",
        document.tag_of(each),
        responses,
        description=paragraphs(plain(info.summary), block(described.doc), _FILES if FORM in content else ""),
        parameters=parameters,
        content=content,
    )
    document.add("post", f"/predict/{segment(each.name)}", made, Need.INFER, each.name)


def segment(name: str) -> str:
    """Return a module's name for a path; the protocol decodes it twice."""
    return quote(name.replace("%", "%25"), safe="")


def _content(document: Document, each: DescribedModule) -> dict[str, Any]:
    """Return the bodies that a module takes, by content type; generators of clients take the first, and send JSON in any case."""
    described, plan = each.module.description, each.module.plan
    content: dict[str, Any] = {}
    method = request_of(each.module)
    if json := _json_forms(described, method, has_keys=not plan.predict_args):
        content[JSON] = _json(document, each.id, json)
    form = _picture_form(described, method) if Interface.PICTURE in described.interfaces else _form(method)
    if form:
        content[FORM] = {**form, "schema": document.component("schemas", f"PredictForm_{each.id}", form["schema"])}
    if Interface.PICTURE in described.interfaces:
        content[PICTURES] = _binary("a small picture", "image/png", PICTURE)
    if {Interface.JSON, Interface.TENSORS} <= set(described.interfaces) and len(described.inputs) == 1:
        content[BINARY] = _raw_array(described)
    return content


def _json_forms(described: Description, method: JsonRequest | None, *, has_keys: bool) -> dict[str, tuple[str, JsonRequest]]:
    """Return name -> summary and form of each JSON request that a module takes."""
    forms = {}
    if described.json_pictures and has_keys:
        key = described.json_pictures
        schema = {
            "type": "object",
            "properties": {key: {"type": "array", "items": _BASE64, "minItems": 1, "description": "Encoded pictures."}},
            "required": [key],
            "additionalProperties": False,
        }
        forms["pictures"] = ("pictures, each as base64", JsonRequest(schema, {key: [PICTURE]}))
    if described.json_array and described.inputs and has_keys:
        forms["array"] = ("an array, as base64 with shape and dtype", _array_form(described))
    if method is not None:
        forms["arguments"] = ("arguments of the module's method", method)
    return forms


def _json(document: Document, module_id: str, forms: dict[str, tuple[str, JsonRequest]]) -> dict[str, Any]:
    schemas = [document.component("schemas", f"Predict{name.capitalize()}_{module_id}", form.schema) for name, (_, form) in forms.items()]
    schema = schemas[0] if len(schemas) == 1 else document.component("schemas", f"PredictAny_{module_id}", {"anyOf": schemas})
    return with_examples(schema, {name: (summary, form.example) for name, (summary, form) in forms.items()})


def _array_form(described: Description) -> JsonRequest:
    keys, spec = described.json_array, described.inputs[0]
    assert keys is not None, "checked by the caller"
    about = {
        "type": "object",
        "properties": {"shape": {"type": "array", "items": {"type": "integer"}}, "dtype": {"type": "string"}},
        "required": ["shape", "dtype"],
        "description": f"shape {list(spec.shape)} (-1: any length), dtype {spec.dtype}",
    }
    schema = {
        "type": "object",
        "properties": {keys.data: {**_BASE64, "description": "Little-endian elements in C order."}, keys.about: about},
        "required": [keys.data, keys.about],
        "additionalProperties": False,
    }
    zeros, shape = _zero_bytes(described)
    example = None if zeros is None else {keys.data: base64.b64encode(zeros).decode(), keys.about: {"shape": shape, "dtype": spec.dtype}}
    return JsonRequest(schema, example)


def _zero_bytes(described: Description) -> tuple[bytes | None, list[int]]:
    """Return the bytes and the shape of one item of zeros; None for the bytes if they are many, or not just zeros."""
    spec = described.inputs[0]
    shape = shape_of_one(spec.shape)
    if described.picture_item is not None:  # its lengths are exact
        shape = [*([1] if described.batched else []), *described.picture_item.shape]
    count = math.prod(shape)
    if spec.dtype == BYTES or count > MOST_ELEMENTS:
        return None, shape
    return bytes(count * (2 if spec.dtype == BFLOAT16 else parse_dtype(spec.dtype).itemsize)), shape


def _picture_form(described: Description, method: JsonRequest | None) -> dict[str, Any]:
    key = described.json_pictures or "images"
    files = {"type": "array", "items": _FILE, "minItems": 1, "description": "Picture files (PNG, JPEG, ...)."}
    schema: dict[str, Any] = {"type": "object", "properties": {key: files}, "required": [key]}
    if method is not None and described.picture_item is None:  # pictures that are items of a batch have no arguments
        others = {name: each for name, each in method.schema.get("properties", {}).items() if not _is_of_pictures(name, each)}
        schema["properties"].update(others)
    return with_examples(schema, {"picture": ("a small picture, as base64; or send a file", {key: [PICTURE]})})


def _form(method: JsonRequest | None) -> dict[str, Any] | None:
    """Return a form for a method with arguments for pictures, which it takes as base64; None for any other method."""
    if method is None:
        return None
    properties = method.schema.get("properties", {})
    pictures = {name: each for name, each in properties.items() if _is_of_pictures(name, each)}
    if not pictures or not all(_is_plain(each) for name, each in properties.items() if name not in pictures):
        return None
    files = {name: {"type": "array", "items": _FILE} if each.get("type") != "string" else _FILE for name, each in pictures.items()}
    schema = {key: value for key, value in method.schema.items() if key != "additionalProperties"}
    example = method.example if _is_flat(method.example) else None
    return with_examples({**schema, "properties": {**properties, **files}}, {"fields": ("as base64; or send files", example)})


def _is_of_pictures(name: str, schema: dict[str, Any]) -> bool:
    return name.lower() in ("image", "images") and schema.get("type") in (None, "string", "array")


def _is_plain(schema: dict[str, Any]) -> bool:
    return schema.get("type") in ("string", "integer", "number", "boolean")


def _is_flat(example: Any) -> bool:
    """Return True if fields of a form can carry the values of an example as they are."""
    values = [each for value in (example or {}).values() for each in (value if isinstance(value, list) else [value])]
    return not any(isinstance(each, (list, dict)) for each in values)


def _raw_array(described: Description) -> dict[str, Any]:
    zeros, _ = _zero_bytes(described)
    return {"schema": _FILE} if zeros is None else _binary("zeros", BINARY, base64.b64encode(zeros).decode())


def _binary(summary: str, media: str, encoded: str) -> dict[str, Any]:
    """Return the content of a body of bytes; JSON has none, so that the example is a link that contains them."""
    return {"schema": _FILE, "examples": {"bytes": {"summary": summary, "externalValue": f"data:{media};base64,{encoded}"}}}


def _array_headers(described: Description) -> list[dict[str, Any]]:
    spec = described.inputs[0]
    shape = ",".join(map(str, _zero_bytes(described)[1]))
    return [
        {
            "name": "X-Hub-Shape",
            "in": "header",
            "description": f"Shape of an array that is sent as {BINARY}; the module takes {list(spec.shape)} (-1: any length).",
            "schema": {"type": "string"},
            "example": shape,
        },
        {
            "name": "X-Hub-Dtype",
            "in": "header",
            "description": f"Datatype of such an array; {spec.dtype} if it is left out.",
            "schema": {"type": "string"},
            "example": spec.dtype,
        },
    ]

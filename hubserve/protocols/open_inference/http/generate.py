"""The generate extension: a flat JSON object as request and as response, for any model.

Keys that name inputs of the model are inputs; ``id`` is the request's id; all other keys, and those in ``parameters``, are parameters.
An output of one element becomes that element, any other a list; parameters of the response become keys of it, too.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from hubserve.errors import InvalidInput
from hubserve.protocols.documents import JsonBounds, json_type, parse_object
from hubserve.protocols.open_inference.core.datatypes import DATATYPE_OF
from hubserve.protocols.open_inference.core.encode import FINAL
from hubserve.protocols.open_inference.core.json_tensors import array_from_values, dump_json, values_of
from hubserve.protocols.open_inference.core.large_requests import InputSignature
from hubserve.protocols.open_inference.core.signatures import Signature
from hubserve.protocols.open_inference.core.types import MAX_NAMED, NOT_ENCODED, InferCall, InferResult, InputTensor
from hubserve.protocols.open_inference.http.decode import read_parameters, read_text
from hubserve.types import BYTES, TensorSpec

_MAX_DEPTH = 32


def read_generate(body: memoryview, signature: Signature | InputSignature, bounds: JsonBounds) -> InferCall:
    """Decode a request.

    Args:
        body: JSON.
        signature: of the model.
        bounds: limits of the document.
    Raises:
        InvalidInput: it is not a request for this model.
    """
    document = parse_object(body, "the request", bounds)
    call = InferCall(signature.name, parameters=dict(read_parameters(document, "the request")))
    for key, value in document.items():
        spec = signature.inputs.get(key)
        if spec is not None:
            call.inputs.append(_input(signature, spec, value))
        elif key == "id" and isinstance(value, str):
            call.id = read_text(document, "id", "the request")
        elif key != "parameters":
            if not isinstance(value, (str, int, float)):
                raise InvalidInput(
                    f"'{key[:80]}' is not an input of model '{signature.name}', whose inputs are {', '.join(signature.inputs)}; and as a "
                    f"parameter it must be a text, a number or a boolean, got {json_type(value)}"
                )
            call.parameters[key] = value
    if len(call.parameters) > MAX_NAMED:
        raise InvalidInput(f"the request has {len(call.parameters)} parameters, and at most {MAX_NAMED} are taken")
    return call


def _input(signature: Signature | InputSignature, spec: TensorSpec, value: Any) -> InputTensor:
    if spec.dtype == BYTES:
        value = _texts(value)
    elif signature.takes_pictures and _is_of_texts(value):
        texts = [value] if isinstance(value, str) else value
        return InputTensor(spec.name, "BYTES", (len(texts),), array_from_values(texts, "BYTES", [len(texts)], spec.name))
    shape = _shape_of(value)
    rank = len(spec.shape)
    shape = [1] * (rank - len(shape)) + shape
    datatype = DATATYPE_OF[spec.dtype]
    array = array_from_values(value if isinstance(value, list) else [value], datatype, shape, spec.name)
    return InputTensor(spec.name, datatype, tuple(shape), array)


def _is_of_texts(value: Any) -> bool:
    """Return True if a value can be base64 of pictures."""
    return isinstance(value, str) or (isinstance(value, list) and bool(value) and set(map(type, value)) == {str})


def _texts(value: Any, depth: int = 0) -> Any:
    """Return a value for an input of BYTES: JSON objects become their text."""
    if isinstance(value, list) and depth < _MAX_DEPTH:
        return [_texts(each, depth + 1) for each in value]
    return dump_json(value).decode() if isinstance(value, dict) else value


def _shape_of(value: Any) -> list[int]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        value = value[0] if value else None
    return shape


def write_generate(result: InferResult, nan: str = "token", encoded: Mapping[str, Any] = NOT_ENCODED) -> bytes:
    """Encode one result; arguments as for :func:`hubserve.protocols.open_inference.http.encode.write_result`."""
    document: dict[str, Any] = {"model_name": result.model_name, "model_version": result.model_version}
    if result.id:
        document["id"] = result.id
    document.update({name: orjson.Fragment(dump_json(value)) for name, value in result.parameters.items() if name != FINAL})
    for each in result.outputs:
        if each.array is not None:
            values = encoded[each.name] if each.name in encoded else values_of(each.array, each.datatype, nan)
            document[each.name] = orjson.Fragment(values[1:-1] if each.array.size == 1 else values)
    return orjson.dumps(document)

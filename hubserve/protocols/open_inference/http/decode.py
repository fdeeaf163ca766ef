"""Decode inference requests over HTTP: JSON, with tensors in it or in binary behind it."""

from typing import Any

import numpy as np

from hubserve.errors import InvalidInput, shown
from hubserve.protocols.documents import JsonBounds, json_type, parse_object
from hubserve.protocols.open_inference.core.datatypes import DATATYPE_OF, array_from_raw
from hubserve.protocols.open_inference.core.json_tensors import array_from_values
from hubserve.protocols.open_inference.core.large_requests import InputSignature
from hubserve.protocols.open_inference.core.signatures import Signature
from hubserve.protocols.open_inference.core.types import MAX_NAMED, InferCall, InputTensor, RequestedOutput
from hubserve.protocols.open_inference.http.tensor_header_cache import TensorHeaderCache
from hubserve.types import ANY, BFLOAT16, BYTES, parse_shape

_MAX_SHOWN = 80
_OBJECTS = {dict}


def json_length(body: memoryview, header_length: str) -> int:
    """Return the length of a body's JSON in bytes.

    Args:
        body: all of it.
        header_length: the header ``Inference-Header-Content-Length``; "" if it was not sent.
    Raises:
        InvalidInput: the header is not a number up to the body's length.
    """
    if not header_length:
        return len(body)
    length = int(header_length) if header_length.isascii() and header_length.isdigit() and len(header_length) < 16 else -1
    if not 0 <= length <= len(body):
        raise InvalidInput(
            f"Inference-Header-Content-Length must be from 0 to the body's length, {len(body)}, got '{header_length[:_MAX_SHOWN]}'"
        )
    return length


def read_call(
    body: memoryview, header_length: str, signature: Signature | InputSignature, cache: TensorHeaderCache, bounds: JsonBounds
) -> InferCall:
    """Decode a request.

    Args:
        body: all of it.
        header_length: the header ``Inference-Header-Content-Length``; "" if it was not sent.
        signature: of the model; a full one if the body may lack JSON.
        cache: JSON of earlier requests.
        bounds: limits of the JSON.
    Raises:
        InvalidInput: it is not a request of the protocol.
    """
    length = json_length(body, header_length)
    if header_length:
        if not length and isinstance(signature, Signature):
            return _read_raw_body(body, signature)
        cached = cache.read(body[:length], signature.name, body[length:])
        if cached is not None:
            return cached
    call = _read_call(body, length, signature, bounds)
    if header_length:
        cache.add(body[:length], call)
    return call


def _read_call(body: memoryview, length: int, signature: Signature | InputSignature, bounds: JsonBounds) -> InferCall:
    document = parse_object(body[:length], "the request", bounds)
    call = InferCall(signature.name, id=read_text(document, "id", "the request"), parameters=read_parameters(document, "the request"))
    inputs, outputs = _objects(document, "inputs"), _objects(document, "outputs")
    if not inputs and not signature.may_lack_inputs:
        raise InvalidInput(f"the request has no 'inputs'; model '{signature.name}' takes {', '.join(signature.inputs)}")
    rest = body[length:]
    for each in inputs:
        tensor, used = _read_input(each, rest)
        call.inputs.append(tensor)
        rest = rest[used:]
    if len(rest):
        raise InvalidInput(f"the body goes on for {len(rest)} bytes behind its inputs; check 'binary_data_size' and the header's length")
    for each in outputs:
        name = _name(each, "output")
        call.outputs.append(RequestedOutput(name, read_parameters(each, f"output '{name[:_MAX_SHOWN]}'")))
    return call


def _objects(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = document.get(key, [])
    if found is None:
        return []
    if not isinstance(found, list) or not set(map(type, found)) <= _OBJECTS:
        raise InvalidInput(f"'{key}' of the request must be a list of objects, got {shown(found)}")
    if len(found) > MAX_NAMED:
        raise InvalidInput(f"'{key}' of the request has {len(found)} entries, and at most {MAX_NAMED} are taken")
    return found


def _name(about: dict[str, Any], what: str) -> str:
    name = about.get("name")
    if not isinstance(name, str):
        raise InvalidInput(f"each {what} needs a 'name', a text; got {shown(about)}")
    return name


def read_text(document: dict[str, Any], key: str, what: str) -> str:
    """Return a text of a request; "" if it was not sent.

    Raises:
        InvalidInput: it is not a text, or holds a lone surrogate, which could not be sent back.
    """
    value = document.get(key, "")
    if not isinstance(value, str):
        raise InvalidInput(f"'{key}' of {what} must be a text, got {json_type(value)}")
    if not value.isascii() and value.encode("utf-8", "replace").decode() != value:
        raise InvalidInput(f"'{key}' of {what} holds half a character (a lone surrogate); send complete characters")
    return value


def read_parameters(about: dict[str, Any], what: str) -> dict[str, Any]:
    """Return the parameters of a request, an input or an output.

    Raises:
        InvalidInput: they are not an object of texts, numbers and booleans.
    """
    found = about.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidInput(f"'parameters' of {what} must be an object, got {json_type(found)}")
    if len(found) > MAX_NAMED:
        raise InvalidInput(f"'parameters' of {what} has {len(found)} entries, and at most {MAX_NAMED} are taken")
    for name, value in found.items():
        if not isinstance(value, (str, int, float)):
            raise InvalidInput(f"parameter '{name[:_MAX_SHOWN]}' of {what} must be a text, a number or a boolean, got {json_type(value)}")
    return found


def _read_input(about: dict[str, Any], rest: memoryview) -> tuple[InputTensor, int]:
    """Return one input, and how many bytes of ``rest``, the data behind the JSON, it uses."""
    name = _name(about, "input")
    what = f"input '{name[:_MAX_SHOWN]}'"
    parameters, datatype, shape = read_parameters(about, what), about.get("datatype"), about.get("shape")
    sources = [key for key in ("binary_data_size", "shared_memory_region") if key in parameters] + (["data"] if "data" in about else [])
    if len(sources) != 1:
        raise InvalidInput(
            f"{what} must have its elements in one place: 'data', or the parameters 'binary_data_size' or 'shared_memory_region'; "
            f"got {' and '.join(sources) or 'none of them'}"
        )
    used = 0
    array: np.ndarray | None = None
    try:
        lengths = parse_shape(shape)
        if sources == ["data"]:
            array = array_from_values(about["data"], datatype, lengths, name[:_MAX_SHOWN])
        elif sources == ["binary_data_size"]:
            used = _size(parameters["binary_data_size"], len(rest), what)
            array = array_from_raw(rest[:used], datatype, lengths)
    except InvalidInput as error:
        raise InvalidInput(error.message if what in error.message else f"{what}: {error.message}") from None
    return InputTensor(name, str(datatype), lengths, array, parameters), used


def _size(value: Any, left: int, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= left:
        raise InvalidInput(f"'binary_data_size' of {what} must be from 0 to the {left} bytes that are left of the body, got {shown(value)}")
    return value


def _read_raw_body(body: memoryview, signature: Signature) -> InferCall:
    """Decode a body without JSON: the elements of the model's one input, whose shape follows from the body's length."""
    if len(signature.inputs) != 1 and signature.has_tensors:
        raise InvalidInput(
            f"a body without a JSON header can only be sent to a model with one input; '{signature.name}' has {len(signature.inputs)}"
        )
    spec = next(iter(signature.inputs.values()))
    call = InferCall(signature.name, parameters={"binary_data_output": True})
    if spec.dtype == BYTES:
        element = np.empty(1, object)
        element[0] = bytes(body)
        call.inputs.append(InputTensor(spec.name, "BYTES", (1,) * len(spec.shape), element.reshape((1,) * len(spec.shape))))
        return call
    shape = _deduced_shape(signature, len(body))
    datatype = DATATYPE_OF[spec.dtype]
    call.inputs.append(InputTensor(spec.name, datatype, shape, array_from_raw(body, datatype, shape)))
    return call


def _deduced_shape(signature: Signature, size_bytes: int) -> tuple[int, ...]:
    spec = next(iter(signature.inputs.values()))
    item_bytes = np.dtype("uint16" if spec.dtype == BFLOAT16 else spec.dtype).itemsize
    shape = signature.shape_of(spec)
    open_dims = [dim for dim, length in enumerate(shape) if length == ANY]
    if signature.is_batched and len(open_dims) > 1:  # treat the body as one item
        shape, open_dims = [1, *shape[1:]], open_dims[1:]
    if len(open_dims) > 1:
        raise InvalidInput(
            f"a body without a JSON header does not determine the shape of input '{spec.name}', which has {len(open_dims)} open lengths; "
            "send it with a JSON header"
        )
    for length in shape:
        item_bytes *= 1 if length == ANY else length
    if open_dims and item_bytes:
        shape[open_dims[0]] = size_bytes // item_bytes
    return tuple(shape)

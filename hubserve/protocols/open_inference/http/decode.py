"""Inference requests and answers in their HTTP form: JSON, with the tensors in it or behind it in binary."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import orjson

from hubserve.errors import InvalidInput, shown
from hubserve.protocols.decoders import Decoders
from hubserve.protocols.documents import JsonBounds, json_type, parse_object
from hubserve.protocols.open_inference.core.datatypes import DATATYPE_OF, array_from_raw, raw_from_array
from hubserve.protocols.open_inference.core.json_tensors import array_from_values, dump_json, is_large, values_in_steps, values_of
from hubserve.protocols.open_inference.core.signatures import Signature
from hubserve.protocols.open_inference.core.types import InferCall, InferResult, InputTensor, OutputTensor, RequestedOutput
from hubserve.protocols.open_inference.http.tensor_header_cache import Layouts
from hubserve.types import ANY, BFLOAT16, BYTES, parse_shape

if TYPE_CHECKING:
    from hubserve.protocols.open_inference.core.large_requests import Takes

_SHOWN = 80
#: inputs, outputs or parameters in one place; no model has so many
MOST_NAMED = 4096
_OBJECTS = {dict}
#: no output is encoded already
NOTHING: Mapping[str, Any] = {}


def json_length(body: memoryview, header_length: str) -> int:
    """Return how many bytes of a body are JSON.

    Args:
        body: all of it.
        header_length: the header ``Inference-Header-Content-Length``; "" if it was not sent.
    Raises:
        InvalidInput: the header is not a length within the body's.
    """
    if not header_length:
        return len(body)
    length = int(header_length) if header_length.isascii() and header_length.isdigit() and len(header_length) < 16 else -1
    if not 0 <= length <= len(body):
        raise InvalidInput(
            f"Inference-Header-Content-Length must be from 0 to the body's length, {len(body)}, got '{header_length[:_SHOWN]}'"
        )
    return length


def read_call(body: memoryview, header_length: str, signature: "Signature | Takes", layouts: Layouts, bounds: JsonBounds) -> InferCall:
    """Decode a request.

    Args:
        body: all of it.
        header_length: the header ``Inference-Header-Content-Length``, "" where it was not sent.
        signature: of the model, for a body that is nothing but its one input.
        layouts: of requests that came before.
        bounds: of its JSON.
    Raises:
        InvalidInput: it is not of the protocol's form.
    """
    length = json_length(body, header_length)
    if header_length:
        if not length:
            return _raw_call(body, cast("Signature", signature))  # only documents are decoded without it
        known = layouts.read(body[:length], signature.name, body[length:])
        if known is not None:
            return known
    call = _read_call(body, length, signature, bounds)
    if header_length:
        layouts.remember(body[:length], call)
    return call


def _read_call(body: memoryview, length: int, signature: "Signature | Takes", bounds: JsonBounds) -> InferCall:
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
        call.outputs.append(RequestedOutput(name, read_parameters(each, f"output '{name[:_SHOWN]}'")))
    return call


def _objects(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = document.get(key, [])
    if found is None:
        return []
    if not isinstance(found, list) or not set(map(type, found)) <= _OBJECTS:
        raise InvalidInput(f"'{key}' of the request must be a list of objects, got {shown(found)}")
    if len(found) > MOST_NAMED:
        raise InvalidInput(f"'{key}' of the request has {len(found)} entries, and at most {MOST_NAMED} are taken")
    return found


def _name(about: dict[str, Any], what: str) -> str:
    name = about.get("name")
    if not isinstance(name, str):
        raise InvalidInput(f"each {what} needs a 'name', a text; got {shown(about)}")
    return name


def read_text(document: dict[str, Any], key: str, what: str) -> str:
    """A text of a request; "" where it was not sent.

    Raises:
        InvalidInput: it is none, or holds half a character, which could not be sent back.
    """
    value = document.get(key, "")
    if not isinstance(value, str):
        raise InvalidInput(f"'{key}' of {what} must be a text, got {json_type(value)}")
    if not value.isascii() and value.encode("utf-8", "replace").decode() != value:
        raise InvalidInput(f"'{key}' of {what} holds half a character; send whole ones")
    return value


def read_parameters(about: dict[str, Any], what: str) -> dict[str, Any]:
    """The parameters of a request, an input or an output.

    Raises:
        InvalidInput: they are no object of texts, numbers and booleans.
    """
    found = about.get("parameters")
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise InvalidInput(f"'parameters' of {what} must be an object, got {json_type(found)}")
    if len(found) > MOST_NAMED:
        raise InvalidInput(f"'parameters' of {what} has {len(found)} entries, and at most {MOST_NAMED} are taken")
    for name, value in found.items():
        if not isinstance(value, (str, int, float)):
            raise InvalidInput(f"parameter '{name[:_SHOWN]}' of {what} must be a text, a number or a boolean, got {json_type(value)}")
    return found


def _read_input(about: dict[str, Any], rest: memoryview) -> tuple[InputTensor, int]:
    """One input, and how much of what is behind the JSON belongs to it."""
    name = _name(about, "input")
    what = f"input '{name[:_SHOWN]}'"
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
            array = array_from_values(about["data"], datatype, lengths, name[:_SHOWN])
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


def _raw_call(body: memoryview, signature: Signature) -> InferCall:
    """A body without any JSON is the one input of its model."""
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
    open_places = [place for place, length in enumerate(shape) if length == ANY]
    if signature.is_batched and len(open_places) > 1:  # one item: the batch is not open
        shape, open_places = [1, *shape[1:]], open_places[1:]
    if len(open_places) > 1:
        raise InvalidInput(
            f"a body without a JSON header does not tell the shape of input '{spec.name}', which has {len(open_places)} open lengths; "
            "send it with a JSON header"
        )
    for length in shape:
        item_bytes *= 1 if length == ANY else length
    if open_places and item_bytes:
        shape[open_places[0]] = size_bytes // item_bytes
    return tuple(shape)


def write_result(
    result: InferResult, binary_default: Any, nan: str = "token", encoded: Mapping[str, Any] = NOTHING
) -> tuple[list[Any], int | None]:
    """Encode an answer.

    Args:
        result: the answer.
        binary_default: whether outputs for which nothing else is asked go behind the JSON in binary.
        nan: what becomes of numbers that are not finite; see :func:`values_of`.
        encoded: by their names, the elements of outputs that :func:`encode_large` has encoded already.
    Returns:
        The body's parts, and the length of the JSON where something follows it.
    """
    outputs, raws = [], []
    for each in result.outputs:
        about: dict[str, Any] = {"name": each.name, "datatype": each.datatype, "shape": each.shape}
        if each.array is None:
            pass  # Triton's C++ client takes any parameters for a binary_data_size
        elif _is_binary(each, binary_default):
            raws.append(encoded[each.name] if each.name in encoded else raw_from_array(each.array))
            about["parameters"] = {"binary_data_size": len(raws[-1])}
        else:
            values = encoded[each.name] if each.name in encoded else values_of(each.array, each.datatype, nan)
            about["data"] = orjson.Fragment(values)
        outputs.append(about)
    document: dict[str, Any] = {"model_name": result.model_name, "model_version": result.model_version, "outputs": outputs}
    if result.id:
        document["id"] = result.id
    if result.parameters:
        document["parameters"] = orjson.Fragment(dump_json(result.parameters))
    head = orjson.dumps(document)
    return [head, *raws], len(head) if raws else None


def needs_steps(result: InferResult, binary_default: Any) -> bool:
    """Return True if :func:`encode_large` has anything to do; numbers in binary are sent as they are."""
    for each in result.outputs:
        array = each.array
        if array is not None and (array.dtype.kind == "O" or not _is_binary(each, binary_default)) and is_large(array):
            return True
    return False


async def encode_large(result: InferResult, binary_default: Any, nan: str, decoders: Decoders) -> dict[str, Any]:
    """Encode those outputs that would hold up the event loop, for :func:`write_result`.

    Args:
        result: as there.
        binary_default: as there.
        nan: as there.
        decoders: have threads for it.
    Returns:
        Their elements, by their names.
    """
    encoded = {}
    for each in result.outputs:
        if each.array is None or not is_large(each.array):
            continue
        if not _is_binary(each, binary_default):
            encoded[each.name] = await values_in_steps(each.array, each.datatype, nan)
        elif each.datatype == "BYTES":
            encoded[each.name] = await decoders.run(partial(raw_from_array, each.array))
    return encoded


def _is_binary(output: OutputTensor, default: Any) -> bool:
    asked = output.requested.parameters.get("binary_data") if output.requested else None
    return bool(default if asked is None else asked)

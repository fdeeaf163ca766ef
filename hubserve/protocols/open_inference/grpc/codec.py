"""Convert gRPC messages: requests to :class:`InferCall`, and :class:`InferResult` to responses."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from google.protobuf.json_format import ParseDict
from google.protobuf.message import DecodeError
from tritonclient.grpc import service_pb2

from hubserve.errors import InvalidInput, shown
from hubserve.net.grpc.framing import Message
from hubserve.protocols.open_inference.core.datatypes import array_from_raw, dtype_of, raw_from_array
from hubserve.protocols.open_inference.core.types import MAX_NAMED, NOT_ENCODED, InferCall, InferResult, InputTensor, RequestedOutput
from hubserve.protocols.open_inference.grpc.raw_tensors import split_request
from hubserve.types import parse_shape

M = TypeVar("M")

#: parameter of a request: whether a final response without outputs ends its stream of responses
EMPTY_FINAL = "triton_enable_empty_final_response"

#: datatype -> the field of ``InferTensorContents`` that holds its elements; FP16 and BF16 have none
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_REGION = "shared_memory_region"
#: more dimensions than any shape may have
_MAX_DIMS = 64


def parse(message: type[M], data: Message) -> M:
    """Decode a message.

    Args:
        message: its class.
        data: its encoding.
    Raises:
        InvalidInput: the data are not such a message.
    """
    try:
        return message.FromString(data)  # type: ignore[attr-defined,no-any-return]  # generated classes have no types
    except DecodeError:
        name = message.DESCRIPTOR.full_name  # type: ignore[attr-defined]
        raise InvalidInput(f"{len(data)} bytes are not a message of type {name}; encode it with the published stubs") from None


def message_from_json(message: M, content: Mapping[str, Any]) -> M:
    """Fill a message with the JSON of the protocol's HTTP form."""
    ParseDict(content, message)
    return message


def parse_request(data: Message, parts: tuple[Message, list[memoryview] | None] | None = None) -> tuple[Any, list[memoryview] | None]:
    """Decode a ``ModelInferRequest``.

    Args:
        data: its encoding.
        parts: result of :func:`hubserve.protocols.open_inference.grpc.raw_tensors.split_request`, if the caller has it.
    Returns:
        The message, and views of its raw contents if they were split off, else None.
    Raises:
        InvalidInput: the data are not such a message.
    """
    rest, raws = parts or split_request(data)
    try:
        return parse(service_pb2.ModelInferRequest, rest), raws
    except InvalidInput:
        return parse(service_pb2.ModelInferRequest, data), None


def decode_call(request: Any, raws: Sequence[Any] | None = None) -> InferCall:
    """Convert a ``ModelInferRequest``, without deadline, priority and sequence.

    Args:
        request: the message.
        raws: its raw contents, if they were split off.
    Raises:
        InvalidInput: its tensors contradict themselves, or there are too many.
    """
    for name in ("inputs", "outputs"):
        if len(getattr(request, name)) > MAX_NAMED:
            raise InvalidInput(f"the request has {len(getattr(request, name))} {name}, and at most {MAX_NAMED} are taken")
    return InferCall(
        model=request.model_name,
        version=request.model_version,
        id=request.id,
        parameters=_parameters(request.parameters),
        inputs=_inputs(request, request.raw_input_contents if raws is None else raws),
        outputs=[RequestedOutput(each.name, _parameters(each.parameters)) for each in request.outputs],
    )


def _inputs(request: Any, raw: Sequence[Any]) -> list[InputTensor]:
    used = 0
    inputs = []
    for tensor in request.inputs:
        parameters = _parameters(tensor.parameters)
        shape = parse_shape(tensor.shape[:_MAX_DIMS])
        data = None
        if _REGION in parameters:
            _refuse_contents(tensor, request.model_name, "shared memory")
        elif raw:
            _refuse_contents(tensor, request.model_name, "raw_input_contents")
            if used == len(raw):
                raise _wrong_count(request, len(raw))
            data = _decode_named(tensor.name, array_from_raw, raw[used], tensor.datatype, shape)
            used += 1
        else:
            data = _decode_named(tensor.name, _from_contents, tensor.contents, tensor.datatype, shape)
        inputs.append(InputTensor(tensor.name, tensor.datatype, shape, data, parameters))
    if used != len(raw):
        raise _wrong_count(request, len(raw))
    return inputs


def _decode_named(name: str, decode: Any, *arguments: Any) -> Any:
    try:
        return decode(*arguments)
    except InvalidInput as error:
        raise InvalidInput(f"input '{name[:80]}': {error}") from None


def _refuse_contents(tensor: Any, model: str, place: str) -> None:
    if tensor.HasField("contents"):
        raise InvalidInput(
            f"contents field must not be specified when using {place} for '{tensor.name[:80]}' for model '{model[:80]}': "
            "send the elements in one place"
        )


def _wrong_count(request: Any, entries: int) -> InvalidInput:
    inputs = sum(_REGION not in each.parameters for each in request.inputs)
    return InvalidInput(f"raw_input_contents has {entries} entries for {inputs} inputs; send one for each, in order")


def _from_contents(contents: Any, datatype: str, shape: tuple[int, ...]) -> np.ndarray:
    dtype = dtype_of(datatype)
    field = _CONTENTS.get(datatype)
    if field is None:
        raise InvalidInput(f"{datatype} elements have no field in contents; send them in raw_input_contents")
    wrong = [each.name for each, _ in contents.ListFields() if each.name != field]
    if wrong:
        raise InvalidInput(f"{datatype} elements belong into {field}, not {wrong[0]}")
    elements = getattr(contents, field)
    count = 1
    for length in shape:
        count *= length
    if count != len(elements):
        needs = count if count < 1 << 60 else "far too many"
        raise InvalidInput(f"shape {shown(list(shape), 120)} needs {needs} elements, but {len(elements)} came in {field}")
    if datatype == "BYTES":
        texts = np.empty(count, object)
        texts[:] = list(elements)
        return texts.reshape(shape)
    return _numbers(elements, np.dtype(dtype), datatype).reshape(shape)


def _numbers(elements: Any, dtype: np.dtype, datatype: str) -> np.ndarray:
    if dtype.kind in "bf" or dtype.itemsize > 2:
        return np.fromiter(elements, dtype, len(elements))
    wide = np.fromiter(elements, np.int64, len(elements))  # elements of 8 and 16 bits are sent as 32 bits
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    if len(wide) and not least <= wide.min() <= wide.max() <= most:
        raise InvalidInput(f"{datatype} elements are from {least} to {most}, got {wide.min()} to {wide.max()}")
    return wide.astype(dtype)


def _parameters(sent: Any) -> dict[str, Any]:
    if len(sent) > MAX_NAMED:
        raise InvalidInput(f"there are {len(sent)} parameters in one place, and at most {MAX_NAMED} are taken")
    return {name: parameter_value(name, each) for name, each in sent.items()} if sent else {}


def parameter_value(name: str, parameter: Any) -> Any:
    """Return the value of a parameter or a setting.

    Args:
        name: of the parameter, for messages.
        parameter: a message with one of several fields set.
    Raises:
        InvalidInput: no field is set.
    """
    chosen = parameter.WhichOneof("parameter_choice")
    if chosen is None:
        raise InvalidInput(f"'{name[:80]}' has no value; set one of {', '.join(each.name for each in parameter.DESCRIPTOR.fields)}")
    return getattr(parameter, chosen)


def fill_response(response: Any, result: InferResult, encoded: Mapping[str, Any] = NOT_ENCODED) -> list[Any]:
    """Fill a message with a result, without the contents of its tensors.

    Args:
        response: an empty ``ModelInferResponse``.
        result: of a request.
        encoded: name of an output -> its contents, if they are encoded already.
    Returns:
        The raw contents: bytes-like, one for each output.
    """
    response.model_name, response.model_version, response.id = result.model_name, result.model_version, result.id
    _set_parameters(response.parameters, result.parameters)
    raws = []
    for output in result.outputs:
        tensor = response.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
        _set_parameters(tensor.parameters, output.parameters)
        # clients find contents by the index of the output, so outputs in shared memory have empty ones
        if output.name in encoded:
            raws.append(encoded[output.name])
        else:
            raws.append(b"" if output.array is None else raw_from_array(output.array))
    return raws


def _set_parameters(sent: Any, parameters: Mapping[str, Any]) -> None:
    for name, value in parameters.items():
        if isinstance(value, bool):
            sent[name].bool_param = value
        elif isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
            setattr(sent[name], "int64_param" if value < 1 << 63 else "uint64_param", value)
        elif isinstance(value, float):
            sent[name].double_param = value
        else:
            sent[name].string_param = sendable(str(value))


def sendable(text: str, max_bytes: int | None = None) -> str:
    """Return a text that a message may hold: lone surrogates become question marks, and UTF-8 beyond ``max_bytes`` is cut off."""
    return text.encode("utf-8", "replace")[:max_bytes].decode("utf-8", "ignore")

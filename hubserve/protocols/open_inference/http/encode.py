"""Encode results over HTTP: JSON, with tensors in it or in binary behind it."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson

from hubserve.protocols.decoders import Decoders
from hubserve.protocols.open_inference.core.datatypes import raw_from_array
from hubserve.protocols.open_inference.core.json_tensors import dump_json, is_large, values_in_steps, values_of
from hubserve.protocols.open_inference.core.types import NOT_ENCODED, InferResult, OutputTensor


def write_result(
    result: InferResult, binary_default: Any, nan: str = "token", encoded: Mapping[str, Any] = NOT_ENCODED
) -> tuple[list[Any], int | None]:
    """Encode a result.

    Args:
        result: of a request.
        binary_default: whether outputs are binary unless they were requested otherwise.
        nan: form of NaN and Infinity in JSON; see :func:`values_of`.
        encoded: name -> elements of outputs that :func:`encode_large` has encoded.
    Returns:
        The body's parts, and the length of the JSON, or None if nothing follows it.
    """
    outputs, raws = [], []
    for each in result.outputs:
        about: dict[str, Any] = {"name": each.name, "datatype": each.datatype, "shape": each.shape}
        if each.array is None:
            pass  # Triton's C++ client mistakes any parameters for a binary_data_size
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
    """Return True if :func:`encode_large` would encode an output; binary numbers need no encoding."""
    for each in result.outputs:
        array = each.array
        if array is not None and (array.dtype.kind == "O" or not _is_binary(each, binary_default)) and is_large(array):
            return True
    return False


async def encode_large(result: InferResult, binary_default: Any, nan: str, decoders: Decoders) -> dict[str, Any]:
    """Encode outputs that would block the event loop, for :func:`write_result`.

    Args:
        result: as for :func:`write_result`.
        binary_default: as for :func:`write_result`.
        nan: as for :func:`write_result`.
        decoders: provide threads.
    Returns:
        Name of each such output -> its encoded elements.
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

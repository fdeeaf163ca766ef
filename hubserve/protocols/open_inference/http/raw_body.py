"""Decode request bodies without any JSON: the raw elements of a model's one input."""

import numpy as np

from hubserve.errors import InvalidInput
from hubserve.protocols.open_inference.core.datatypes import DATATYPE_OF, array_from_raw
from hubserve.protocols.open_inference.core.signatures import Signature
from hubserve.protocols.open_inference.core.types import InferCall, InputTensor
from hubserve.types import ANY, BFLOAT16, BYTES


def read_raw_body(body: memoryview, signature: Signature) -> InferCall:
    """Decode a body that holds the elements of the model's one input.

    Args:
        body: all of it.
        signature: of the model.
    Raises:
        InvalidInput: the model has several inputs, or the input's shape does not follow from the body's length.
    """
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

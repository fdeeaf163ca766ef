"""Decode the protocol's requests into the data plane's."""

import time
from collections.abc import Hashable
from typing import Any

import numpy as np

from hubserve.errors import InvalidInput, shown
from hubserve.protocols.open_inference.core.datatypes import array_from_raw
from hubserve.protocols.open_inference.core.shared_memory import SharedMemory
from hubserve.protocols.open_inference.core.signatures import ARGUMENTS, PICTURES, Signature
from hubserve.protocols.open_inference.core.types import InferCall, InputTensor
from hubserve.types import InferRequest, SequencePart, TensorSpec, fits, parse_shape

#: parameters of the protocol itself, which are not passed to modules
_RESERVED = {
    "sequence_id",
    "sequence_start",
    "sequence_end",
    "priority",
    "binary_data_output",
    "triton_enable_empty_final_response",
}
_SHOWN = 80


class RequestDecoder:
    """Decoder of requests for one model; it checks their inputs against the model's signature.

    Args:
        signature: the model's.
        shared_memory: regions that inputs may refer to.
    """

    def __init__(self, signature: Signature, shared_memory: SharedMemory) -> None:
        self._signature = signature
        self._shared_memory = shared_memory

    def decode(self, call: InferCall) -> InferRequest:
        """Return the data plane's request.

        Raises:
            InvalidInput: the inputs do not fit the model; the message says what was expected and received.
        """
        signature = self._signature
        request = InferRequest(
            signature.name, wants_json=not signature.has_tensors, id=call.id, deadline=call.deadline, priority=call.priority
        )
        request.version = signature.version
        request.sequence = call.sequence
        if call.parameters:
            _apply_parameters(request, call.parameters, signature)
        if call.outputs:
            request.outputs = list(dict.fromkeys(each.name for each in call.outputs))
        request.layout = call.layout or _layout_of(call)
        if request.layout in signature.accepted_layouts:
            request.tensors = {each.name: self._array(call, each) for each in call.inputs}
            return request
        inputs = self._inputs_by_name(call)
        if signature.has_tensors:
            self._set_tensors(request, call, inputs)
            if request.layout is not None and request.tensors is not None:
                signature.accepted_layouts[request.layout] = None
        else:
            self._set_json(request, call, inputs)
        return request

    def _inputs_by_name(self, call: InferCall) -> dict[str, InputTensor]:
        known = self._signature.inputs
        inputs = {}
        for each in call.inputs:
            if each.name not in known:
                raise InvalidInput(
                    f"unexpected inference input '{each.name[:_SHOWN]}' for model '{call.model}', whose inputs are {', '.join(known)}"
                    + self._signature.usage
                )
            if each.name in inputs:
                raise InvalidInput(f"input '{each.name}' for model '{call.model}' was sent twice; send it once")
            inputs[each.name] = each
        missing = [name for name in known if name not in inputs and name not in self._signature.optional]
        if missing:
            raise InvalidInput(
                f"expected {len(known)} inputs but got {len(inputs)} inputs for model '{call.model}'; missing are {', '.join(missing)}"
            )
        return inputs

    def _set_tensors(self, request: InferRequest, call: InferCall, inputs: dict[str, InputTensor]) -> None:
        signature = self._signature
        tensors: dict[str, np.ndarray] = {}
        for name, sent in inputs.items():
            spec = signature.inputs[name]
            if sent.datatype != signature.datatypes[name]:
                if sent.datatype == "BYTES" and signature.takes_pictures:
                    request.pictures = self._elements(call, sent)
                    return
                also = " (or BYTES, encoded pictures)" if signature.takes_pictures else ""
                raise InvalidInput(
                    f"inference input '{name}' data-type is '{shown(sent.datatype)}', but model '{signature.name}' expects "
                    f"'{signature.datatypes[name]}'{also}"
                )
            self._check_shape(spec, sent)
            tensors[name] = self._array(call, sent)
        request.tensors = tensors

    def _check_shape(self, spec: TensorSpec, sent: InputTensor) -> None:
        signature, shape = self._signature, sent.shape
        wanted = spec.shape
        start = 1 if signature.is_batched else 0
        if not fits(wanted[start:], shape[start:]) or len(shape) < start:
            raise InvalidInput(
                f"unexpected shape for input '{spec.name}' for model '{signature.name}'. Expected {signature.shape_of(spec)}, "
                f"got {shown(list(shape))}. A length of -1 stands for any"
            )
        if start and signature.max_batch_size and shape[0] > signature.max_batch_size:
            raise InvalidInput(
                f"inference request batch-size must be <= {signature.max_batch_size} for '{signature.name}', got {shape[0]}; "
                "send fewer items at once"
            )

    def _set_json(self, request: InferRequest, call: InferCall, inputs: dict[str, InputTensor]) -> None:
        for name, sent in inputs.items():
            if sent.datatype != "BYTES":
                raise InvalidInput(
                    f"inference input '{name}' data-type is '{shown(sent.datatype)}', but model '{request.module}' expects 'BYTES'"
                    + self._signature.usage
                )
        if len(inputs) != 1:
            raise InvalidInput(
                f"expected 1 input for model '{request.module}', one of {', '.join(self._signature.inputs)}; got {len(inputs)}"
                + self._signature.usage
            )
        if PICTURES.name in inputs:
            request.pictures = self._elements(call, inputs[PICTURES.name])
            return
        elements = self._elements(call, inputs[ARGUMENTS.name])
        if len(elements) != 1:
            raise InvalidInput(f"input '{ARGUMENTS.name}' must hold one JSON object, its shape is {list(inputs[ARGUMENTS.name].shape)}")
        request.arguments = elements[0]  # parsed after all other checks, as that takes longest

    def _array(self, call: InferCall, sent: InputTensor) -> np.ndarray:
        if sent.data is not None:
            return sent.data
        where = sent.parameters
        section = self._shared_memory.section(
            where.get("shared_memory_region", ""), where.get("shared_memory_offset", 0), where.get("shared_memory_byte_size", 0)
        )
        parse_shape(list(sent.shape))
        if call.reserve:
            call.reserve(section.byte_size)
        return array_from_raw(section.read(), sent.datatype, sent.shape)

    def _elements(self, call: InferCall, sent: InputTensor) -> list[Any]:
        return list(self._array(call, sent).ravel())


def _layout_of(call: InferCall) -> Hashable | None:
    """Return the properties of a request's inputs that are checked, as a cache key; None if elements are checked, too."""
    layout = tuple((each.name, each.datatype, each.shape) for each in call.inputs)
    return None if any(datatype == "BYTES" for _, datatype, _ in layout) else layout


def _apply_parameters(request: InferRequest, parameters: dict[str, Any], signature: Signature) -> None:
    """Apply the protocol's own parameters to a request, and pass on the others."""
    request.parameters = {name: value for name, value in parameters.items() if name not in _RESERVED}
    priority, timeout_us = _uint64(parameters, "priority"), _uint64(parameters, "timeout")
    if priority:
        request.priority = priority
    if timeout_us:
        request.parameters["timeout"] = timeout_us
    if timeout_us and signature.module.description.config is None:  # a Triton model's queue policy decides itself
        deadline = time.monotonic() + timeout_us / 1e6
        request.deadline = deadline if request.deadline is None else min(deadline, request.deadline)
    sequence = parameters.get("sequence_id", 0)
    if isinstance(sequence, bool) or not isinstance(sequence, (int, str)) or (isinstance(sequence, int) and not 0 <= sequence < 1 << 64):
        raise InvalidInput(f"the parameter 'sequence_id' must be a number from 1 to 2^64-1 or a text, got {shown(sequence)}")
    if sequence not in (0, ""):
        request.sequence = SequencePart(sequence, _flag(parameters, "sequence_start"), _flag(parameters, "sequence_end"))


def _uint64(parameters: dict[str, Any], name: str) -> int:
    value = parameters.get(name, 0)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 21:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise InvalidInput(f"the parameter '{name}' must be a whole number from 0 to 2^64-1, got {shown(value)}")
    return value


def _flag(parameters: dict[str, Any], name: str) -> bool:
    value = parameters.get(name, False)
    if not isinstance(value, bool):
        raise InvalidInput(f"the parameter '{name}' must be true or false, got {shown(value)}")
    return value

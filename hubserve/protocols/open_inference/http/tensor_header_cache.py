"""Cache the decoded JSON in front of binary tensors by its bytes.

A client that sends one request after the other to the same model sends the same JSON again and again; only the tensors behind it differ.
So it is decoded and checked once.
"""

from dataclasses import replace

import numpy as np

from hubserve.bounded_cache import BoundedCache
from hubserve.protocols.open_inference.core.types import InferCall, InputTensor

_MAX_HEADERS = 256
#: longer JSON is not cached
_MAX_BYTES = 2048


class TensorHeader:
    """Decoded JSON of one form of request; it serves as :attr:`InferCall.layout`, too.

    Args:
        call: decoded from that JSON and valid; every input is an array of numbers.
    """

    __slots__ = ("_call", "_inputs", "_size_bytes")

    def __init__(self, call: InferCall) -> None:
        self._call = replace(call, inputs=[])
        self._inputs = []
        start = 0
        for each in call.inputs:
            assert each.data is not None, "only binary inputs are cached"
            self._inputs.append((each.name, each.datatype, each.shape, each.parameters, each.data.dtype, each.data.size, start))
            start += each.data.nbytes
        self._size_bytes = start

    def call(self, model: str, rest: memoryview) -> InferCall | None:
        """Return a request with this JSON and other elements.

        Args:
            model: the served name.
            rest: the binary tensors.
        Returns:
            The request; None if ``rest`` does not have the length that the JSON gives.
        """
        if len(rest) != self._size_bytes:
            return None
        inputs = [
            InputTensor(name, datatype, shape, np.frombuffer(rest, dtype, count, start).reshape(shape), parameters)
            for name, datatype, shape, parameters, dtype, count, start in self._inputs
        ]
        call = self._call
        return InferCall(model, id=call.id, parameters=call.parameters, inputs=inputs, outputs=call.outputs, layout=self)


class TensorHeaderCache:
    """Decoded JSON of recent requests."""

    def __init__(self) -> None:
        self._headers: BoundedCache[bytes, TensorHeader] = BoundedCache(_MAX_HEADERS)

    def read(self, text: memoryview, model: str, rest: memoryview) -> InferCall | None:
        """Return a request with cached JSON, or None if its JSON is not cached.

        Args:
            text: JSON.
            model: the served name.
            rest: the binary tensors.
        """
        header = self._headers.get(bytes(text)) if len(text) <= _MAX_BYTES else None
        return header.call(model, rest) if header else None

    def add(self, text: memoryview, call: InferCall) -> None:
        """Cache JSON, if all inputs of its request are binary numbers.

        Args:
            text: JSON.
            call: decoded from it.
        """
        if len(text) <= _MAX_BYTES and all(_is_binary_number(each) for each in call.inputs):
            call.layout = self._headers[bytes(text)] = TensorHeader(call)


def _is_binary_number(tensor: InputTensor) -> bool:
    return tensor.data is not None and tensor.data.dtype != object and tensor.data.size > 0 and "binary_data_size" in tensor.parameters

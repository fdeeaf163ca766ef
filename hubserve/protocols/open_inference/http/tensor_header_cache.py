"""What the JSON in front of binary tensors says, remembered by its bytes.

A client that sends one request after the other to the same model sends the same JSON again and again: only what follows it differs. So it
is decoded and checked once.
"""

from dataclasses import replace

import numpy as np

from hubserve.bounded_cache import Recent
from hubserve.protocols.open_inference.core.types import InferCall, InputTensor

#: of so many texts it is remembered what they say, of up to so many bytes each
_REMEMBERED = 256
_MAX_BYTES = 2048


class Layout:
    """What one text says. Requests of one layout are alike in all but the elements of their inputs.

    Args:
        call: of that text, read and found to be in order; every input is an array of numbers.
    """

    __slots__ = ("_call", "_inputs", "_size_bytes")

    def __init__(self, call: InferCall) -> None:
        self._call = replace(call, inputs=[])
        self._inputs = []
        start = 0
        for each in call.inputs:
            assert each.data is not None, "it came behind the text"
            self._inputs.append((each.name, each.datatype, each.shape, each.parameters, each.data.dtype, each.data.size, start))
            start += each.data.nbytes
        self._size_bytes = start

    def call(self, model: str, rest: memoryview) -> InferCall | None:
        """A request of this layout.

        Args:
            model: the served name.
            rest: what follows the text.
        Returns:
            The request; None if ``rest`` is not as long as the text says.
        """
        if len(rest) != self._size_bytes:
            return None
        inputs = [
            InputTensor(name, datatype, shape, np.frombuffer(rest, dtype, count, start).reshape(shape), parameters)
            for name, datatype, shape, parameters, dtype, count, start in self._inputs
        ]
        call = self._call
        return InferCall(model, id=call.id, parameters=call.parameters, inputs=inputs, outputs=call.outputs, layout=self)


class Layouts:
    """The layouts of what came lately."""

    def __init__(self) -> None:
        self._known: Recent[bytes, Layout] = Recent(_REMEMBERED)

    def read(self, text: memoryview, model: str, rest: memoryview) -> InferCall | None:
        """A request whose text came before; None if it did not.

        Args:
            text: JSON.
            model: the served name.
            rest: what follows the text.
        """
        layout = self._known.get(bytes(text)) if len(text) <= _MAX_BYTES else None
        return layout.call(model, rest) if layout else None

    def remember(self, text: memoryview, call: InferCall) -> None:
        """Keep what a text says, if it says all but the elements.

        Args:
            text: JSON.
            call: what was read of it.
        """
        if len(text) <= _MAX_BYTES and all(_is_plain(each) for each in call.inputs):
            call.layout = self._known[bytes(text)] = Layout(call)


def _is_plain(tensor: InputTensor) -> bool:
    """Whether it is an array of numbers that came behind the text."""
    return tensor.data is not None and tensor.data.dtype != object and tensor.data.size > 0 and "binary_data_size" in tensor.parameters

"""The results of the calls of one frame, filled in as they are computed."""

from typing import Any, Dict, List, Optional, Tuple

import numpy as np

from hubserve.errors import HubError, InvalidInput, ModuleFailed, to_wire
from hubserve.instance.json_results import ResultEncoder
from hubserve.wire.current_requests import CurrentFrame
from hubserve.wire.frames import pack_arrays

_NONE = CurrentFrame(0)


class FrameResults:
    """Results of one frame.

    Args:
        size: the number of calls.
        encoder: writes JSON answers.

    Attributes:
        results, buffers: as in the ``results`` frame.
        times: number of items and seconds of each call of the batch method.
        prepare_s: seconds spent decoding the frame.
        calls_s: seconds spent in the module's methods.
        took_s: seconds spent on the frame once it was decoded.
        once: a call that fails is not computed again, because the module keeps state between calls.
        out_of_memory: the number of items of the smallest call that ran out of memory; 0 for none.
        frame: that they answer.
        marks_output: whether the gateway asks which frame the output of native code belongs to.
    """

    def __init__(self, size: int, encoder: Optional[ResultEncoder] = None) -> None:
        self._encoder = encoder or ResultEncoder()
        self.results: List[Optional[Dict[str, Any]]] = [None] * size
        self.buffers: List[Any] = []
        self.times: List[Tuple[int, float]] = []
        self.prepare_s = 0.0
        self.calls_s = 0.0
        self.took_s = 0.0
        self.once = False
        self.out_of_memory = 0
        self.frame = _NONE
        self.marks_output = False

    def to_header(self) -> Dict[str, Any]:
        """Return the header of the ``results`` frame."""
        took = {"times": self.times, "took_s": self.took_s, "calls_s": self.calls_s, "prepare_s": self.prepare_s}
        header = {"op": "results", "results": self.results, **took}
        return {**header, "out_of_memory": self.out_of_memory} if self.out_of_memory else header

    def put_json(self, index: int, value: Any) -> None:
        """Set a JSON answer.

        Raises:
            ModuleFailed: the value cannot be written as JSON.
        """
        text = self._encoder.encode(value)
        self.results[index] = {"json": len(self.buffers)}
        self.buffers.append(text)

    def put_outputs(self, index: int, outputs: Dict[str, np.ndarray]) -> None:
        """Set an answer of named arrays.

        Raises:
            ModuleFailed: an array cannot be sent.
        """
        before = len(self.buffers)
        try:
            self.results[index] = {"outputs": pack_arrays(outputs, self.buffers)}
        except InvalidInput as error:
            del self.buffers[before:]
            raise ModuleFailed(f"the module's answer cannot be sent: {error.message}", error.detail) from error

    def put_error(self, index: int, error: HubError) -> None:
        """Set an error."""
        self.results[index] = {"error": to_wire(error)}

    def note_out_of_memory(self, items: int) -> None:
        """Record that a call with this many items ran out of memory."""
        self.out_of_memory = min(self.out_of_memory or items, items)

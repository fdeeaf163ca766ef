"""Requests and results of the protocol, independent of the transport."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hubserve.types import SequencePart

#: most inputs, outputs or parameters in one place; no model has that many
MAX_NAMED = 4096
#: name of an output -> its elements encoded in advance; here, none is
NOT_ENCODED: Mapping[str, Any] = {}


@dataclass(slots=True)
class InputTensor:
    """One input of a request.

    Attributes:
        name: of the model's input.
        datatype: the protocol's, such as "FP32".
        shape: one length per dimension.
        data: the array, of that shape and dtype (:mod:`hubserve.protocols.open_inference.core.datatypes`); None if in shared memory.
        parameters: for data in shared memory ``shared_memory_region``, ``shared_memory_byte_size`` and ``shared_memory_offset``.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: np.ndarray | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class RequestedOutput:
    """One output that a request asks for.

    Attributes:
        name: of the model's output.
        parameters: ``classification`` (number of classes) and ``shared_memory_*`` as in :class:`InputTensor` are handled here; others
            belong to the transport.
    """

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class InferCall:
    """One request.

    Attributes:
        model: the served name.
        version: "" for the default.
        id: the client's; returned in the result.
        parameters: the client's. ``priority``, ``timeout`` (microseconds) and ``sequence_*`` are handled here.
        inputs: tensors sent.
        outputs: requested outputs; empty for all.
        deadline: on the clock of ``time.monotonic``; None for none.
        priority: lower ones are computed first.
        sequence: the sequence that the request is part of, if any.
        layout: equal layouts mean requests that differ only in the elements of their inputs; None if unknown.
        check_memory: raises Forbidden unless the client may use shared memory; None if every client may.
        reserve: accounts for bytes read from elsewhere for this request; raises if there is no room for them.
    """

    model: str
    version: str = ""
    id: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    inputs: list[InputTensor] = field(default_factory=list)
    outputs: list[RequestedOutput] = field(default_factory=list)
    deadline: float | None = None
    priority: int = 0
    sequence: SequencePart | None = None
    layout: Hashable | None = None
    reserve: Callable[[int], None] | None = None
    check_memory: Callable[[], None] | None = None

    @property
    def shares_memory(self) -> bool:
        """True if any of its tensors is read from, or written to, shared memory."""
        return any(each.data is None for each in self.inputs) or any("shared_memory_region" in each.parameters for each in self.outputs)


@dataclass(slots=True)
class OutputTensor:
    """One output of a result; attributes as in :class:`InputTensor`.

    Attributes:
        array: the elements; None if they are in shared memory.
        requested: how the client requested it; None if it did not.
        parameters: for data in shared memory the region, offset and size.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    array: np.ndarray | None
    requested: RequestedOutput | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class InferResult:
    """Result of one request; outputs are in the order of the model's configuration."""

    model_name: str
    model_version: str
    id: str
    outputs: list[OutputTensor]
    parameters: dict[str, Any] = field(default_factory=dict)

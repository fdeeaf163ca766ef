"""Requests and answers of the protocol, whatever carries them."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hubserve.types import SequencePart


@dataclass(slots=True)
class InputTensor:
    """One input of a request.

    Attributes:
        name: its name.
        datatype: the protocol's, such as "FP32".
        shape: one length per dimension.
        data: the array, of that shape and dtype (:mod:`hubserve.protocols.open_inference.core.datatypes`); None if in shared memory.
        parameters: ``shared_memory_region``, ``shared_memory_byte_size`` and ``shared_memory_offset`` say where it is then.
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
        name: its name.
        parameters: ``classification`` (number of classes) and ``shared_memory_*`` as in :class:`InputTensor` are handled here; the others
            are the transport's.
    """

    name: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class InferCall:
    """One request.

    Attributes:
        model: the served name.
        version: "" for the default.
        id: the client's; given back.
        parameters: the client's. Of these ``priority``, ``timeout`` (microseconds) and ``sequence_*`` are handled here.
        inputs: what it sent.
        outputs: what it asks for; none for all.
        deadline: on the clock of ``time.monotonic``; None for none.
        priority: lower ones are computed first.
        sequence: the sequence that it is part of, if any.
        layout: requests with the same one are alike in all but the elements of their inputs; None where that is not known.
        check_memory: raises Forbidden unless the client may have tensors in shared memory; None if every client may.
        reserve: accounts for bytes that are read from elsewhere for it; raises what it is refused with if there is no room for them.
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
        """Return True if any of its tensors is in, or goes to, shared memory."""
        return any(each.data is None for each in self.inputs) or any("shared_memory_region" in each.parameters for each in self.outputs)


@dataclass(slots=True)
class OutputTensor:
    """One output of an answer; as :class:`InputTensor`.

    Attributes:
        array: its elements; None if they have been put into shared memory.
        requested: how the client asked for it; None if it asked for nothing in particular.
        parameters: where in shared memory it is.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    array: np.ndarray | None
    requested: RequestedOutput | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class InferResult:
    """The answer to one request; the outputs in the order of the model's configuration."""

    model_name: str
    model_version: str
    id: str
    outputs: list[OutputTensor]
    parameters: dict[str, Any] = field(default_factory=dict)

"""Configuration of sequences: how requests form them, and which inputs describe them to the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hubserve.types import TensorSpec

#: every sequence keeps one slot in the batches of its instance
DIRECT = "direct"
#: batches consist of whatever sequences have a request, those that began earlier first
OLDEST = "oldest"

#: kinds of :class:`Control`
START, END, READY, CORRELATION_ID = "start", "end", "ready", "correlation_id"


@dataclass(frozen=True)
class Control:
    """An input that describes a request's place in its sequence to the model.

    Attributes:
        name: of the input.
        kind: :data:`START`, :data:`END`, :data:`READY` or :data:`CORRELATION_ID`.
        dtype: of the input, as in :class:`hubserve.types.TensorSpec`.
        false, true: its two values; unused for the correlation ID.
    """

    name: str
    kind: str
    dtype: str
    false: Any = 0
    true: Any = 1


@dataclass(frozen=True)
class State:
    """An output that becomes an input of the sequence's next request.

    Attributes:
        input_name, output_name: the model's names of them.
        dtype: as in :class:`hubserve.types.TensorSpec`.
        shape: of one item; lengths of -1 are 1 at the start.
        initial: the initial state of one item, in the protocols' binary form; None for zeros or empty texts.
    """

    input_name: str
    output_name: str
    dtype: str
    shape: tuple[int, ...]
    initial: bytes | None = None


@dataclass(frozen=True)
class SequencePlan:
    """Settings of how requests form sequences, and sequences batches.

    Attributes:
        strategy: :data:`DIRECT` or :data:`OLDEST`.
        max_idle_s: a sequence ends if no request arrives for this long.
        slots: how many sequences an instance computes at once; further ones wait. 0 for ``max_batch_size``.
        preferred_sizes: with ``oldest``: numbers of requests to wait for, for at most ``max_delay_s``.
        max_delay_s: how long a request may be delayed for those of other sequences.
        min_utilization: with ``direct``: the share of an instance's slots that ``max_delay_s`` waits for requests of.
        iterative: each request is a sequence of its own, which is computed repeatedly until the model has finished it.
        controls: inputs that describe the sequence.
        states: outputs that are kept from one request to the next.
    """

    strategy: str = DIRECT
    max_idle_s: float = 1.0
    slots: int = 0
    preferred_sizes: Sequence[int] = ()
    max_delay_s: float = 0.0
    min_utilization: float = 0.0
    iterative: bool = False
    controls: Sequence[Control] = ()
    states: Sequence[State] = ()

    @property
    def inputs(self) -> list[TensorSpec]:
        """Inputs that the gateway adds to those of clients; shapes are of one item."""
        controls = [TensorSpec(each.name, each.dtype, (1,)) for each in self.controls]
        return controls + [TensorSpec(each.input_name, each.dtype, each.shape) for each in self.states]

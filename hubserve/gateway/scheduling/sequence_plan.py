"""How the requests of a module are put together to sequences, and what its model is told of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hubserve.types import TensorSpec

#: every sequence has a place in the batch of its instance, which it keeps
DIRECT = "direct"
#: batches are made of whatever sequences have a request, those that began first before others
OLDEST = "oldest"

#: kinds of :class:`Control`
START, END, READY, CORRELATION_ID = "start", "end", "ready", "correlation_id"


@dataclass(frozen=True)
class Control:
    """An input that tells the model something of a request's sequence.

    Attributes:
        name: of the input.
        kind: :data:`START`, :data:`END`, :data:`READY` or :data:`CORRELATION_ID`.
        dtype: of the input, as a :class:`hubserve.types.TensorSpec` has it.
        false, true: what it holds; of no meaning for the correlation id.
    """

    name: str
    kind: str
    dtype: str
    false: Any = 0
    true: Any = 1


@dataclass(frozen=True)
class State:
    """An output that is the input of the sequence's next request.

    Attributes:
        input_name, output_name: what the model calls them.
        dtype: as a :class:`hubserve.types.TensorSpec` has it.
        shape: of one item; lengths of -1 are 1 at the start.
        initial: the bytes of the first state of one item, as the protocols' binary form has them; None for zeros (empty texts).
    """

    input_name: str
    output_name: str
    dtype: str
    shape: tuple[int, ...]
    initial: bytes | None = None


@dataclass(frozen=True)
class SequencePlan:
    """How requests are put together to sequences.

    Attributes:
        strategy: :data:`DIRECT` or :data:`OLDEST`.
        max_idle_s: a sequence of which no request came for so long has ended.
        slots: how many sequences an instance has at once; further ones wait. 0 for ``max_batch_size``.
        preferred_sizes: with ``oldest``: numbers of requests to wait for, for at most ``max_delay_s``.
        max_delay_s: how long a request may be kept waiting for those of other sequences.
        min_utilization: with ``direct``: the share of an instance's places whose requests ``max_delay_s`` waits for.
        iterative: each request is a sequence of its own, which the model is given again until it is done with it.
        controls: what the model is told.
        states: what is kept for it from one request to the next.
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
        """What the model takes besides what clients send; the shapes are those of one item."""
        controls = [TensorSpec(each.name, each.dtype, (1,)) for each in self.controls]
        return controls + [TensorSpec(each.input_name, each.dtype, each.shape) for each in self.states]

"""Table of a module's sequences: by their IDs, waiting for a slot, and lost."""

import time
from collections import deque

from hubserve.errors import InstanceDied, InvalidInput
from hubserve.gateway.scheduling.sequence_slots import Sequence
from hubserve.net.deadline_monitor import DeadlineMonitor
from hubserve.types import SequencePart

#: number of lost sequences whose further requests get an error that says so
_MAX_LOST = 4096
_MAX_ID_SHOWN = 100


class SequenceTable:
    """The sequences of a module that have not ended.

    Args:
        module: the served name, for messages.
        max_idle_s: a sequence without a request for this long is reported by :meth:`Sequence.on_timeout`.

    Attributes:
        backlog: sequences that wait for a slot, oldest first.
    """

    def __init__(self, module: str, max_idle_s: float) -> None:
        self.backlog: deque[Sequence] = deque()
        self._module = module
        self._max_idle_s = max_idle_s
        self._by_id: dict[int | str, Sequence] = {}  # without those whose last request has arrived: their IDs are free again
        self._lost: dict[int | str, str] = {}
        self._monitor = DeadlineMonitor(min(0.1, max_idle_s / 4))

    def __contains__(self, sequence_id: int | str) -> bool:
        return sequence_id in self._by_id

    def find(self, part: SequencePart) -> Sequence | None:
        """Return the sequence that a request continues; None if the request begins one.

        Raises:
            InvalidInput: it neither continues nor begins a sequence.
            InstanceDied: its sequence was lost.
        """
        sequence = self._by_id.get(part.id)
        if sequence is None and not part.start:
            if part.id in self._lost:
                raise InstanceDied(self._lost[part.id])
            raise InvalidInput(
                f"inference request for sequence {_shown(part.id)} to model '{self._module}' must specify the START flag "
                "on the first request of the sequence"
            )
        return sequence

    def add(self, sequence: Sequence) -> None:
        """Add a sequence that begins; it waits for a slot."""
        self._lost.pop(sequence.id, None)
        self._by_id[sequence.id] = sequence
        self._monitor.add(sequence)
        self.backlog.append(sequence)

    def touch(self, sequence: Sequence) -> None:
        """Restart the idle time of a sequence."""
        sequence.due = time.monotonic() + self._max_idle_s

    def complete(self, sequence: Sequence) -> None:
        """Record that the last request of a sequence has arrived, after which its ID may begin another one."""
        self._by_id.pop(sequence.id, None)
        sequence.is_complete = True

    def remove(self, sequence: Sequence) -> None:
        """Remove a sequence that has ended, and free its slot."""
        self._monitor.discard(sequence)
        if self._by_id.get(sequence.id) is sequence:
            del self._by_id[sequence.id]
        if sequence.slots is not None:
            sequence.slots.release(sequence)
        elif sequence in self.backlog:
            self.backlog.remove(sequence)

    def lose(self, sequence: Sequence, why: str) -> str:
        """Remember that the state of a sequence was lost, and return the error message for its requests."""
        text = (
            f"sequence {_shown(sequence.id)} of model '{self._module}' was lost: {why}. "
            "What was computed before is gone; begin it again, with the START flag"
        )
        if not sequence.is_complete and self._by_id.get(sequence.id) is sequence:
            self._lost[sequence.id] = text
            if len(self._lost) > _MAX_LOST:
                del self._lost[next(iter(self._lost))]
        return text


def _shown(sequence_id: int | str) -> str:
    return str(sequence_id)[:_MAX_ID_SHOWN]

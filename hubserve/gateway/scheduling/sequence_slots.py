"""Sequences of requests, and the slots that each instance has for them."""

import asyncio
from collections import deque
from typing import Any, Protocol

from hubserve.gateway.queued_request import InstanceHandle, QueuedRequest
from hubserve.gateway.scheduling.sequence_inputs import States
from hubserve.wire.frames import Frame


class SequenceOwner(Protocol):
    """Receiver of the events of sequences."""

    def on_idle(self, sequence: "Sequence") -> None:
        """Handle that no request of a sequence has arrived for the longest time allowed."""

    def on_computed(self, sequence: "Sequence", request: QueuedRequest, result: dict[str, Any], frame: Frame) -> None:
        """Handle that a request was computed, before it is answered."""


class Sequence:
    """Requests that one instance computes in order, because its model keeps state between them.

    Args:
        owner: notified of events.
        number: sequences with lower ones began earlier.
        sequence_id: given by the client.

    Attributes:
        queue: requests that wait.
        computing: the request that is being computed.
        slots: those of the instance that has a slot for the sequence; None while it waits for one.
        states: the model's last state outputs, by the name of their input.
        is_complete: whether its last request has arrived.
        due: when it ends unless a request arrives; see :class:`hubserve.net.deadline_monitor.DeadlineMonitor`.
    """

    def __init__(self, owner: SequenceOwner, number: int, sequence_id: int | str) -> None:
        self.id = sequence_id
        self.number = number
        self.queue: deque[QueuedRequest] = deque()
        self.computing: QueuedRequest | None = None
        self.slots: InstanceSlots | None = None
        self.states: States = {}
        self.is_complete = False
        self.due = 0.0
        self._owner = owner

    def on_timeout(self) -> None:
        """Report that no request has arrived for the longest time allowed."""
        self._owner.on_idle(self)

    def on_computed(self, request: QueuedRequest, result: dict[str, Any], frame: Frame) -> None:
        """Report that a request was computed."""
        self._owner.on_computed(self, request, result, frame)


class InstanceSlots:
    """The slots of one instance, each for one sequence.

    Args:
        instance: computes the sequences.
        count: the number of slots.

    Attributes:
        by_slot: the sequence in each slot; None for a free slot.
        timer: runs while the instance waits for requests of more sequences.
    """

    def __init__(self, instance: InstanceHandle, count: int) -> None:
        self.instance = instance
        self.by_slot: list[Sequence | None] = [None] * count
        self.timer: asyncio.TimerHandle | None = None

    @property
    def free(self) -> int:
        """Number of free slots; 0 if the instance takes no requests."""
        return self.by_slot.count(None) if self.instance.is_alive else 0

    @property
    def sequences(self) -> list[Sequence]:
        """The sequences that have a slot, in the order of the slots."""
        return [each for each in self.by_slot if each]

    def assign(self, sequence: Sequence) -> None:
        """Give a sequence the first free slot."""
        sequence.slots = self
        self.by_slot[self.by_slot.index(None)] = sequence

    def release(self, sequence: Sequence) -> None:
        """Free the slot of a sequence."""
        sequence.slots = None
        self.by_slot[self.by_slot.index(sequence)] = None

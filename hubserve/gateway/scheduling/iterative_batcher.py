"""Compute requests repeatedly until the model has finished them, for example one token at a time.

Each request is a sequence of its own: it stays at its instance, where the model keeps what it has computed, and every batch consists of the
requests that are there at that moment, new and old.
"""

import time
from typing import Any

from hubserve.errors import InstanceDied
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.gateway.scheduling.expiry import is_abandoned
from hubserve.gateway.scheduling.sequence_batcher import SequenceBatcher, fail
from hubserve.gateway.scheduling.sequence_inputs import check_id, update_controls
from hubserve.gateway.scheduling.sequence_slots import InstanceSlots, Sequence
from hubserve.types import SequencePart

#: fits every datatype in which models take correlation IDs
_MAX_ID = (1 << 31) - 1


class IterativeSequenceBatcher(SequenceBatcher):
    """Batcher that sends each request to its instance until the model has finished it; arguments as for the base class."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._last_id = 0

    def put(self, request: QueuedRequest) -> None:
        """Queue a request, or send it to an instance; see the base class."""
        super().put(request)
        request.sequence.is_complete = True

    def _check(self, request: QueuedRequest) -> SequencePart:
        part = SequencePart(request.part.id if request.part and request.part.id else self._new_id(), start=True)
        check_id(self._plan.controls, part)
        request.part = part
        return part

    def _new_id(self) -> int:
        while True:
            self._last_id = self._last_id % _MAX_ID + 1
            if self._last_id not in self._table:
                return self._last_id

    def _drop_abandoned(self, sequence: Sequence) -> None:
        before = len(sequence.queue)
        while sequence.queue and is_abandoned(sequence.queue[0], self._module, time.monotonic()):
            self._pop(sequence)
        if before and not (sequence.queue or sequence.computing):
            self._table.remove(sequence)

    def requeue(self, requests: list[QueuedRequest]) -> None:
        """Queue requests again that the model wants once more, or whose instance died; see the base class."""
        for request in requests:
            sequence: Sequence = request.sequence
            sequence.computing = None
            if sequence.slots is not None and sequence.slots.instance.is_alive:
                request.attempts, request.isolated = 0, False
                request.part = SequencePart(sequence.id)
                update_controls(request, self._plan, self.batched)
                sequence.queue.appendleft(request)
                self._size += 1
            else:
                self._restart(request, "the process ended that computed it")
        self.dispatch()

    def _lose(self, sequence: Sequence, why: str) -> None:
        requests = [self._pop(sequence) for _ in range(len(sequence.queue))]
        self._table.remove(sequence)
        for request in requests:
            self._restart(request, why)

    def _restart(self, request: QueuedRequest, why: str) -> None:
        """Have another instance compute a request from its start; fail it if its model has computed part of it already."""
        if request.part is None or not request.part.start:
            message = f"a request of model '{self._module}' was lost: {why}. What was computed of it is gone; send it again"
            fail(request, InstanceDied(message))
            return
        sequence = request.sequence = self._sequence_of(request.part)
        sequence.queue.append(request)
        sequence.is_complete = True
        self._size += 1
        if sequence.slots is not None:
            self._dispatch(sequence.slots)

    def _pop_batch(self, slots: InstanceSlots, ready: list[Sequence], first: Sequence) -> list[QueuedRequest]:
        is_isolated = first.queue[0].isolated
        return super()._pop_batch(slots, [each for each in ready if each is first or not (is_isolated or each.queue[0].isolated)], first)

    def _begin(self, sequence: Sequence) -> QueuedRequest:
        request = super()._begin(sequence)
        if request.part is not None:
            request.call = {**request.call, "request": {**request.call["request"], "sequence": list(request.part)}}
        return request

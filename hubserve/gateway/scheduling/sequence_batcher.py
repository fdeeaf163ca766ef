"""Compute the requests of each sequence in order at one instance.

:class:`SequenceBatcher` replaces the :class:`~hubserve.gateway.scheduling.batcher.Batcher` for a module whose model keeps state between
requests. Every instance has slots for a number of sequences. A sequence keeps its slot until its last request is answered or none has
arrived for too long; sequences beyond that wait for a slot. A request is sent to the instance when the one before it is answered, together
with requests of other sequences.
"""

import asyncio
import time
from functools import partial
from typing import Any

from hubserve.errors import HubError, InstanceDied, InvalidInput
from hubserve.gateway.queued_request import InstanceHandle, QueuedRequest
from hubserve.gateway.scheduling.batch_key import ONE_BY_ONE
from hubserve.gateway.scheduling.batcher import Batcher, BatchSettings
from hubserve.gateway.scheduling.expiry import is_abandoned, queue_full
from hubserve.gateway.scheduling.latency_store import LatencyStore
from hubserve.gateway.scheduling.sequence_inputs import add_controls, check_id, filler, next_states
from hubserve.gateway.scheduling.sequence_plan import DIRECT, SequencePlan
from hubserve.gateway.scheduling.sequence_policy import SequencePolicy, in_slots
from hubserve.gateway.scheduling.sequence_slots import InstanceSlots, Sequence
from hubserve.gateway.scheduling.sequence_table import SequenceTable
from hubserve.types import SequencePart
from hubserve.wire.frames import Frame


class SequenceBatcher:
    """The waiting requests of a module with sequences, and the instances that compute them.

    Args:
        module: the served name, for messages.
        settings: only ``max_queue_size`` counts.
        plan: how requests form sequences and batches.
        latencies: its limit is the most items in one call.

    Attributes:
        batched: whether the arrays of requests have a batch dimension.
        pads_slots: whether a batch has a filler for each free slot before a request's.
    """

    def __init__(self, module: str, settings: BatchSettings, plan: SequencePlan, latencies: LatencyStore) -> None:
        self.batched = True
        self.pads_slots = plan.strategy == DIRECT
        self._module = module
        self._settings = settings
        self._plan = plan
        self._policy = SequencePolicy(plan, latencies)
        self._table = SequenceTable(module, plan.max_idle_s)
        self._instances: list[InstanceSlots] = []
        self._size = 0
        self._last_number = 0

    def __len__(self) -> int:
        return self._size

    # --- requests ---

    def check_room(self) -> None:
        """Raise Overloaded if the queue is full."""
        if self._size >= self._settings.max_queue_size:
            raise queue_full(self._module, self._size)

    def put(self, request: QueuedRequest) -> None:
        """Queue a request behind those of its sequence, or send it to its instance.

        Raises:
            InvalidInput: it does not say to which sequence it belongs, or that has not begun, or it has several items.
            InstanceDied: its sequence was lost.
            Overloaded: the queue is full.
        """
        self.check_room()
        part = self._check(request)
        sequence = self._sequence_of(part)
        self._last_number += 1
        request.number, request.queued_at, request.once, request.sequence = self._last_number, time.monotonic(), True, sequence
        sequence.queue.append(request)
        self._size += 1
        self._table.touch(sequence)
        if part.end:
            self._table.complete(sequence)
        if sequence.slots is not None:
            self._dispatch(sequence.slots)

    def _check(self, request: QueuedRequest) -> SequencePart:
        part = request.part
        if part is None or not part.id:
            raise InvalidInput(f"inference request to model '{self._module}' must specify a non-zero or non-empty correlation ID")
        if self.batched and request.count != 1:
            raise InvalidInput(
                f"inference request to model '{self._module}' must specify batch-size 1 due to requirements of sequence batcher, "
                f"got {request.count}"
            )
        check_id(self._plan.controls, part)
        return part

    def _sequence_of(self, part: SequencePart) -> Sequence:
        sequence = self._table.find(part)
        if sequence is None:
            sequence = Sequence(self, self._last_number, part.id)
            self._table.add(sequence)
            self._assign_slots()
        return sequence

    def _pop(self, sequence: Sequence) -> QueuedRequest:
        self._size -= 1
        return sequence.queue.popleft()

    def _drop_abandoned(self, sequence: Sequence) -> None:
        """Drop abandoned requests at the head of a sequence."""
        while sequence.queue and is_abandoned(sequence.queue[0], self._module, time.monotonic()):
            request = self._pop(sequence)
            if request.part and request.part.start:
                self._lose(sequence, "its first request was given up before it was computed")
            elif request.part and request.part.end and not sequence.queue:
                self._table.remove(sequence)

    def requeue(self, requests: list[QueuedRequest]) -> None:
        """Queue requests again that were not answered.

        If their instance died, they are failed instead: no other instance has the state of their sequences.
        """
        lost = []
        for request in requests:
            sequence = request.sequence
            if sequence is None:  # a filler
                continue
            if sequence.slots is not None and sequence.slots.instance.is_alive:  # the module asked for the request again
                sequence.computing = None
                sequence.queue.appendleft(request)
                self._size += 1
                continue
            lost.append(request)
            fail(
                request,
                InstanceDied(
                    "the process ended that computed the request and knew its sequence; begin the sequence again, with the START flag"
                ),
            )
        for slots in {id(request.sequence.slots): request.sequence.slots for request in lost if request.sequence.slots}.values():
            self._lose_all(slots)
        self.dispatch()

    def fail_all(self, error: HubError) -> None:
        """Answer all waiting requests with an error."""
        for sequence in {*self._table.backlog, *(each for slots in self._instances for each in slots.sequences)}:
            while sequence.queue:
                fail(self._pop(sequence), error)

    # --- sequences ---

    def _assign_slots(self) -> None:
        """Assign free slots to waiting sequences, those of the emptiest instance first."""
        backlog = self._table.backlog
        while backlog:
            slots = max(self._instances, key=lambda each: each.free, default=None)
            if slots is None or not slots.free:
                return
            sequence = backlog.popleft()
            slots.assign(sequence)
            self._table.touch(sequence)
            self._dispatch(slots)

    def on_idle(self, sequence: Sequence) -> None:
        """End a sequence for which no request has arrived for too long, unless one still waits or is computed."""
        self._drop_abandoned(sequence)
        if sequence.queue or sequence.computing:
            self._table.touch(sequence)
        else:
            self._table.remove(sequence)
            self._assign_slots()

    def _lose(self, sequence: Sequence, why: str) -> None:
        """Fail a sequence's waiting and future requests after its state was lost."""
        error = self._table.lose(sequence, why)
        while sequence.queue:
            fail(self._pop(sequence), InstanceDied(error))
        self._table.remove(sequence)

    def _lose_all(self, slots: InstanceSlots) -> None:
        for sequence in slots.sequences:
            self._lose(sequence, "the process that computed it has ended or was replaced; see the server log")

    # --- instances ---

    def add_instance(self, instance: InstanceHandle) -> None:
        """Start to send batches to an instance."""
        self._instances.append(InstanceSlots(instance, self._policy.slot_count))
        self._assign_slots()

    def remove_instance(self, instance: InstanceHandle) -> None:
        """Stop sending batches to an instance, and fail its sequences, whose state is lost with it."""
        for slots in [each for each in self._instances if each.instance is instance]:
            self._instances.remove(slots)
            if slots.timer:
                slots.timer.cancel()
            self._lose_all(slots)
        self._assign_slots()

    def on_computed(self, sequence: Sequence, request: QueuedRequest, result: dict[str, Any], frame: Frame) -> None:
        """Keep the states that a computed request leaves; it is not answered yet."""
        if result.get("later") is True and not request.answer.done():  # it is queued again
            return
        if result.get("later") is False:  # the module answers whenever it likes
            request.answer.add_done_callback(partial(self._on_late_answer, sequence))
            return
        sequence.computing = None
        self._table.touch(sequence)
        if "error" not in result and self._plan.states:
            states = next_states(self._plan, result, frame)
            if states is None:
                self._lose(sequence, "the model did not return all outputs that its next inputs are made of; fix the model")
                return
            sequence.states = states
        self._remove_if_complete(sequence)

    def _on_late_answer(self, sequence: Sequence, _: Any) -> None:
        sequence.computing = None
        self._table.touch(sequence)
        self._remove_if_complete(sequence)
        self._assign_slots()
        self.dispatch()

    def _remove_if_complete(self, sequence: Sequence) -> None:
        if sequence.is_complete and not sequence.queue:
            self._table.remove(sequence)

    def on_batch_done(self, instance: InstanceHandle) -> None:
        """Send further batches; call this whenever an instance has answered one."""
        instance.expected_s.popleft()
        self._assign_slots()
        self.dispatch()

    # --- batches ---

    def dispatch(self) -> None:
        """Send all batches that can be sent now."""
        for slots in self._instances:
            self._dispatch(slots)

    def _dispatch(self, slots: InstanceSlots) -> None:
        instance = slots.instance
        if instance.in_flight or not instance.is_open:
            return
        for sequence in slots.sequences:
            self._drop_abandoned(sequence)
        if self._table.backlog and slots.free:
            self._assign_slots()
        ready = [each for each in slots.sequences if each.queue and not each.computing]
        if instance.in_flight or not ready:
            return
        first = min(ready, key=lambda each: each.queue[0].number)
        wait_s = self._policy.wait_s(slots, ready, first.queue[0].queued_at)
        if wait_s > 0:
            if slots.timer is None:
                slots.timer = asyncio.get_running_loop().call_later(wait_s, self._on_timer, slots)
            return
        batch = self._pop_batch(slots, ready, first)
        instance.expected_s.append(0.0)
        instance.give(batch, [] if batch[0].key in (None, ONE_BY_ONE) else [sum(request.count for request in batch)])

    def _on_timer(self, slots: InstanceSlots) -> None:
        slots.timer = None
        self._dispatch(slots)

    def _pop_batch(self, slots: InstanceSlots, ready: list[Sequence], first: Sequence) -> list[QueuedRequest]:
        """Remove and return the next requests of several sequences, that of ``first`` among them."""
        for sequence in ready:
            sequence.states = add_controls(sequence.queue[0], sequence.states, self._plan, self.batched)
        together = self._policy.together(ready, first)
        if not self.pads_slots:
            return [self._begin(each) for each in self._policy.oldest(together, first)]
        sample = first.queue[0]
        return [self._begin(each) if each else filler(sample, self._plan, self.batched) for each in in_slots(slots, together)]

    def _begin(self, sequence: Sequence) -> QueuedRequest:
        sequence.computing = self._pop(sequence)
        return sequence.computing


def fail(request: QueuedRequest, error: HubError) -> None:
    """Answer a request with an error, unless it has been answered."""
    if not request.answer.done():
        request.answer.set_exception(error)


#: a module's queue of requests
Queue = Batcher | SequenceBatcher

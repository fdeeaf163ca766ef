"""Requests that a model computes again and again until it has finished them, for example one word each time.

Each request is a sequence of its own: it stays at its instance, where the model keeps what it has computed, and every batch is made of
those that are there at that moment, new ones and old ones.
"""

from typing import Any

from hubserve.errors import InstanceDied
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.gateway.scheduling.sequence_inputs import check_id, tell
from hubserve.gateway.scheduling.sequences import Desk, Sequence, Sequences, fail
from hubserve.types import SequencePart

#: ids that fit each datatype in which models may take them
_LARGEST_ID = (1 << 31) - 1


class IterativeSequences(Sequences):
    """See the module; arguments as the base class."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._last_id = 0

    def put(self, work: QueuedRequest) -> None:
        """Queue a request, or hand it to an instance; see the base class."""
        super().put(work)
        work.sequence.last_came = True

    def _check(self, work: QueuedRequest) -> SequencePart:
        part = SequencePart(work.part.id if work.part and work.part.id else self._new_id(), start=True)
        check_id(self._plan.controls, part)
        work.part = part
        return part

    def _new_id(self) -> int:
        while True:
            self._last_id = self._last_id % _LARGEST_ID + 1
            if self._last_id not in self._by_id:
                return self._last_id

    def _drop_unwanted(self, sequence: Sequence) -> None:
        before = len(sequence.queue)
        while sequence.queue and self._is_unwanted(sequence.queue[0]):
            self._pop(sequence)
        if before and not (sequence.queue or sequence.computing):
            self._end(sequence)

    def put_back(self, works: list[QueuedRequest]) -> None:
        """Take requests that the model wants to have again, or whose instance died; see the base class."""
        for work in works:
            sequence: Sequence = work.sequence
            sequence.computing = None
            if sequence.desk is not None and sequence.desk.seat.is_alive:
                work.attempts, work.isolated = 0, False
                work.part = SequencePart(sequence.id)
                tell(work, self._plan, self.batched)
                sequence.queue.appendleft(work)
                self._size += 1
            else:
                self._begin_again(work, "the process ended that computed it")
        self.dispatch()

    def _lose(self, sequence: Sequence, why: str) -> None:
        works = [self._pop(sequence) for _ in range(len(sequence.queue))]
        self._end(sequence)
        for work in works:
            self._begin_again(work, why)

    def _begin_again(self, work: QueuedRequest, why: str) -> None:
        """Have another instance compute a request from its start, unless its model has had it already and kept something of it."""
        if work.part is None or not work.part.start:
            fail(work, InstanceDied(f"a request of model '{self._module}' was lost: {why}. What was computed of it is gone; send it again"))
            return
        sequence = work.sequence = self._find(work.part)
        sequence.queue.append(work)
        sequence.last_came = True
        self._size += 1
        if sequence.desk is not None:
            self._dispatch(sequence.desk)

    def _take(self, desk: Desk, ready: list[Sequence], first: Sequence) -> list[QueuedRequest]:
        is_alone = first.queue[0].isolated
        return super()._take(desk, [each for each in ready if each is first or not (is_alone or each.queue[0].isolated)], first)

    def _begin(self, sequence: Sequence) -> QueuedRequest:
        work = super()._begin(sequence)
        if work.part is not None:
            work.call = {**work.call, "request": {**work.call["request"], "sequence": list(work.part)}}
        return work

"""Has the requests of each sequence computed in their order by one instance.

It replaces the :class:`~hubserve.gateway.scheduling.batcher.Batcher` for a module whose model keeps state between requests.
Every instance has places for a number of sequences. A sequence keeps its place until its last request is answered or none came for too
long; sequences beyond that wait for a place. A request is given to the instance when the one before it is answered, together with
requests of other sequences.
"""

import asyncio
import time
from collections import deque
from functools import partial
from typing import Any

from hubserve.errors import DeadlineExceeded, HubError, InstanceDied, InvalidInput, Overloaded
from hubserve.gateway.queued_request import InstanceHandle, QueuedRequest
from hubserve.gateway.scheduling.batch_latency import ONE_BY_ONE, TimesBook
from hubserve.gateway.scheduling.batcher import Batcher, BatchSettings
from hubserve.gateway.scheduling.sequence_inputs import States, check_id, equip, filler, next_states
from hubserve.gateway.scheduling.sequence_plan import DIRECT, SequencePlan
from hubserve.net.deadline_monitor import Sweeper
from hubserve.types import SequencePart
from hubserve.wire.frames import Frame

#: of so many sequences that were lost it is remembered that they were
_LOST_REMEMBERED = 4096


class Sequence:
    """One sequence.

    Attributes:
        id: the client's.
        queue: its requests that wait.
        computing: the one that is computed.
        desk: where it has a place; None while it waits for one.
        states: what the model left, by the name of its input.
        last_came: whether its last request is there.
        due: when it ends because no request came; see :class:`hubserve.net.deadline_monitor.Sweeper`.
    """

    def __init__(self, owner: "Sequences", number: int, name: int | str) -> None:
        self.id = name
        self.number = number
        self.queue: deque[QueuedRequest] = deque()
        self.computing: QueuedRequest | None = None
        self.desk: Desk | None = None
        self.states: States = {}
        self.last_came = False
        self.due = 0.0
        self._owner = owner

    def on_due(self) -> None:
        """No request came for long."""
        self._owner.on_idle(self)

    def computed(self, work: QueuedRequest, result: dict[str, Any], frame: Frame) -> None:
        """A request was computed."""
        self._owner.on_computed(self, work, result, frame)


class Desk:
    """An instance, and the sequences that have a place there."""

    def __init__(self, seat: InstanceHandle, places: int) -> None:
        self.seat = seat
        self.places: list[Sequence | None] = [None] * places
        self.timer: asyncio.TimerHandle | None = None

    @property
    def free(self) -> int:
        """How many places are free."""
        return self.places.count(None) if self.seat.is_alive else 0


class Sequences:
    """The waiting requests of a module with sequences, and the instances that compute them.

    Args:
        module: the served name, for messages.
        settings: of which the bound of what waits counts.
        plan: how they are put together.
        book: its limit is the most items in one call.

    Attributes:
        batched: whether the arrays that cross the wire have a batch dimension.
        fills_places: whether an instance that computes a request at one place is given something for the places before it, too.
    """

    def __init__(self, module: str, settings: BatchSettings, plan: SequencePlan, book: TimesBook) -> None:
        self.batched = True
        self.fills_places = plan.strategy == DIRECT
        self._module = module
        self._settings = settings
        self._plan = plan
        self._book = book
        self._desks: list[Desk] = []
        self._by_id: dict[int | str, Sequence] = {}
        self._without_place: deque[Sequence] = deque()
        self._lost: dict[int | str, str] = {}
        self._idle = Sweeper(min(0.1, plan.max_idle_s / 4))
        self._size = 0
        self._numbers = 0

    def __len__(self) -> int:
        return self._size

    @property
    def is_full(self) -> bool:
        """Whether new work would be refused."""
        return self._size >= self._settings.max_queue_size

    def check_room(self) -> None:
        """Raise Overloaded if too many requests wait."""
        if self.is_full:
            raise Overloaded(f"module '{self._module}' has {self._size} requests waiting, which is its limit; try again later")

    # --- requests come ---

    def put(self, work: QueuedRequest) -> None:
        """Queue a request behind those of its sequence, or hand it to its instance.

        Raises:
            InvalidInput: it says not which sequence it belongs to, or that has not begun, or it has several items.
            InstanceDied: its sequence was lost.
            Overloaded: too many wait.
        """
        self.check_room()
        part = self._check(work)
        sequence = self._find(part)
        self._numbers += 1
        work.number, work.queued_at, work.once, work.sequence = self._numbers, time.monotonic(), True, sequence
        sequence.queue.append(work)
        self._size += 1
        self._touch(sequence)
        if part.end:
            self._by_id.pop(part.id, None)
            sequence.last_came = True
        if sequence.desk is not None:
            self._dispatch(sequence.desk)

    def _check(self, work: QueuedRequest) -> SequencePart:
        part = work.part
        if part is None or not part.id:
            raise InvalidInput(f"inference request to model '{self._module}' must specify a non-zero or non-empty correlation ID")
        if self.batched and work.count != 1:
            raise InvalidInput(
                f"inference request to model '{self._module}' must specify batch-size 1 due to requirements of sequence batcher, "
                f"got {work.count}"
            )
        check_id(self._plan.controls, part)
        return part

    def _find(self, part: SequencePart) -> Sequence:
        sequence = self._by_id.get(part.id)
        if sequence is not None:
            return sequence
        if not part.start:
            if part.id in self._lost:
                raise InstanceDied(self._lost[part.id])
            raise InvalidInput(
                f"inference request for sequence {str(part.id)[:100]} to model '{self._module}' must specify the START flag "
                "on the first request of the sequence"
            )
        self._lost.pop(part.id, None)
        sequence = self._by_id[part.id] = Sequence(self, self._numbers, part.id)
        self._idle.add(sequence)
        self._without_place.append(sequence)
        self._give_places()
        return sequence

    def _touch(self, sequence: Sequence) -> None:
        sequence.due = time.monotonic() + self._plan.max_idle_s

    # --- places ---

    def _give_places(self) -> None:
        while self._without_place:
            desk = max(self._desks, key=lambda each: each.free, default=None)
            if desk is None or not desk.free:
                return
            sequence = self._without_place.popleft()
            sequence.desk = desk
            desk.places[desk.places.index(None)] = sequence
            self._touch(sequence)
            self._dispatch(desk)

    def on_idle(self, sequence: Sequence) -> None:
        """No request of a sequence came for long: it ends, unless there is one still."""
        self._drop_unwanted(sequence)
        if sequence.queue or sequence.computing:
            self._touch(sequence)
        else:
            self._end(sequence)
            self._give_places()

    def _end(self, sequence: Sequence) -> None:
        """A sequence needs its place no more; :meth:`_give_places` is to follow."""
        self._idle.discard(sequence)
        if self._by_id.get(sequence.id) is sequence:
            del self._by_id[sequence.id]
        if sequence.desk is None:
            if sequence in self._without_place:
                self._without_place.remove(sequence)
            return
        places, sequence.desk = sequence.desk.places, None
        places[places.index(sequence)] = None

    def _lose(self, sequence: Sequence, why: str) -> None:
        """What the model knew of a sequence is gone: whoever waits is told, and who goes on with it will be."""
        text = (
            f"sequence {str(sequence.id)[:100]} of model '{self._module}' was lost: {why}. "
            "What was computed before is gone; begin it again, with the START flag"
        )
        while sequence.queue:
            fail(self._pop(sequence), InstanceDied(text))
        if not sequence.last_came and self._by_id.get(sequence.id) is sequence:
            self._lost[sequence.id] = text
            if len(self._lost) > _LOST_REMEMBERED:
                del self._lost[next(iter(self._lost))]
        self._end(sequence)

    def _pop(self, sequence: Sequence) -> QueuedRequest:
        self._size -= 1
        return sequence.queue.popleft()

    def _drop_unwanted(self, sequence: Sequence) -> None:
        """Forget requests that nobody waits for any more, where they come next."""
        while sequence.queue and self._is_unwanted(sequence.queue[0]):
            work = self._pop(sequence)
            if work.part and work.part.start:
                self._lose(sequence, "its first request was given up before it was computed")
            elif work.part and work.part.end and not sequence.queue:
                self._end(sequence)

    def _is_unwanted(self, work: QueuedRequest) -> bool:
        if not work.answer.done() and work.deadline is not None and time.monotonic() >= work.deadline:
            message = f"Request timeout expired: module '{self._module}' was too busy to start on the request in time"
            work.answer.set_exception(DeadlineExceeded(message))
        return work.answer.done()

    # --- instances come, compute and go ---

    def add(self, seat: InstanceHandle) -> None:
        """An instance is ready."""
        places = min(self._plan.places or self._limit, self._limit) if self._plan.strategy == DIRECT else self._plan.places or self._limit
        self._desks.append(Desk(seat, places))
        self._give_places()

    def remove(self, seat: InstanceHandle) -> None:
        """An instance is gone, and with it what it knew of its sequences."""
        for desk in [each for each in self._desks if each.seat is seat]:
            self._desks.remove(desk)
            if desk.timer:
                desk.timer.cancel()
            self._lose_all(desk)
        self._give_places()

    def _lose_all(self, desk: Desk) -> None:
        for sequence in [each for each in desk.places if each]:
            self._lose(sequence, "the process that computed it has ended or was replaced, as the server's log says")

    def put_back(self, works: list[QueuedRequest]) -> None:
        """Take requests that were not answered.

        If their instance died, they cannot be computed by another one, which does not know what came before.
        """
        lost = []
        for work in works:
            sequence = work.sequence
            if sequence is None:  # a filler
                continue
            if sequence.desk is not None and sequence.desk.seat.is_alive:  # the module itself wants to have it again
                sequence.computing = None
                sequence.queue.appendleft(work)
                self._size += 1
                continue
            lost.append(work)
            fail(
                work,
                InstanceDied(
                    "the process ended that computed the request and knew its sequence; begin the sequence again, with the START flag"
                ),
            )
        for desk in {id(work.sequence.desk): work.sequence.desk for work in lost if work.sequence.desk}.values():
            self._lose_all(desk)
        self.dispatch()

    def fail_all(self, error: HubError) -> None:
        """Answer everything that waits with an error."""
        for sequence in {*self._without_place, *(each for desk in self._desks for each in desk.places if each)}:
            while sequence.queue:
                fail(self._pop(sequence), error)

    def on_computed(self, sequence: Sequence, work: QueuedRequest, result: dict[str, Any], frame: Frame) -> None:
        """A request was computed; it is not answered yet."""
        if result.get("later") is True and not work.answer.done():  # it is put back
            return
        if result.get("later") is False:  # the module answers when it likes
            work.answer.add_done_callback(partial(self._on_answered, sequence))
            return
        sequence.computing = None
        self._touch(sequence)
        if "error" not in result and self._plan.states:
            states = next_states(self._plan, result, frame)
            if states is None:
                self._lose(sequence, "the model did not give all outputs that are to be its next inputs; it must be mended")
                return
            sequence.states = states
        if sequence.last_came and not sequence.queue:
            self._end(sequence)

    def _on_answered(self, sequence: Sequence, _: Any) -> None:
        sequence.computing = None
        self._touch(sequence)
        if sequence.last_came and not sequence.queue:
            self._end(sequence)
        self._give_places()
        self.dispatch()

    def answered(self, seat: InstanceHandle) -> None:
        """A seat has answered a batch: call it after each."""
        seat.expected_s.popleft()
        self._give_places()
        self.dispatch()

    def dispatch(self) -> None:
        """Hand out what can be handed out."""
        for desk in self._desks:
            self._dispatch(desk)

    def _dispatch(self, desk: Desk) -> None:
        if desk.seat.in_flight or not desk.seat.is_open:
            return
        for sequence in list(desk.places):
            if sequence:
                self._drop_unwanted(sequence)
        if self._without_place and desk.free:
            self._give_places()
        ready = [each for each in desk.places if each and each.queue and not each.computing]
        if desk.seat.in_flight or not ready:
            return
        first = min(ready, key=lambda each: each.queue[0].number)
        wait_s = self._wait_s(desk, ready, first.queue[0].queued_at)
        if wait_s > 0:
            if desk.timer is None:
                desk.timer = asyncio.get_running_loop().call_later(wait_s, self._look_again, desk)
            return
        batch = self._take(desk, ready, first)
        desk.seat.expected_s.append(0.0)
        desk.seat.give(batch, [] if batch[0].key in (None, ONE_BY_ONE) else [sum(work.count for work in batch)])

    def _look_again(self, desk: Desk) -> None:
        desk.timer = None
        self._dispatch(desk)

    def _wait_s(self, desk: Desk, ready: list[Sequence], since: float) -> float:
        """How long to wait for requests of other sequences."""
        plan = self._plan
        if not plan.max_delay_s:
            return 0.0
        if plan.strategy == DIRECT:
            enough = len(ready) >= plan.min_utilization * len(desk.places)
        else:
            enough = len(ready) >= min(max(plan.preferred_sizes, default=self._limit), len(desk.places))
        return 0.0 if enough else since + plan.max_delay_s - time.monotonic()

    @property
    def _limit(self) -> int:
        return max(1, self._book.limit)

    def _take(self, desk: Desk, ready: list[Sequence], first: Sequence) -> list[QueuedRequest]:
        """The first requests of several sequences, that of ``first`` among them."""
        for sequence in ready:
            sequence.states = equip(sequence.queue[0], sequence.states, self._plan, self.batched)
        key = first.queue[0].key
        together = [first] if key is None else [each for each in ready if each.queue[0].key == key]
        if not self.fills_places:
            sizes = [size for size in self._plan.preferred_sizes if size <= len(together)]
            most = min(self._limit, max(sizes, default=self._limit))
            others = sorted((each for each in together if each is not first), key=lambda each: each.number)
            return [self._begin(each) for each in [first, *others][:most]]
        chosen, sample, places = set(together), first.queue[0], list(desk.places)
        while places[-1] not in chosen:
            places.pop()
        return [self._begin(each) if each in chosen else filler(sample, self._plan, self.batched) for each in places]

    def _begin(self, sequence: Sequence) -> QueuedRequest:
        sequence.computing = self._pop(sequence)
        return sequence.computing


def fail(work: QueuedRequest, error: HubError) -> None:
    """Answer a request with an error, unless it is answered already."""
    if not work.answer.done():
        work.answer.set_exception(error)


#: where a module's requests wait
Queue = Batcher | Sequences

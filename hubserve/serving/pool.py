"""The instances of one served module: each is given batches by the batcher, and is replaced when it dies."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

from hubserve.errors import HubError, InstanceDied, LoadFailed, from_wire
from hubserve.instance.wire import Frame, unpack_arrays
from hubserve.kinds.base import Description
from hubserve.serving.batcher import Batcher, Work
from hubserve.serving.process import InstanceProcess, InstanceSpec, NotComputed
from hubserve.types import InferResponse

log = logging.getLogger("hubserve")

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 30.0
#: the batch that is computed, and one sent ahead
_MAX_IN_FLIGHT = 2
#: What is sent ahead waits for what is computed, while another instance might become free: worth it only for quick modules, whose
#: time goes into the gaps between batches.
_QUICK_S = 0.01


class Slot:
    """A place for one instance, which outlives the instances in it.

    Attributes:
        instance: the one in it now; None while it is being replaced.
        seat: through which that instance is given its work.
        restarts: how many have been replaced.
        error: why the last one failed to load; "" when it loaded.
    """

    def __init__(self, spec: InstanceSpec) -> None:
        self.spec = spec
        self.instance: InstanceProcess | None = None
        self.seat: InstanceSeat | None = None
        self.restarts = 0
        self.error = ""


class Pool:
    """Keeps one instance for each of the given specifications.

    Args:
        specs: one for each instance, all of the same module version.
        batcher: where the work comes from.
    """

    def __init__(self, specs: Sequence[InstanceSpec], batcher: Batcher) -> None:
        self.slots = [Slot(spec) for spec in specs]
        self._batcher = batcher
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> Description:
        """Load every instance, then begin to serve.

        Returns:
            What the module answers.
        Raises:
            LoadFailed: an instance could not load; none is left running.
        """
        instances = [InstanceProcess(slot.spec) for slot in self.slots]
        loading = [asyncio.create_task(instance.start()) for instance in instances]
        try:
            await asyncio.gather(*loading)
        except BaseException:
            for task in loading:
                task.cancel()
            await asyncio.gather(*loading, return_exceptions=True)
            await asyncio.gather(*(instance.stop(grace_s=0) for instance in instances))
            raise
        description = instances[0].description
        self._batcher.max_batch_size = description.max_batch_size
        for slot, instance in zip(self.slots, instances, strict=True):
            slot.instance = instance
            self._tasks.append(asyncio.create_task(self._keep(slot)))
        return description

    async def stop(self, drain_s: float) -> None:
        """Wait up to ``drain_s`` for what is queued and being computed, then end every instance."""
        deadline = time.monotonic() + drain_s
        while (len(self._batcher) or self._in_flight()) and time.monotonic() < deadline:  # noqa: ASYNC110 - two counters to watch, once in a life
            await asyncio.sleep(0.01)
        self._batcher.fail_all(InstanceDied("the server is stopping"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(slot.instance.stop() for slot in self.slots if slot.instance))

    def _in_flight(self) -> int:
        return sum(slot.seat.in_flight for slot in self.slots if slot.seat)

    async def _keep(self, slot: Slot) -> None:
        """Serve from a slot for as long as the pool lives."""
        delay_s = _FIRST_DELAY_S
        while True:
            # what has answered is worth having back at once; what dies of its start, or of nothing, less and less
            if slot.instance is not None and await self._serve(slot, slot.instance):
                delay_s = _FIRST_DELAY_S
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, _LONGEST_DELAY_S)
            await self._replace(slot)

    async def _serve(self, slot: Slot, instance: InstanceProcess) -> bool:
        """Have an instance compute batches until it dies; gives whether it answered any."""
        slot.seat = InstanceSeat(instance, self._batcher)
        self._batcher.add(slot.seat)
        try:
            await instance.dead.wait()
        finally:
            self._batcher.remove(slot.seat)
            slot.seat.closed = True
        slot.instance = None
        slot.restarts += 1
        return slot.seat.has_answered

    async def _replace(self, slot: Slot) -> None:
        instance = InstanceProcess(slot.spec)
        try:
            await instance.start()
        except HubError as error:
            slot.error = error.message
            log.error("cannot replace an instance of '%s': %s", slot.spec.module, error.message)  # noqa: TRY400 - the message says it all
            if not any(each.instance for each in self.slots):
                self._batcher.fail_all(LoadFailed(f"module '{slot.spec.module}' has no running instance: {error.message}"))
            return
        slot.instance, slot.error = instance, ""
        log.info("replaced an instance of '%s' (pid %d)", slot.spec.module, instance.pid)


class InstanceSeat:
    """Gives batches to one instance, and each asker its answer.

    Attributes:
        in_flight: batches that it has been given and has not answered.
        has_answered: whether it has computed anything yet.
        closed: it is given no more, and what it had is not tried again.
    """

    def __init__(self, instance: InstanceProcess, batcher: Batcher) -> None:
        self.in_flight = 0
        self.has_answered = False
        self.closed = False
        self._usual_s = _QUICK_S
        self._given: deque[float] = deque()
        self._instance = instance
        self._batcher = batcher

    @property
    def is_open(self) -> bool:
        """Whether it may be given another batch: one when it is idle, and one ahead if it is quick."""
        if self._instance.is_dead:
            return False
        return not self.in_flight or (self.in_flight < _MAX_IN_FLIGHT and self._usual_s < _QUICK_S)

    def give(self, batch: list[Work]) -> None:
        """Send a batch to the instance; its askers are answered when the instance has."""
        calls: list[dict[str, Any]] = []
        buffers: list[Any] = []
        for work in batch:
            work.attempts += 1
            calls.append(_shifted(work.call, len(buffers)))
            buffers.extend(work.buffers)
        self.in_flight += 1
        self._given.append(time.monotonic())
        self._instance.infer(calls, buffers).add_done_callback(partial(self._answered, batch))

    def _answered(self, batch: list[Work], answer: "asyncio.Future[Frame]") -> None:
        self.in_flight -= 1
        took_s = time.monotonic() - self._given.popleft()
        # a rise counts at once, a fall bit by bit
        self._usual_s = max(took_s, 0.9 * self._usual_s + 0.1 * took_s)
        error = answer.exception()
        if error is None:
            self.has_answered = True
            frame = answer.result()
            for work, result in zip(batch, frame.header["results"], strict=True):
                _settle(work, result, frame)
        else:
            self._batcher.put_back([work for work in batch if not work.answer.done() and self._may_go_on(work, error)])
        self._batcher.dispatch()

    def _may_go_on(self, work: Work, error: BaseException) -> bool:
        """Whether work of an instance that died is tried again: then alone, so that only what ends instances is refused."""
        blameless = isinstance(error, NotComputed)  # it waited behind what the instance died of
        if self.closed or not (blameless or work.may_be_retried):
            work.answer.set_exception(error)
            return False
        if blameless:
            work.attempts -= 1
        else:
            work.alone = True
        return True


def _shifted(call: dict[str, Any], by: int) -> dict[str, Any]:
    """A call whose buffers begin at index ``by`` of the frame instead of 0."""
    if not by:
        return call
    shifted = dict(call)
    if "arguments" in call:
        shifted["arguments"] = call["arguments"] + by
    if "pictures" in call:
        shifted["pictures"] = [index + by for index in call["pictures"]]
    if "inputs" in call:
        shifted["inputs"] = [{**each, "buffer": each["buffer"] + by} for each in call["inputs"]]
    return shifted


def _settle(work: Work, result: dict[str, Any], frame: Frame) -> None:
    if work.answer.done():  # its asker has gone
        return
    if "error" in result:
        error = from_wire(result["error"])
        if error.detail:
            log.warning("a request failed in module code: %s", error.detail)
        work.answer.set_exception(error)
    elif "json" in result:
        work.answer.set_result(InferResponse(json=frame.buffers[result["json"]]))
    else:
        work.answer.set_result(InferResponse(tensors=unpack_arrays(result["outputs"], frame.buffers)))

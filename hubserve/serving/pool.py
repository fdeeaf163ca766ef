"""The instances of one served module: each pulls batches from the batcher, and is replaced when it dies."""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from hubserve.errors import HubError, InstanceDied, LoadFailed, from_wire
from hubserve.instance.wire import Frame, unpack_arrays
from hubserve.kinds.base import Description
from hubserve.serving.batcher import Batcher, Work
from hubserve.serving.process import InstanceProcess, InstanceSpec
from hubserve.types import InferResponse

log = logging.getLogger("hubserve")

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 30.0
#: an instance that lived this long did not die of its start
_HEALTHY_AFTER_S = 10.0


class Slot:
    """A place for one instance, which outlives the instances in it.

    Attributes:
        instance: the one in it now; None while it is being replaced.
        restarts: how many have been replaced.
        error: why the last one failed to load; "" when it loaded.
    """

    def __init__(self, spec: InstanceSpec) -> None:
        self.spec = spec
        self.instance: InstanceProcess | None = None
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
        self._busy = 0
        self._closing = False

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
        while (len(self._batcher) or self._busy) and time.monotonic() < deadline:  # noqa: ASYNC110 - two counters to watch, once in a life
            await asyncio.sleep(0.01)
        self._closing = True
        self._batcher.fail_all(InstanceDied("the server is stopping"))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(slot.instance.stop() for slot in self.slots if slot.instance))

    async def _keep(self, slot: Slot) -> None:
        """Serve from a slot for as long as the pool lives."""
        delay_s = _FIRST_DELAY_S
        while True:
            started = time.monotonic()
            if slot.instance is not None:
                try:
                    await self._serve(slot.instance)
                except InstanceDied:
                    slot.instance = None
                    slot.restarts += 1
            if time.monotonic() - started >= _HEALTHY_AFTER_S:
                delay_s = _FIRST_DELAY_S
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, _LONGEST_DELAY_S)
            await self._replace(slot)

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

    async def _serve(self, instance: InstanceProcess) -> None:
        while True:
            waiter = self._batcher.take()
            instance.on_death = lambda waiter=waiter: waiter.done() or waiter.set_exception(InstanceDied("it died while it was idle"))
            if instance.is_dead:
                instance.on_death()
            batch = await waiter
            self._busy += 1
            try:
                await self._compute(instance, batch)
            finally:
                self._busy -= 1

    async def _compute(self, instance: InstanceProcess, batch: list[Work]) -> None:
        calls: list[dict[str, Any]] = []
        buffers: list[Any] = []
        for work in batch:
            work.attempts += 1
            calls.append(_shifted(work.call, len(buffers)))
            buffers.extend(work.buffers)
        try:
            frame = await instance.infer(calls, buffers)
        except InstanceDied as error:
            self._after_death(batch, error)
            raise
        for work, result in zip(batch, frame.header["results"], strict=True):
            _settle(work, result, frame)

    def _after_death(self, batch: list[Work], error: InstanceDied) -> None:
        """Retry what may be retried, each alone, so that only the request that ends instances is refused."""
        again = []
        for work in batch:
            if work.answer.done():
                continue
            if self._closing or not work.may_be_retried:
                work.answer.set_exception(error)
            else:
                work.alone = True
                again.append(work)
        self._batcher.put_back(again)


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

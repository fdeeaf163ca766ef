"""The instances of one served module: each is given batches by the batcher, is watched, and is replaced when it dies or has to go."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from hubserve.errors import HubError, InstanceDied, LoadFailed
from hubserve.gateway.background import repeat, run_in_background
from hubserve.gateway.instances.concurrent_dispatcher import ConcurrentDispatcher
from hubserve.gateway.instances.dispatcher import InstanceDispatcher
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.gateway.instances.process import InstanceProcess
from hubserve.gateway.instances.remote_instance import create_instance
from hubserve.gateway.scheduling.batch_latency import TimesBook
from hubserve.gateway.scheduling.sequences import Queue
from hubserve.gateway.statistics import ModuleStatistics
from hubserve.kinds.base import Description
from hubserve.wire.model_access import ModelAccess

log = logging.getLogger("hubserve")

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 30.0
#: where descriptors or memory were lacking, which may be there again at any moment
_LONGEST_RESOURCE_DELAY_S = 2.0
_WATCH_EVERY_S = 1.0
#: an idle instance that has not been heard of for so long is asked
_PING_AFTER_S = 2.0
#: an instance this much over its bound is not given the time that its replacement takes to load
_FAR_OVER = 1.5
_MB = 1 << 20


class Slot:
    """A place for one instance, which outlives the instances in it.

    Attributes:
        instance: the one in it now; None while it is being replaced.
        seat: through which that instance is given its work.
        restarts: how many have been replaced.
        error: why the last one failed to load; "" when it loaded.
        unwanted: why the instance is to be replaced although it lives; "" for no reason.
        died_loading: whether the process of the last attempt to replace it ended while it loaded.
    """

    def __init__(self, spec: InstanceSpec) -> None:
        self.spec = spec
        self.instance: InstanceProcess | None = None
        self.seat: InstanceDispatcher | None = None
        self.restarts = 0
        self.error = ""
        self.unwanted = ""
        self.died_loading = False
        self._recycle = asyncio.Event()

    def recycle(self, why: str) -> None:
        """Have the instance replaced as soon as another one is loaded."""
        if not self.unwanted:
            self.unwanted = why
            self._recycle.set()

    async def until_unwanted(self) -> None:
        """Wait until the instance is to be replaced."""
        await self._recycle.wait()

    def put(self, instance: InstanceProcess) -> None:
        """Have an instance in this place from now on."""
        self.instance, self.error, self.unwanted, self.died_loading = instance, "", "", False
        self._recycle.clear()

    @property
    def serves(self) -> bool:
        """Return True if its instance lives and is given work."""
        return self.instance is not None and not self.instance.is_dead and not (self.seat and self.seat.retired)

    def status(self) -> dict[str, Any]:
        """For people and monitors to read."""
        instance = self.instance
        return {
            "pid": instance.pid if instance else None,
            "address": self.spec.address,
            "in_flight": self.seat.in_flight if self.seat and instance else 0,
            "memory_mb": round(instance.memory_bytes() / _MB, 1) if instance else 0,
            "silent_s": round(instance.silent_s, 1) if instance else None,
            "restarts": self.restarts,
            "error": self.error,
        }


class Pool:
    """Keeps one instance for each of the given specifications.

    Args:
        specs: one for each instance, all of the same module version.
        batcher: where the work comes from.
        book: how long batches take.
        statistics: what the module has done.
        models: returns the models that its module may use.
    """

    def __init__(
        self,
        specs: Sequence[InstanceSpec],
        batcher: Queue,
        book: TimesBook,
        statistics: ModuleStatistics,
        models: Callable[[], ModelAccess],
    ) -> None:
        self.slots = [Slot(spec) for spec in specs]
        self._batcher = batcher
        self._book = book
        self._statistics = statistics
        self._models = models
        self._tasks: list[asyncio.Task[None]] = []
        self._leaving: dict[asyncio.Task[None], InstanceDispatcher] = {}

    async def start(self, measure: Callable[[], bool]) -> tuple[Description, list[tuple[int, float]]]:
        """Load every instance; :meth:`serve` is to follow.

        Args:
            measure: tells whether the first instance is to find out how long batches take.
        Returns:
            What the module answers; items and seconds of the calls that warmed it up.
        Raises:
            LoadFailed: an instance could not load; none is left running.
        """
        instances = [create_instance(slot.spec, self._models) for slot in self.slots]
        loading = [asyncio.create_task(each.start(measure=not index and measure())) for index, each in enumerate(instances)]
        try:
            await asyncio.gather(*loading)
        except BaseException:
            for task, instance in zip(loading, instances, strict=True):
                task.cancel()
                instance.kill()  # at once: this may be cancelled a second time
            await asyncio.gather(*loading, return_exceptions=True)
            await asyncio.gather(*(instance.stop(grace_s=0) for instance in instances))
            raise
        for slot, instance in zip(self.slots, instances, strict=True):
            slot.put(instance)
        return instances[0].description, instances[0].times

    def serve(self) -> None:
        """Begin to compute what the batcher has."""
        self._tasks = [run_in_background(self._keep(slot), "an instance was kept running") for slot in self.slots]
        self._tasks.append(run_in_background(repeat(self._watch, _WATCH_EVERY_S, "instances were watched"), "instances were watched"))

    async def stop(self, drain_s: float) -> None:
        """Wait up to ``drain_s`` for what is queued and being computed, then end every instance."""
        deadline = time.monotonic() + drain_s
        while (len(self._batcher) or self._in_flight()) and time.monotonic() < deadline:  # noqa: ASYNC110 - two counters to watch, once in a life
            await asyncio.sleep(0.01)
        self._batcher.fail_all(InstanceDied("the server is stopping"))
        tasks = [*self._tasks, *self._leaving]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(slot.instance.stop() for slot in self.slots if slot.instance))

    def _in_flight(self) -> int:
        seats = [*(slot.seat for slot in self.slots if slot.seat), *self._leaving.values()]
        return sum(seat.unfinished for seat in seats)

    # --- replacing ---

    async def _keep(self, slot: Slot) -> None:
        """Serve from a slot for as long as the pool lives, whatever goes wrong."""
        delay_s = _FIRST_DELAY_S
        while True:
            try:
                # an instance that has answered is replaced at once; one that dies at its start, or for no reason, ever later
                if slot.instance is not None and await self._serve(slot, slot.instance):
                    delay_s = _FIRST_DELAY_S
                if slot.instance is not None:
                    continue
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, await self._replace(slot))
            except Exception as error:
                log.exception("an unexpected error while an instance of '%s' was kept running", slot.spec.module)
                slot.error = f"the server failed to keep it running ({type(error).__name__}); its log says why"
                if slot.instance is not None:
                    slot.instance.kill()
                    slot.instance = None
                await asyncio.sleep(_FIRST_DELAY_S)

    async def _serve(self, slot: Slot, instance: InstanceProcess) -> bool:
        """Have an instance compute batches until it dies or another one is in its place; gives whether it answered any."""
        out_of_memory = partial(self._lower_limit, slot)
        kind = ConcurrentDispatcher if instance.description.concurrent else InstanceDispatcher
        seat = slot.seat = kind(instance, self._batcher, self._book, self._statistics, out_of_memory)
        died = asyncio.create_task(instance.dead.wait())
        try:
            self._batcher.add(seat)
            while not died.done():
                unwanted = asyncio.create_task(slot.until_unwanted())
                try:
                    await asyncio.wait({died, unwanted}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    unwanted.cancel()
                if died.done():
                    break
                if await self._recycle(slot, instance, seat):
                    return seat.has_answered
                await asyncio.wait({died}, timeout=_LONGEST_DELAY_S)
                slot.put(instance)
        except asyncio.CancelledError:
            seat.closed = True
            raise
        finally:
            died.cancel()
            self._batcher.remove(seat)
        slot.instance = slot.seat = None
        slot.restarts += 1
        return seat.has_answered

    async def _replace(self, slot: Slot) -> float:
        """Load an instance into an empty slot; gives the longest time, in seconds, after which to try again if that failed."""
        instance = create_instance(slot.spec, self._models)
        try:
            await instance.start()
        except HubError as error:
            log.error("cannot replace an instance of '%s': %s", slot.spec.module, error.message)  # noqa: TRY400 - the message says it all
            if instance.died_loading and not slot.died_loading:  # one death while loading is not enough to refuse waiting requests
                slot.died_loading = True
                return _LONGEST_DELAY_S
            slot.error = error.message
            if instance.lacks_resources:
                return _LONGEST_RESOURCE_DELAY_S
            if not any(each.instance for each in self.slots):
                self._batcher.fail_all(LoadFailed(f"module '{slot.spec.module}' has no running instance: {error.message}"))
            return _LONGEST_DELAY_S
        slot.put(instance)
        log.info("replaced an instance of '%s' (%s)", slot.spec.module, instance.place)
        return _LONGEST_DELAY_S

    async def _recycle(self, slot: Slot, old: InstanceProcess, seat: InstanceDispatcher) -> bool:
        """Load an instance beside one that has to go, then let that finish its batches and end it.

        Returns:
            Whether another one is in the slot now; if it could not be loaded, the old one stays.
        """
        log.info("replacing an instance of '%s' (%s): %s", slot.spec.module, old.place, slot.unwanted)
        instance = create_instance(slot.spec, self._models)
        try:
            await instance.start()
        except HubError as error:
            log.error("cannot replace an instance of '%s': %s", slot.spec.module, error.message)  # noqa: TRY400 - as above
            seat.retired = False
            self._batcher.dispatch()
            return False
        seat.retired = True
        slot.put(instance)
        slot.seat = None
        slot.restarts += 1
        task = run_in_background(_finish(old, seat), "an instance finished its last requests")
        self._leaving[task] = seat
        task.add_done_callback(self._leaving.pop)
        return True

    def _lower_limit(self, slot: Slot, items: int) -> None:
        """An engine had no memory for so many items: fewer from now on, and a process whose memory is in one piece again."""
        limit = max(1, items // 2)
        if limit < self._book.limit:
            log.warning("module '%s' ran out of memory with %d items; at most %d from now on", slot.spec.module, items, limit)
            self._book.lower_limit(limit)
        slot.recycle("it ran out of memory")

    # --- watching ---

    async def _watch(self) -> None:
        """Look after every instance's memory, and ask those that are idle for a sign of life."""
        for slot in self.slots:
            if slot.instance is not None and not slot.instance.is_dead:
                slot.instance.check_frames()
                self._check_memory(slot, slot.instance)
                if slot.instance.is_idle and slot.instance.silent_s > _PING_AFTER_S:
                    slot.instance.ping()

    def _check_memory(self, slot: Slot, instance: InstanceProcess) -> None:
        bound_mb, memory_mb = slot.spec.max_memory_mb, instance.memory_bytes() / _MB
        if not bound_mb or memory_mb <= bound_mb:
            return
        slot.recycle(f"it takes {memory_mb:.0f} MB, and max_memory_mb is {bound_mb}")
        if memory_mb > _FAR_OVER * bound_mb and slot.seat:
            slot.seat.retired = True
            if instance.is_idle:
                instance.kill()


async def _finish(instance: InstanceProcess, seat: InstanceDispatcher) -> None:
    """Let an instance answer what it was given, and end it."""
    try:
        while seat.unfinished and not instance.dead.is_set():  # noqa: ASYNC110 - a counter to watch, once in a life
            await asyncio.sleep(0.01)
    finally:
        seat.closed = True
        await instance.stop()

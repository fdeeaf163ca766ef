"""The instances of one served module: load, watch and replace them."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from hubserve.errors import HubError, InstanceDied, LoadFailed
from hubserve.gateway.background import finish, repeat, run_in_background
from hubserve.gateway.instances.concurrent_dispatcher import ConcurrentDispatcher
from hubserve.gateway.instances.dispatcher import InstanceDispatcher
from hubserve.gateway.instances.first_load import FirstLoad
from hubserve.gateway.instances.instance import Instance
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.gateway.instances.published_metrics import ModuleMetrics
from hubserve.gateway.instances.remote_instance import create_instance
from hubserve.gateway.instances.slot import Slot
from hubserve.gateway.scheduling.latency_store import LatencyStore
from hubserve.gateway.scheduling.sequence_batcher import Queue
from hubserve.gateway.statistics import ModuleStatistics
from hubserve.kinds.description import Description
from hubserve.wire.model_access import ModelAccess

log = logging.getLogger("hubserve")

_FIRST_DELAY_S = 0.1
_LONGEST_DELAY_S = 30.0
#: after a lack of descriptors or memory, which may pass at any moment
_LONGEST_RESOURCE_DELAY_S = 2.0
_WATCH_EVERY_S = 1.0
#: an idle instance that has been silent for so long is pinged
_PING_AFTER_S = 2.0
#: an instance that exceeds its memory limit by this factor is ended before its replacement is loaded
_FAR_OVER = 1.5
_MB = 1 << 20


class Pool:
    """One running instance for each of the given specifications.

    Args:
        specs: one for each instance, all of the same module version.
        batcher: the module's queue.
        latencies: the learned batch latencies.
        statistics: of the module.
        models: returns the models that its module may use.

    Attributes:
        slots: of the instances.
        metrics: what the module publishes.
    """

    def __init__(
        self,
        specs: Sequence[InstanceSpec],
        batcher: Queue,
        latencies: LatencyStore,
        statistics: ModuleStatistics,
        models: Callable[[], ModelAccess],
    ) -> None:
        self.slots = [Slot(spec) for spec in specs]
        self.metrics = ModuleMetrics(specs[0].module if specs else "")
        self._batcher = batcher
        self._latencies = latencies
        self._statistics = statistics
        self._models = models
        self._tasks: list[asyncio.Task[None]] = []
        self._leaving: dict[asyncio.Task[None], InstanceDispatcher] = {}

    async def start(self, measure: Callable[[], bool]) -> tuple[Description, list[tuple[int, float]]]:
        """Load every instance, before :meth:`serve`.

        Args:
            measure: returns whether the first instance measures how long batches take.
        Returns:
            The module's description; items and seconds of the calls that warmed it up.
        Raises:
            LoadFailed: an instance could not load, also if it was tried once more after a crash; none is left running.
        """
        loads = [FirstLoad(slot.spec, self._models) for slot in self.slots]
        loading = [asyncio.create_task(each.run(measure=not index and measure())) for index, each in enumerate(loads)]
        try:
            await asyncio.gather(*loading)
        except BaseException:
            for task in loading:
                task.cancel()
            # a caller that is cancelled together with other loads is cancelled once more when the first of them has ended
            await finish(_end(loading, loads), "instances that were loading were ended")
            raise
        for slot, load in zip(self.slots, loads, strict=True):
            self._put(slot, load.instance)
        return loads[0].instance.description, loads[0].instance.times

    def serve(self) -> None:
        """Begin to compute queued batches."""
        self._tasks = [run_in_background(self._keep(slot), "an instance was kept running") for slot in self.slots]
        self._tasks.append(run_in_background(repeat(self._watch, _WATCH_EVERY_S, "instances were watched"), "instances were watched"))

    async def stop(self, drain_s: float) -> None:
        """Wait up to ``drain_s`` for the queued requests and those in flight, then end every instance."""
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
        dispatchers = [*(slot.dispatcher for slot in self.slots if slot.dispatcher), *self._leaving.values()]
        return sum(dispatcher.unfinished for dispatcher in dispatchers)

    # --- replacing ---

    async def _keep(self, slot: Slot) -> None:
        """Serve from a slot for as long as the pool lives, whatever fails."""
        delay_s = _FIRST_DELAY_S
        while True:
            try:
                # an instance that has answered is replaced at once; one that dies before is replaced after growing delays
                if slot.instance is not None and await self._serve(slot, slot.instance):
                    delay_s = _FIRST_DELAY_S
                if slot.instance is not None:
                    continue
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, await self._replace(slot))
            except Exception as error:
                log.exception(
                    "an unexpected error while an instance of '%s' was kept running", slot.spec.module, extra=slot.spec.log_fields()
                )
                slot.error = f"the server failed to keep it running ({type(error).__name__}); see the server log"
                if slot.instance is not None:
                    slot.instance.kill()
                    slot.instance = None
                await asyncio.sleep(_FIRST_DELAY_S)

    async def _serve(self, slot: Slot, instance: Instance) -> bool:
        """Give batches to an instance until it dies or is replaced; returns whether it answered any."""
        out_of_memory = partial(self._lower_limit, slot)
        kind = ConcurrentDispatcher if instance.description.concurrent else InstanceDispatcher
        dispatcher = slot.dispatcher = kind(instance, self._batcher, self._latencies, self._statistics, out_of_memory)
        died = asyncio.create_task(instance.dead.wait())
        try:
            self._batcher.add_instance(dispatcher)
            while not died.done():
                replace = asyncio.create_task(slot.until_replacement_requested())
                try:
                    await asyncio.wait({died, replace}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    replace.cancel()
                if died.done():
                    break
                if await self._replace_beside(slot, instance, dispatcher):
                    return dispatcher.has_answered
                await asyncio.wait({died}, timeout=_LONGEST_DELAY_S)
                slot.put(instance)
        except asyncio.CancelledError:
            dispatcher.closed = True
            raise
        finally:
            died.cancel()
            self._batcher.remove_instance(dispatcher)
        slot.instance = slot.dispatcher = None
        slot.count_restart(slot.replace_cause or instance.end_cause)  # one that is far over its memory limit is ended before
        return dispatcher.has_answered

    async def _replace(self, slot: Slot) -> float:
        """Load an instance into an empty slot; returns the longest delay, in seconds, before the next try."""
        instance = create_instance(slot.spec, self._models)
        try:
            await instance.start()
        except HubError as error:
            _log_failure(slot, error)
            if instance.died_loading and not slot.died_loading:  # one death while loading is not enough to refuse waiting requests
                slot.died_loading = True
                return _LONGEST_DELAY_S
            slot.error = error.message
            if instance.lacks_resources:
                return _LONGEST_RESOURCE_DELAY_S
            if not any(each.instance for each in self.slots):
                self._batcher.fail_all(LoadFailed(f"module '{slot.spec.module}' has no running instance: {error.message}"))
            return _LONGEST_DELAY_S
        self._put(slot, instance)
        log.info("replaced an instance of '%s' (%s)", slot.spec.module, instance.location, extra=slot.spec.log_fields())
        return _LONGEST_DELAY_S

    async def _replace_beside(self, slot: Slot, old: Instance, dispatcher: InstanceDispatcher) -> bool:
        """Load an instance beside the old one, then let the old one finish its batches and end it.

        Returns:
            False if the new one could not be loaded, so that the old one stays.
        """
        text, fields = "replacing an instance of '%s' (%s): %s", slot.spec.log_fields()
        log.info(text, slot.spec.module, old.location, slot.replace_reason, extra=fields)
        instance = create_instance(slot.spec, self._models)
        try:
            await instance.start()
        except HubError as error:
            _log_failure(slot, error)
            dispatcher.retired = False
            self._batcher.dispatch()
            return False
        dispatcher.retired = True
        slot.count_restart(slot.replace_cause)
        self._put(slot, instance)
        slot.dispatcher = None
        task = run_in_background(_finish(old, dispatcher), "an instance finished its last requests")
        self._leaving[task] = dispatcher
        task.add_done_callback(self._leaving.pop)
        return True

    def _put(self, slot: Slot, instance: Instance) -> None:
        """Put a loaded instance into a slot."""
        if instance.side_channel:
            self.metrics.add(instance.side_channel.metrics)
        slot.put(instance)

    def _lower_limit(self, slot: Slot, items: int) -> None:
        """Limit batches to fewer items after an engine ran out of memory, and replace the process, whose memory is fragmented."""
        limit = max(1, items // 2)
        if limit < self._latencies.limit:
            text = "module '%s' ran out of memory with %d items; at most %d from now on"
            log.warning(text, slot.spec.module, items, limit, extra=slot.spec.log_fields())
            self._latencies.lower_limit(limit)
        slot.request_replacement("it ran out of memory", "out_of_memory")

    # --- watching ---

    async def _watch(self) -> None:
        """Check every instance's memory and frames, and ping idle ones."""
        for slot in self.slots:
            if slot.instance is not None and not slot.instance.is_dead:
                slot.instance.check_frames()
                self._check_memory(slot, slot.instance)
                if slot.instance.is_idle and slot.instance.silent_s > _PING_AFTER_S:
                    slot.instance.ping()

    def _check_memory(self, slot: Slot, instance: Instance) -> None:
        limit_mb, memory_mb = slot.spec.max_memory_mb, instance.memory_bytes() / _MB
        if not limit_mb or memory_mb <= limit_mb:
            return
        slot.request_replacement(f"it takes {memory_mb:.0f} MB, and max_memory_mb is {limit_mb}", "memory_limit")
        if memory_mb > _FAR_OVER * limit_mb and slot.dispatcher:
            slot.dispatcher.retired = True
            if instance.is_idle:
                instance.kill()


async def _finish(instance: Instance, dispatcher: InstanceDispatcher) -> None:
    """Let an instance answer its batches, and end it."""
    try:
        while dispatcher.unfinished and not instance.dead.is_set():  # noqa: ASYNC110 - a counter to watch, once in a life
            await asyncio.sleep(0.01)
    finally:
        dispatcher.closed = True
        await instance.stop()


async def _end(loading: "list[asyncio.Task[None]]", loads: list[FirstLoad]) -> None:
    """End instances whose loading was cancelled."""
    for load in loads:
        load.instance.kill()
    await asyncio.gather(*loading, return_exceptions=True)
    await asyncio.gather(*(load.instance.stop(grace_s=0) for load in loads))


def _log_failure(slot: Slot, error: HubError) -> None:
    log.error("cannot replace an instance of '%s': %s", slot.spec.module, error.message, extra=slot.spec.log_fields())

"""One served version of one module: its life cycle from loading to the end of its instances."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from hubserve.engines.selection_cache import cpu_model
from hubserve.errors import HubError, LoadFailed, Unavailable
from hubserve.gateway.deadlock_detection import DeadlockDetector
from hubserve.gateway.first_responses import first_response_histogram
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.gateway.instances.pool import Pool
from hubserve.gateway.instances.raw_requests import RequestChannel
from hubserve.gateway.module_plan import ModulePlan
from hubserve.gateway.request_tracking import InUse
from hubserve.gateway.responder import Responder
from hubserve.gateway.scheduling.batch_key import batch_key
from hubserve.gateway.scheduling.batcher import Batcher
from hubserve.gateway.scheduling.iterative_batcher import IterativeSequenceBatcher
from hubserve.gateway.scheduling.latency_store import LatencyStore
from hubserve.gateway.scheduling.sequence_batcher import Queue, SequenceBatcher
from hubserve.gateway.statistics import ModuleStatistics
from hubserve.kinds.description import Description
from hubserve.paths import cache_dir
from hubserve.registry.version_dirs import DirectoryLock
from hubserve.telemetry.request_record import CURRENT
from hubserve.types import ANY, InferRequest, InferResponse, specs_to_json
from hubserve.wire.model_access import ModelAccess

_RETRY_AFTER_S = 5


class ServedModule:
    """One version of one module with its queue and its instances.

    Args:
        plan: how it is served.
        deadlocks: checks the requests that other modules make.
        models: returns the models that the module may use.

    Attributes:
        description: of the module; valid once it is loaded.
        load_error: why it could not be loaded; "" while it loads and if it is loaded.
        statistics: counts its requests.
        batcher: its queue.
        pool: its instances.
    """

    def __init__(self, plan: ModulePlan, deadlocks: DeadlockDetector, models: Callable[[], ModelAccess]) -> None:
        self.plan = plan
        self.description = Description(interfaces=())
        self.load_error = ""
        self._deadlocks = deadlocks
        self._use = InUse()
        self._holds: list[DirectoryLock] = []
        self._loading: asyncio.Task[tuple[Description, list[tuple[int, float]]]] | None = None
        self._stopped = False
        self._loaded = asyncio.Event()
        self._latencies = _open_latencies(plan)
        self._responder: Responder
        self.batcher: Queue = _create_queue(plan, self._latencies)
        self.statistics = ModuleStatistics(plan.latency_summaries)
        self.pool = Pool(_instance_specs(plan), self.batcher, self._latencies, self.statistics, models)

    @property
    def name(self) -> str:
        """The served name."""
        return self.plan.info.name

    # --- life cycle ---

    async def start(self) -> None:
        """Load the instances; if they cannot be loaded, :attr:`load_error` says why. :meth:`stop` ends it early."""
        try:
            if self.plan.error:
                raise LoadFailed(self.plan.error)
            self._hold_files()
            first_responses = first_response_histogram(self.name, self.plan.config)
            self.description, warm_up = await self._load()
        except HubError as error:
            self.load_error = error.message
        except asyncio.CancelledError:
            self.load_error = "the server stopped before it was loaded"
            raise
        else:
            self._prepare(warm_up)
            if self.description.decoupled:
                self.statistics.first_responses = first_responses
            self.pool.serve()
        finally:
            self._loaded.set()
            if self.load_error:
                self._release_files()

    def _hold_files(self) -> None:
        """Keep the files from being deleted while an instance may have to start from them again."""
        for folder in {spec.folder for spec in self.plan.instances if not spec.address and spec.folder.is_dir()}:
            self._holds.append(DirectoryLock(folder))
            if self._holds[-1].lost:
                raise LoadFailed(f"'{folder}' was removed before it could be loaded. Load the module again: hub serving reload")

    def _release_files(self) -> None:
        while self._holds:
            self._holds.pop().release()

    async def _load(self) -> tuple[Description, list[tuple[int, float]]]:
        if not self._stopped:
            self._loading = asyncio.create_task(self.pool.start(measure=self._is_worth_measuring))
            try:
                loaded = await self._loading
                if not self._stopped:
                    return loaded
            except asyncio.CancelledError:
                if not self._stopped:
                    raise
        raise LoadFailed("it was unloaded or replaced before it was loaded; 'hub serving status' shows what is served now")

    def _prepare(self, warm_up: list[tuple[int, float]]) -> None:
        """Set up the queue and the responder for the module as its description has it.

        Args:
            warm_up: items and seconds of the calls that warmed it up.
        """
        self._latencies.limit = self.description.max_batch_size
        merges = self.plan.batching.merge
        if not merges and "dynamic_batching" in (self.description.config or {}):  # the model itself asks for it
            merges = True  # the plan stays as it was, to be compared with others
            if isinstance(self.batcher, Batcher):
                self.batcher.allow_merging()
        self._hide_control_inputs()
        self._latencies.load()
        self._learn(warm_up)
        self._responder = Responder(self, self.plan, self.description, merges, self.batcher, self.statistics, self._deadlocks)

    def _hide_control_inputs(self) -> None:
        """Hide from clients the inputs that the gateway gives to a module with sequences."""
        if self.plan.sequences and isinstance(self.batcher, SequenceBatcher):
            hidden = {spec.name for spec in self.plan.sequences.inputs}
            self.description = self.description._replace(inputs=[spec for spec in self.description.inputs if spec.name not in hidden])
            self.batcher.batched = self.description.batched or not self.description.raw_requests
            self.batcher.pads_slots &= not self.description.raw_requests

    def _is_worth_measuring(self) -> bool:
        return self.plan.info.batches and not self._latencies.is_saved()

    def _learn(self, warm_up: list[tuple[int, float]]) -> None:
        shapes = self.description.item_shapes()
        if not shapes or any(ANY in shape for _, shape in shapes.values()):
            return
        form = batch_key({"name": name, "dtype": dtype, "shape": [1, *shape]} for name, (dtype, shape) in shapes.items())
        for items, seconds in warm_up:
            self._latencies.of(form).adopt(items, seconds)

    async def loaded(self) -> None:
        """Wait until it is loaded.

        Raises:
            LoadFailed: it could not be loaded.
        """
        await self._loaded.wait()
        if self.load_error:
            raise LoadFailed(self.load_error)

    @property
    def is_loaded(self) -> bool:
        """True if it has been loaded."""
        return self._loaded.is_set() and not self.load_error

    @property
    def was_stopped_loading(self) -> bool:
        """True if it was stopped before it was loaded."""
        return self._stopped and bool(self.load_error)

    async def stop(self, drain_s: float) -> None:
        """Finish the requests that use it, for at most ``drain_s``, and end its instances; all of their memory is given back.

        Loading is cancelled at once.
        """
        deadline = time.monotonic() + drain_s
        self._stopped = True
        if self._loading and not self._loading.done():
            self._loading.cancel()
            await asyncio.wait({self._loading})
        while self._use.count and time.monotonic() < deadline:  # noqa: ASYNC110 - a counter to watch, once in a life
            await asyncio.sleep(0.01)
        await self.pool.stop(max(0.0, deadline - time.monotonic()))
        self._release_files()
        self.save_latencies()

    def save_latencies(self) -> None:
        """Save the learned batch latencies for the next start."""
        self._latencies.save()

    # --- requests ---

    def admit(self) -> InUse:
        """Admit a request before any of the work for it; returns a ``with`` block in which the module is not ended.

        Raises:
            Unavailable: it has no instance, and none is about to run.
            Overloaded: too many requests wait.
        """
        record = CURRENT.get()
        if record is not None:
            record.concerns(self.plan.info.name, self.plan.info.version)
        try:
            self.check_room()
        except HubError as error:
            self.statistics.add_failure(error)
            raise
        return self._use

    def check_room(self) -> None:
        """Raise the errors of :meth:`admit`."""
        for slot in self.pool.slots:
            if slot.instance or not slot.error:
                self.batcher.check_room()
                return
        raise Unavailable(f"module '{self.name}' has no running instance: {self.not_ready_reason}", retry_after_s=_RETRY_AFTER_S)

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer one admitted request.

        Raises:
            LoadFailed: the module could not be loaded.
            InvalidInput: the module cannot take this.
            Overloaded: too many requests wait.
            ModuleFailed: its code raised.
            InstanceDied: the request ended two processes.
            DeadlineExceeded: the deadline passed.
        """
        if not self._loaded.is_set() or self.load_error:
            await self.loaded()
        return await self._responder.infer(request)

    async def stream(self, request: InferRequest) -> AsyncIterator[InferResponse]:
        """Answer one admitted request by as many responses as the module gives; one that is not decoupled gives exactly one.

        Raises:
            HubError: as :meth:`infer`; also after some responses.
        """
        await self.loaded()
        if not self.description.decoupled:
            yield await self.infer(request)
            return
        async with aclosing(cast("AsyncGenerator[InferResponse]", self._responder.stream(request))) as responses:
            async for response in responses:
                yield response

    def channels(self) -> Sequence[RequestChannel | None]:
        """Return the side channel of each running instance; None for an instance without one."""
        return [slot.instance.side_channel for slot in self.pool.slots if slot.instance]

    # --- state ---

    @property
    def requests(self) -> int:
        """Number of its requests."""
        return self.statistics.requests

    @property
    def failures(self) -> int:
        """Number of its failed requests."""
        return self.statistics.failures

    @property
    def ready(self) -> bool:
        """True if an instance answered within ``ready_timeout_s``."""
        return any(slot.serves and slot.instance and slot.instance.silent_s < self.plan.ready_timeout_s for slot in self.pool.slots)

    @property
    def not_ready_reason(self) -> str:
        """Reason why no instance answers; "" while one does."""
        if self.ready:
            return ""
        if not self._loaded.is_set():
            return "it is being loaded"
        running = [slot.instance for slot in self.pool.slots if slot.serves and slot.instance]
        if running:
            return f"none of its {len(running)} running instances has answered for {min(each.silent_s for each in running):.0f} s"
        return self.load_error or "; ".join(dict.fromkeys(slot.error for slot in self.pool.slots if slot.error)) or "it is being restarted"

    def status(self) -> dict[str, Any]:
        """Return its state as a JSON object, for people and monitors."""
        described = self.description
        return {
            "name": self.plan.info.name,
            "version": self.plan.info.version,
            "kind": self.plan.info.kind,
            "ready": self.ready,
            "reason": self.not_ready_reason,
            "faces": list(described.interfaces),
            "inputs": specs_to_json(described.inputs),
            "json_array": described.json_array and list(described.json_array),
            "picture_item": described.picture_item and described.picture_item.to_json(),
            "engine": described.engine,
            "max_batch_size": min(described.max_batch_size, self._latencies.limit),
            "batch_times": self._latencies.to_json(),
            "queue": len(self.batcher),
            "requests": self.requests,
            "failures": self.failures,
            "restarts": sum(slot.restarts for slot in self.pool.slots),
            "threads": self.plan.instances[0].threads if self.plan.instances else 0,
            "instances": [slot.status() for slot in self.pool.slots],
        }


def _create_queue(plan: ModulePlan, latencies: LatencyStore) -> Queue:
    name, settings = plan.info.name, plan.batching
    if plan.sequences:
        return (IterativeSequenceBatcher if plan.sequences.iterative else SequenceBatcher)(name, settings, plan.sequences, latencies)
    return Batcher(name, settings, latencies, schedule=lambda dispatch: asyncio.get_running_loop().call_soon(dispatch))


def _instance_specs(plan: ModulePlan) -> list[InstanceSpec]:
    if plan.sequences is None:
        return plan.instances
    # a call outside of any sequence does not warm a model up, unless its configuration asks for it
    return [replace(spec, extra_inputs=plan.sequences.inputs, warm_up=spec.warm_up or []) for spec in plan.instances]


def _open_latencies(plan: ModulePlan) -> LatencyStore:
    first = plan.instances[0] if plan.instances else InstanceSpec(plan.info.name, plan.info.kind, Path(), "")
    about = f"{first.init_args} {first.defaults} {first.max_batch_size} {first.threads} {len(plan.instances)} {cpu_model()}"
    name = quote(f"{plan.info.name}-{plan.info.version}", safe="")  # a folder that is served without installing may have any name
    return LatencyStore(cache_dir() / "batching" / f"{name}.json", about)

"""One version of one module that is served: its queue, its instances, and what is known of it."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from hubserve.bounded_cache import Recent
from hubserve.engines.selection_cache import cpu_model
from hubserve.errors import HubError, InvalidInput, LoadFailed, Unavailable, UnsupportedFace, usage_sentence
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.gateway.instances.pool import Pool
from hubserve.gateway.instances.raw_requests import Admitted, RawRequest, ResponseStream, admit_tensors, work_of_whole
from hubserve.gateway.inter_model_calls import ModelCalls, current_depth
from hubserve.gateway.module_plan import ModulePlan
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.gateway.request_tracking import Counted, InUse
from hubserve.gateway.response_cache import ResponseCache, find_key
from hubserve.gateway.response_ordering import Turns
from hubserve.gateway.scheduling.batch_key import ONE_BY_ONE, batch_key
from hubserve.gateway.scheduling.batcher import Batcher
from hubserve.gateway.scheduling.iterative_batcher import IterativeSequenceBatcher
from hubserve.gateway.scheduling.latency_store import LatencyStore
from hubserve.gateway.scheduling.sequence_batcher import Queue, SequenceBatcher
from hubserve.gateway.statistics import ModuleStatistics
from hubserve.kinds.base import Description, Face
from hubserve.net.deadline_monitor import DeadlineMonitor
from hubserve.paths import cache_dir
from hubserve.registry.version_dirs import Hold
from hubserve.types import ANY, InferRequest, InferResponse, check_arrays, check_inputs, specs_to_json
from hubserve.wire.frames import pack_arrays

#: one request may not hold more pictures than this
MAX_PICTURES = 1024
_RETRY_AFTER_S = 5
_DEADLINES_EVERY_S = 0.05
_LAYOUTS_REMEMBERED = 256


class ServedModule:
    """One version of one module with its queue and its instances.

    Attributes:
        description: what it answers; of no use before it is loaded.
        load_error: why it could not be loaded; "" while it loads and afterwards.
        statistics: what it has done.
    """

    def __init__(self, plan: ModulePlan, calls: ModelCalls) -> None:
        self.plan = plan
        self._calls = calls
        self.description = Description(faces=())
        self.load_error = ""
        self.requests = 0
        self.failures = 0
        self._admitted: Recent[Hashable | None, Admitted] = Recent(_LAYOUTS_REMEMBERED)
        self._states = [state.output_name for state in plan.sequences.states] if plan.sequences else []
        self._cache = ResponseCache(plan.response_cache_bytes) if plan.response_cache_bytes else None
        self._merges = plan.batching.merge
        self._use = InUse()
        self._holds: list[Hold] = []
        self._turns = Turns() if plan.batching.preserve_ordering else None
        self._deadlines = DeadlineMonitor(_DEADLINES_EVERY_S)
        self._loading: asyncio.Task[tuple[Description, list[tuple[int, float]]]] | None = None
        self._stopped = False
        self._loaded = asyncio.Event()
        self._book = _open_book(plan)
        self.batcher: Queue = _queue(plan, self._book)
        self.statistics = ModuleStatistics()
        self.pool = Pool(_instances(plan), self.batcher, self._book, self.statistics, calls)

    async def start(self) -> None:
        """Load its instances; if they cannot be loaded, :attr:`load_error` says why. :meth:`stop` ends it early."""
        self._loop = asyncio.get_running_loop()
        try:
            if self.plan.error:
                raise LoadFailed(self.plan.error)
            self._hold_files()
            self.description, warm_up = await self._load()
        except HubError as error:
            self.load_error = error.message
        except asyncio.CancelledError:
            self.load_error = "the server stopped before it was loaded"
            raise
        else:
            self._book.limit = self.description.max_batch_size
            if not self.plan.batching.merge and "dynamic_batching" in (self.description.config or {}):  # the model itself says so
                self._allow_merging()
            self._hide_inputs()
            self._book.load()
            self._learn(warm_up)
            self.pool.serve()
        finally:
            self._loaded.set()
            if self.load_error:
                self._let_files_go()

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
        raise LoadFailed("it was unloaded or replaced before it was loaded; 'hub serving status' tells what is served now")

    def _hide_inputs(self) -> None:
        """What the gateway itself gives to the module is no matter of the clients."""
        if self.plan.sequences and isinstance(self.batcher, SequenceBatcher):
            hidden = {spec.name for spec in self.plan.sequences.inputs}
            self.description = self.description._replace(inputs=[spec for spec in self.description.inputs if spec.name not in hidden])
            self.batcher.batched = self.description.batched or not self.description.whole_requests
            self.batcher.pads_slots &= not self.description.whole_requests

    def _hold_files(self) -> None:
        """Keep the files from being deleted while an instance may have to start from them again."""
        for folder in {spec.folder for spec in self.plan.instances if not spec.address and spec.folder.is_dir()}:
            self._holds.append(Hold(folder))
            if self._holds[-1].lost:
                raise LoadFailed(f"'{folder}' was removed while it was to be loaded. Load the module again: hub serving reload")

    def _allow_merging(self) -> None:
        self._merges = True  # the plan stays what it was, to be told from another one
        if isinstance(self.batcher, Batcher):
            self.batcher.allow_merging()

    def _let_files_go(self) -> None:
        while self._holds:
            self._holds.pop().release()

    def _is_worth_measuring(self) -> bool:
        return self.plan.info.batches and not self._book.is_saved()

    def _learn(self, warm_up: list[tuple[int, float]]) -> None:
        shapes = self.description.item_shapes()
        if not shapes or any(ANY in shape for _, shape in shapes.values()):
            return
        form = batch_key({"name": name, "dtype": dtype, "shape": [1, *shape]} for name, (dtype, shape) in shapes.items())
        for items, seconds in warm_up:
            self._book.of(form).adopt(items, seconds)

    async def loaded(self) -> None:
        """Wait until it is loaded.

        Raises:
            LoadFailed: it could not be.
        """
        await self._loaded.wait()
        if self.load_error:
            raise LoadFailed(self.load_error)

    @property
    def was_given_up(self) -> bool:
        """Return True if it was stopped before it was loaded."""
        return self._stopped and bool(self.load_error)

    @property
    def is_loaded(self) -> bool:
        """Whether it has been loaded."""
        return self._loaded.is_set() and not self.load_error

    def in_use(self) -> InUse:
        """A ``with`` block around the reading and answering of a request: the module is not ended under it."""
        return self._use

    async def stop(self, drain_s: float) -> None:
        """Finish the requests that use it, for at most ``drain_s``, and end its instances; all of their memory is given back.

        One that still loads is given up at once.
        """
        deadline = time.monotonic() + drain_s
        self._stopped = True
        if self._loading and not self._loading.done():
            self._loading.cancel()
            await asyncio.wait({self._loading})
        while self._use.count and time.monotonic() < deadline:  # noqa: ASYNC110 - a counter to watch, once in a life
            await asyncio.sleep(0.01)
        await self.pool.stop(max(0.0, deadline - time.monotonic()))
        self._let_files_go()
        self.save_times()

    def save_times(self) -> None:
        """Keep what was learned about batches for the next start."""
        self._book.save()

    @property
    def ready(self) -> bool:
        """Whether an instance answered lately."""
        return any(slot.serves and slot.instance and slot.instance.silent_s < self.plan.ready_timeout_s for slot in self.pool.slots)

    @property
    def not_ready_reason(self) -> str:
        """Why no instance answers; "" while one does."""
        if self.ready:
            return ""
        if not self._loaded.is_set():
            return "it is being loaded"
        running = [slot.instance for slot in self.pool.slots if slot.serves and slot.instance]
        if running:
            return f"none of its {len(running)} running instances has answered for {min(each.silent_s for each in running):.0f} s"
        return self.load_error or "; ".join(dict.fromkeys(slot.error for slot in self.pool.slots if slot.error)) or "it is being restarted"

    def check_room(self) -> None:
        """Refuse a request before the work of decoding it.

        Raises:
            Unavailable: it has no instance, and none is about to run.
            Overloaded: too many wait.
        """
        for slot in self.pool.slots:
            if slot.instance or not slot.error:
                self.batcher.check_room()
                return
        reason = self.not_ready_reason
        raise Unavailable(f"module '{self.plan.info.name}' has no running instance: {reason}", retry_after_s=_RETRY_AFTER_S)

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer one request.

        Raises:
            LoadFailed: the module could not be loaded.
            InvalidInput: the module cannot take this.
            Unavailable: see :meth:`check_room`.
            ModuleFailed: its code raised.
            InstanceDied: the request ended two processes.
            DeadlineExceeded: the deadline passed.
        """
        if not self._loaded.is_set() or self.load_error:
            await self.loaded()
        if self.description.decoupled:
            raise InvalidInput(f"model '{self.plan.info.name}' is decoupled: it may give any number of responses. Ask it by a stream")
        if self._cache is not None and request.sequence is None:
            return await self._infer_cached(self._cache, request)
        return await self._infer(request)

    async def _infer_cached(self, cache: ResponseCache, request: InferRequest) -> InferResponse:
        """Answer by what was computed before, or compute it now."""
        began = time.monotonic()
        key = await find_key(request)
        found = cache.get(key)
        looked_s = time.monotonic() - began
        if found is None:
            answer = await self._infer(request)
            began = time.monotonic()
            cache.put(key, answer)
            self.statistics.cache_miss.add(looked_s + time.monotonic() - began)
            return answer
        self.requests += 1
        if self._turns is not None:
            await self._turns.wait(asyncio.sleep(0))
        self.statistics.found(looked_s, time.monotonic() - began)
        return found

    async def _infer(self, request: InferRequest) -> InferResponse:
        self.check_room()
        if self._states and request.outputs is not None:
            request.outputs = [*request.outputs, *(name for name in self._states if name not in request.outputs)]
        work = self._admit(request, asyncio.Future(loop=self._loop))
        with self._counted(work, request):
            self._queue(work)
            answer = await (work.answer if self._turns is None else self._turns.wait(work.answer))
        return self._unwrapped(self._without_states(answer))

    async def stream(self, request: InferRequest) -> AsyncIterator[InferResponse]:
        """Answer one request by as many responses as the module gives; one that is not decoupled gives exactly one.

        Raises:
            HubError: as :meth:`infer`; also after some responses.
        """
        await self.loaded()
        if not self.description.decoupled:
            yield await self.infer(request)
            return
        self.check_room()
        stream = ResponseStream()
        work = self._admit(request, asyncio.Future(loop=self._loop), stream)
        with self._counted(work, request):
            self._queue(work)
            try:
                async for response in self.statistics.streamed(stream.responses(work.answer)):
                    yield response
            finally:
                work.answer.cancel()

    def _counted(self, work: QueuedRequest, request: InferRequest) -> Counted:
        """A ``with`` block around the queueing and answering of admitted work."""
        work.part = request.sequence
        work.priority = self.plan.batching.policies.level_of(request.priority)
        if request.parameters:
            work.asked_wait_s = _asked_wait_s(request.parameters)
        work.due = work.deadline or 0.0
        work.marks = request.marks
        return Counted(self, work, self._calls, self._deadlines)

    def _queue(self, work: QueuedRequest) -> None:
        self.batcher.put(work)
        if work.due:  # the queue may have set it
            self._deadlines.add(work)

    def _unwrapped(self, answer: InferResponse) -> InferResponse:
        """The answer without the dimension of items that :meth:`_admit` put in front."""
        if answer.tensors is None or self.description.batched or self.description.whole_requests:
            return answer
        return answer._replace(tensors={name: array[0] for name, array in answer.tensors.items()})

    def _without_states(self, answer: InferResponse) -> InferResponse:
        """What a sequence's next request is given is no answer, unless the module declares it as one."""
        if not self._states or answer.tensors is None:
            return answer
        declared = {spec.name for spec in self.description.outputs}
        kept = {name: array for name, array in answer.tensors.items() if name in declared or name not in self._states}
        return answer._replace(tensors=kept)

    def _admit(self, request: InferRequest, answer: "asyncio.Future[InferResponse]", stream: ResponseStream | None = None) -> QueuedRequest:
        """Check a request against what the module takes, and make it work for the batcher."""
        described = self.description
        wants = Face.JSON if request.wants_json else Face.TENSORS
        buffers: list[Any] = []
        if request.tensors is not None:
            self._require(Face.TENSORS)
            admitted = self._admit_tensors(request.tensors, buffers, request.layout)
            if described.whole_requests:
                return work_of_whole(request, admitted, buffers, answer, RawRequest(stream, current_depth()))
            call: dict[str, Any] = {"face": Face.TENSORS, "inputs": admitted.inputs, "answer": wants}
            return QueuedRequest(call, buffers, admitted.items, admitted.key, answer, request.deadline, request.priority)
        if request.pictures is not None:
            self._require(Face.PICTURE)
            item, count = described.picture_item, len(request.pictures)
            if not 0 < count <= MAX_PICTURES:
                raise InvalidInput(f"a request must hold 1 to {MAX_PICTURES} pictures, got {count}")
            call = {"face": Face.PICTURE, "pictures": list(range(count)), "answer": wants}
            if item is None:  # no items of a batch
                given = request.arguments or json.dumps(self.plan.predict_args, ensure_ascii=False).encode("utf-8", "surrogatepass")
                buffers = [*request.pictures, given]
                return QueuedRequest({**call, "arguments": count}, buffers, 1, ONE_BY_ONE, answer, request.deadline, request.priority)
            # a picture may be merged with arrays of the form that it will have once it is preprocessed
            form = ((item.name, item.dtype, *item.shape),)
            return QueuedRequest(call, list(request.pictures), count, form, answer, request.deadline, request.priority)
        self._require(Face.JSON)
        return QueuedRequest(
            {"face": Face.JSON, "arguments": 0}, [request.arguments or b"{}"], 1, ONE_BY_ONE, answer, request.deadline, request.priority
        )

    def _admit_tensors(self, tensors: dict[str, np.ndarray], buffers: list[Any], layout: Hashable | None) -> Admitted:
        """Check arrays, and append their bytes to ``buffers``. Those of a layout that came before are known to be in order."""
        known = self._admitted.get(layout)
        if known is not None:
            buffers.extend(map(np.ascontiguousarray, tensors.values()))
            return known
        described = self.description
        if described.whole_requests:
            merges = self._merges or self.plan.sequences is not None
            admitted = admit_tensors(self.plan.info.name, described, merges, tensors, buffers)
        else:
            if described.batched:
                count = check_inputs(described.inputs, tensors)
            else:
                check_arrays(described.inputs, tensors)
                count, tensors = 1, {name: array[None] for name, array in tensors.items()}
            inputs = pack_arrays(tensors, buffers)
            admitted = Admitted(count, batch_key(inputs), inputs)
        if layout is not None and all(isinstance(each, np.ndarray) for each in buffers):
            self._admitted[layout] = admitted
        return admitted

    def _require(self, face: str) -> None:
        if face not in self.description.faces:
            raise self.unsupported(face)

    def unsupported(self, face: str) -> UnsupportedFace:
        """The error for a face that the module does not have."""
        described = self.description
        takes = f"it takes {', '.join(described.faces) or 'none'}"
        return UnsupportedFace(f"module '{self.plan.info.name}' does not take {face} requests; {takes}{usage_sentence(described.usage)}")

    def status(self) -> dict[str, Any]:
        """For people and monitors to read."""
        described = self.description
        return {
            "name": self.plan.info.name,
            "version": self.plan.info.version,
            "kind": self.plan.info.kind,
            "ready": self.ready,
            "reason": self.not_ready_reason,
            "faces": list(described.faces),
            "inputs": specs_to_json(described.inputs),
            "json_array": described.json_array and list(described.json_array),
            "picture_item": described.picture_item and described.picture_item.to_json(),
            "engine": described.engine,
            "max_batch_size": min(described.max_batch_size, self._book.limit),
            "batch_times": self._book.to_json(),
            "queue": len(self.batcher),
            "requests": self.requests,
            "failures": self.failures,
            "restarts": sum(slot.restarts for slot in self.pool.slots),
            "threads": self.plan.instances[0].threads if self.plan.instances else 0,
            "instances": [slot.status() for slot in self.pool.slots],
        }


def _asked_wait_s(parameters: dict[str, Any]) -> float:
    """How long a request asks to wait at most; 0 for nothing."""
    asked = parameters.get("timeout")
    return asked / 1e6 if isinstance(asked, int) and asked > 0 else 0.0


def _queue(plan: ModulePlan, book: LatencyStore) -> Queue:
    name, settings = plan.info.name, plan.batching
    if plan.sequences:
        return (IterativeSequenceBatcher if plan.sequences.iterative else SequenceBatcher)(name, settings, plan.sequences, book)
    return Batcher(name, settings, book, schedule=lambda dispatch: asyncio.get_running_loop().call_soon(dispatch))


def _instances(plan: ModulePlan) -> list[InstanceSpec]:
    if plan.sequences is None:
        return plan.instances
    # a call out of any sequence is no way to warm up, unless somebody asks for it
    return [replace(spec, extra_inputs=plan.sequences.inputs, warm_up=spec.warm_up or []) for spec in plan.instances]


def _open_book(plan: ModulePlan) -> LatencyStore:
    first = plan.instances[0] if plan.instances else InstanceSpec(plan.info.name, plan.info.kind, Path(), "")
    about = f"{first.init_args} {first.defaults} {first.max_batch_size} {first.threads} {len(plan.instances)} {cpu_model()}"
    name = quote(f"{plan.info.name}-{plan.info.version}", safe="")  # a folder that is served without installing may be called anything
    return LatencyStore(cache_dir() / "batching" / f"{name}.json", about)

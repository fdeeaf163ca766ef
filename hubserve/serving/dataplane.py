"""The served modules by name: admits a request, queues it, and gives back its answer.

Every protocol speaks to this and to nothing below it.
"""

import asyncio
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from hubserve.errors import DeadlineExceeded, HubError, InvalidInput, LoadFailed, ModuleNotFound, Unavailable, UnsupportedFace
from hubserve.instance.wire import pack_arrays
from hubserve.kinds.base import Description, Face, ModuleInfo
from hubserve.serving.batcher import Batcher, Work
from hubserve.serving.pool import Pool
from hubserve.serving.process import InstanceSpec
from hubserve.types import InferRequest, InferResponse, check_inputs

#: one request may not hold more pictures than this
MAX_PICTURES = 1024


@dataclass(frozen=True)
class ModulePlan:
    """One module that is to be served.

    Attributes:
        info: its metadata.
        instances: one specification for each instance.
        predict_args: arguments that a JSON request may override.
        max_queue_size: how many requests may wait.
    """

    info: ModuleInfo
    instances: list[InstanceSpec]
    predict_args: dict[str, Any] = field(default_factory=dict)
    max_queue_size: int = 1024


class ServedModule:
    """One version of one module with its queue and its instances.

    Attributes:
        description: what it answers; of no use before it is loaded.
        load_error: why it could not be loaded; "" while it loads and afterwards.
    """

    def __init__(self, plan: ModulePlan) -> None:
        self.plan = plan
        self.description = Description(faces=())
        self.load_error = ""
        self._loaded = asyncio.Event()
        self.requests = 0
        self.failures = 0
        self.batcher = Batcher(plan.info.name, plan.max_queue_size)
        self.pool = Pool(plan.instances, self.batcher)

    async def start(self) -> None:
        """Load its instances; if they cannot be loaded, :attr:`load_error` says why."""
        try:
            self.description = await self.pool.start()
        except HubError as error:
            self.load_error = error.message
        finally:
            self._loaded.set()

    async def loaded(self) -> None:
        """Wait until it is loaded.

        Raises:
            LoadFailed: it could not be.
        """
        await self._loaded.wait()
        if self.load_error:
            raise LoadFailed(self.load_error)

    @property
    def ready(self) -> bool:
        """Whether an instance runs."""
        return any(slot.instance for slot in self.pool.slots)

    @property
    def not_ready_reason(self) -> str:
        """Why no instance runs; "" while one does."""
        if self.ready:
            return ""
        if not self._loaded.is_set():
            return "it is being loaded"
        return self.load_error or "; ".join(dict.fromkeys(slot.error for slot in self.pool.slots if slot.error)) or "it is being restarted"

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer one request; see :meth:`DataPlane.infer`."""
        await self.loaded()
        if not self.ready and all(slot.error for slot in self.pool.slots):
            raise Unavailable(f"module '{self.plan.info.name}' has no running instance: {self.not_ready_reason}", retry_after_s=5)
        loop = asyncio.get_running_loop()
        work = self._admit(request, loop.create_future())
        timer = None
        if work.deadline is not None:
            timer = loop.call_later(work.deadline - time.monotonic(), _expire, work)
        self.requests += 1
        try:
            self.batcher.put(work)
            return await work.answer
        except HubError:
            self.failures += 1
            raise
        finally:
            if timer:
                timer.cancel()

    def _admit(self, request: InferRequest, answer: "asyncio.Future[InferResponse]") -> Work:
        """Check a request against what the module takes, and make it work for the batcher."""
        described = self.description
        wants = Face.JSON if request.wants_json else Face.TENSORS
        buffers: list[Any] = []
        if request.tensors is not None:
            self._require(Face.TENSORS)
            count = check_inputs(described.inputs, request.tensors)
            call: dict[str, Any] = {"face": Face.TENSORS, "inputs": pack_arrays(request.tensors, buffers), "answer": wants}
            key = tuple((each["name"], each["dtype"], *each["shape"][1:]) for each in call["inputs"])
            return Work(call, buffers, count, key, answer, request.deadline)
        if request.pictures is not None:
            self._require(Face.PICTURE)
            item, count = described.picture_item, len(request.pictures)
            if item is None or not 0 < count <= MAX_PICTURES:
                raise InvalidInput(f"a request must hold 1 to {MAX_PICTURES} pictures, got {count}")
            call = {"face": Face.PICTURE, "pictures": list(range(count)), "answer": wants}
            # a picture may be merged with arrays of the form that it will have once it is preprocessed
            return Work(call, list(request.pictures), count, ((item.name, item.dtype, *item.shape),), answer, request.deadline)
        self._require(Face.JSON)
        return Work({"face": Face.JSON, "arguments": 0}, [request.arguments or b"{}"], 1, None, answer, request.deadline)

    def _require(self, face: str) -> None:
        if face not in self.description.faces:
            raise UnsupportedFace(
                f"module '{self.plan.info.name}' does not take {face} requests; it takes {', '.join(self.description.faces) or 'none'}"
            )

    def status(self) -> dict[str, Any]:
        """For people and monitors to read."""
        described = self.description.to_json()
        return {
            "name": self.plan.info.name,
            "version": self.plan.info.version,
            "kind": self.plan.info.kind,
            "ready": self.ready,
            "reason": self.not_ready_reason,
            "faces": list(self.description.faces),
            **{key: described[key] for key in ("inputs", "json_array", "picture_item")},
            "engine": self.description.engine,
            "max_batch_size": self.description.max_batch_size,
            "queue": len(self.batcher),
            "requests": self.requests,
            "failures": self.failures,
            "instances": [
                {"pid": slot.instance.pid if slot.instance else None, "restarts": slot.restarts, "error": slot.error}
                for slot in self.pool.slots
            ],
        }


def _expire(work: Work) -> None:
    if not work.answer.done():
        work.answer.set_exception(DeadlineExceeded("the answer did not come in time; the request was given up"))


class DataPlane:
    """Every served module.

    Args:
        plans: the modules.
    """

    def __init__(self, plans: Iterable[ModulePlan]) -> None:
        self._modules = {plan.info.name: ServedModule(plan) for plan in plans}

    async def start(self) -> None:
        """Load every module, side by side; one that fails does not disturb the others."""
        await asyncio.gather(*(module.start() for module in self))

    async def stop(self, drain_s: float) -> None:
        """Finish what was admitted, for at most ``drain_s``, and end every instance."""
        await asyncio.gather(*(module.pool.stop(drain_s) for module in self))

    def get(self, name: str, version: str | None = None) -> ServedModule:
        """A served module.

        Raises:
            ModuleNotFound: it is not served, or not in that version.
        """
        module = self._modules.get(name)
        if module is None:
            raise ModuleNotFound(f"module '{name}' is not served here; served are {', '.join(self._modules) or 'none'}")
        if version not in (None, module.plan.info.version):
            raise ModuleNotFound(f"module '{name}' version {version} is not served here; version {module.plan.info.version} is")
        return module

    def __iter__(self) -> Iterator[ServedModule]:
        return iter(self._modules.values())

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer one request.

        Raises:
            ModuleNotFound: see :meth:`get`.
            LoadFailed: the module could not be loaded.
            InvalidInput: the module cannot take this.
            Overloaded: too many wait.
            ModuleFailed: its code raised.
            InstanceDied: it ended two processes.
            DeadlineExceeded: the deadline passed.
        """
        return await self.get(request.module, request.version).infer(request)

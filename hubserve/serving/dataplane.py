"""The served modules by name. Every protocol speaks to this and to nothing below it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator

from hubserve.errors import LoadFailed, ModuleNotFound
from hubserve.serving.model_calls import ModelCalls
from hubserve.serving.served import MAX_PICTURES, ModulePlan, ServedModule
from hubserve.types import InferRequest, InferResponse

__all__ = ["MAX_PICTURES", "DataPlane", "ModulePlan", "ServedModule"]

log = logging.getLogger("hubserve")

_SAVE_EVERY_S = 30.0


class DataPlane:
    """Every served module.

    Args:
        plans: the modules.
        drain_s: how long a version that is replaced or removed may take to finish its requests.

    Attributes:
        calls: answers what modules ask of other modules.
    """

    def __init__(self, plans: Iterable[ModulePlan], drain_s: float = 30.0) -> None:
        self.calls = ModelCalls(self)
        self._modules = {plan.info.name: ServedModule(plan, self.calls) for plan in plans}
        self._drain_s = drain_s
        self._changing: dict[str, asyncio.Lock] = {}
        self._draining: set[asyncio.Task[None]] = set()
        self._saver: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load every module, side by side; one that fails does not disturb the others."""
        self._saver = asyncio.create_task(self._save_times())
        await asyncio.gather(*(module.start() for module in self))

    async def stop(self, drain_s: float) -> None:
        """Finish what was admitted, for at most ``drain_s``, and end every instance."""
        if self._saver:
            self._saver.cancel()
        await asyncio.gather(*(module.stop(drain_s) for module in self), *self._draining)

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
        """Answer one request; see :meth:`ServedModule.infer`.

        Raises:
            ModuleNotFound: see :meth:`get`.
        """
        module = self.get(request.module, request.version)
        with module.in_use():
            return await module.infer(request)

    async def stream(self, request: InferRequest) -> AsyncIterator[InferResponse]:
        """Answer one request by as many responses as its module gives; one that is not decoupled gives exactly one.

        Raises:
            HubError: see :meth:`infer`; also after some responses.
        """
        module = self.get(request.module, request.version)
        with module.in_use():
            async for response in module.stream(request):
                yield response

    async def load(self, plan: ModulePlan) -> None:
        """Serve a module, in place of the one of its name if there is one.

        That one answers until the new one is loaded, and then finishes what it has.

        Raises:
            LoadFailed: it cannot be loaded; what was served before is served still.
        """
        name = plan.info.name
        async with self._changing.setdefault(name, asyncio.Lock()):
            new, old = ServedModule(plan, self.calls), self._modules.get(name)
            await new.start()
            if new.load_error:
                raise LoadFailed(f"module '{name}' version {plan.info.version} cannot be loaded: {new.load_error}")
            self._modules[name] = new
            if old:
                draining = asyncio.create_task(old.stop(self._drain_s))
                self._draining.add(draining)
                draining.add_done_callback(self._draining.discard)
                log.info("module '%s': version %s now answers in place of %s", name, plan.info.version, old.plan.info.version)

    async def unload(self, name: str) -> None:
        """Stop to serve a module; it finishes what it has, then its processes end.

        Raises:
            ModuleNotFound: it is not served.
        """
        self.get(name)
        async with self._changing.setdefault(name, asyncio.Lock()):
            module = self._modules.pop(name, None)
            if module:
                await module.stop(self._drain_s)
                log.info("module '%s' is no longer served", name)

    async def _save_times(self) -> None:
        """Keep what was learned about batches, also for a start after a crash."""
        while True:
            await asyncio.sleep(_SAVE_EVERY_S)
            for module in self:
                module.save_times()

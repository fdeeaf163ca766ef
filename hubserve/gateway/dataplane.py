"""The served modules by name. Every protocol speaks to this and to nothing below it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator

from hubserve.errors import LoadFailed, ModuleNotFound, Unavailable
from hubserve.gateway.background import repeat, run_in_background
from hubserve.gateway.deadlock_detection import DeadlockDetector
from hubserve.gateway.ensembles.ensemble import ServedEnsemble
from hubserve.gateway.model_access import DirectModelAccess
from hubserve.gateway.module_plan import ModulePlan
from hubserve.gateway.request_checks import MAX_PICTURES
from hubserve.gateway.served_model import ServedModule
from hubserve.types import InferRequest, InferResponse
from hubserve.wire.model_access import ModelAccess

__all__ = ["MAX_PICTURES", "DataPlane", "ModulePlan", "ServedModule"]

log = logging.getLogger("hubserve")

_SAVE_EVERY_S = 30.0


class DataPlane:
    """Every served module.

    Args:
        plans: the modules.
        drain_s: how long a version that is replaced or removed may take to finish its requests.

    Attributes:
        deadlocks: the unanswered calls between modules.
    """

    def __init__(self, plans: Iterable[ModulePlan], drain_s: float = 30.0) -> None:
        self.deadlocks = DeadlockDetector()
        self._model_access: ModelAccess = DirectModelAccess(self)
        #: name -> version -> module, the versions ascending
        self._modules: dict[str, dict[str, ServedModule]] = {}
        for plan in plans:
            self._modules.setdefault(plan.info.name, {})[plan.info.version] = self._create(plan)
        self._drain_s = drain_s
        self._changing: dict[str, asyncio.Lock] = {}
        self._draining: set[asyncio.Task[None]] = set()
        self._arriving: set[ServedModule] = set()  # those that load to replace another one
        self._saver: asyncio.Task[None] | None = None
        self._stopped = False

    async def start(self) -> None:
        """Load every module, side by side; one that fails does not disturb the others."""
        doing = "what was learned about batches was kept"  # also for a start after a crash
        self._saver = run_in_background(repeat(self._save_times, _SAVE_EVERY_S, doing), doing)
        await asyncio.gather(*(module.start() for module in self))

    async def stop(self, drain_s: float) -> None:
        """Finish what was admitted, for at most ``drain_s``, and end every instance."""
        self._stopped = True
        if self._saver:
            self._saver.cancel()
        await asyncio.gather(*(module.stop(0) for module in self._arriving), *(module.stop(drain_s) for module in self), *self._draining)

    def get(self, name: str, version: str | None = None) -> ServedModule:
        """A served module; without a version the last one that could be loaded.

        Raises:
            ModuleNotFound: it is not served, or not in that version.
        """
        versions = self._modules.get(name)
        if versions is None:
            raise ModuleNotFound(f"module '{name}' is not served here; served are {', '.join(self._modules) or 'none'}")
        if version is None:
            if len(versions) == 1:
                return next(iter(versions.values()))
            last = [*versions.values()]
            return next((each for each in reversed(last) if not each.load_error), last[-1])
        if version not in versions:
            there = f"version {next(iter(versions))} is" if len(versions) == 1 else f"versions {', '.join(versions)} are"
            raise ModuleNotFound(f"module '{name}' version {version} is not served here; {there}")
        return versions[version]

    def versions(self, name: str) -> list[ServedModule]:
        """Every version of a module that is served, ascending; empty where it is not served."""
        return [*self._modules.get(name, {}).values()]

    def __iter__(self) -> Iterator[ServedModule]:
        return iter([module for versions in self._modules.values() for module in versions.values()])

    def _create(self, plan: ModulePlan) -> ServedModule:
        if plan.ensemble is not None:
            return ServedEnsemble(plan, self, self.deadlocks, self.model_access)
        return ServedModule(plan, self.deadlocks, self.model_access)

    def model_access(self) -> ModelAccess:
        """Return the models as modules may use them."""
        return self._model_access

    def provide_model_access(self, access: ModelAccess) -> None:
        """Let modules use other models through ``access``, in place of the data plane itself."""
        self._model_access = access

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer one request; see :meth:`ServedModule.infer`.

        Raises:
            ModuleNotFound: see :meth:`get`.
        """
        module = self.get(request.module, request.version)
        if not module.is_loaded:
            module = await self.loaded(request.module, request.version)
        with module.admit():
            return await module.infer(request)

    async def stream(self, request: InferRequest) -> AsyncIterator[InferResponse]:
        """Answer one request by as many responses as its module gives; one that is not decoupled gives exactly one.

        Raises:
            HubError: see :meth:`infer`; also after some responses.
        """
        module = self.get(request.module, request.version)
        if not module.is_loaded:
            module = await self.loaded(request.module, request.version)
        with module.admit():
            async for response in module.stream(request):
                yield response

    async def loaded(self, name: str, version: str | None = None) -> ServedModule:
        """Return a served module, once it is loaded; one that replaces it meanwhile is returned instead.

        Raises:
            ModuleNotFound: see :meth:`get`.
            LoadFailed: it could not be loaded.
        """
        while True:
            module = self.get(name, version)
            try:
                await module.loaded()
            except LoadFailed:
                if module.was_stopped_loading and self.get(name, version) is not module:
                    continue
                raise
            return module

    async def load(self, *plans: ModulePlan) -> None:
        """Serve a module, in place of the one of its name if there is one.

        That one answers until the new one is loaded, and then finishes its requests; if it still loads then, it is given up.

        Args:
            plans: one for each version that is to be served from now on, ascending, all of one name; versions that are not among them are
                served no more.
        Raises:
            LoadFailed: one cannot be loaded; what was served before is served still.
            Unavailable: the server stops.
        """
        name = plans[0].info.name
        async with self._changing.setdefault(name, asyncio.Lock()):
            if self._stopped:
                raise Unavailable("the server is stopping")
            new, old = {plan.info.version: self._create(plan) for plan in plans}, self._modules.get(name, {})
            await self._start(name, list(new.values()))
            self._modules[name] = new
            for module in old.values():
                draining = run_in_background(module.stop(self._drain_s), f"module '{name}' was ended")
                self._draining.add(draining)
                draining.add_done_callback(self._draining.discard)
            if old:
                log.info("module '%s': version %s now answers in place of %s", name, ", ".join(new), ", ".join(old))

    async def _start(self, name: str, modules: list[ServedModule]) -> None:
        """Load every version, or leave none of their processes behind."""
        self._arriving.update(modules)
        try:
            await asyncio.gather(*(module.start() for module in modules))
            failed = next((module for module in modules if module.load_error), None)
            if failed:
                shown = f" version {failed.plan.info.version}" if failed.plan.info.version else ""
                raise LoadFailed(f"module '{name}'{shown} cannot be loaded: {failed.load_error}")
        except BaseException:
            await asyncio.gather(*(module.stop(0) for module in modules))
            raise
        finally:
            self._arriving.difference_update(modules)

    async def unload(self, name: str) -> None:
        """Stop to serve a module; it finishes what it has, then its processes end.

        Raises:
            ModuleNotFound: it is not served.
        """
        self.get(name)
        async with self._changing.setdefault(name, asyncio.Lock()):
            modules = self._modules.pop(name, None)
            if modules:
                await asyncio.gather(*(module.stop(self._drain_s) for module in modules.values()))
                log.info("module '%s' is no longer served", name)

    async def _save_times(self) -> None:
        for module in self:
            module.save_times()

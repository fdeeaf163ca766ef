"""The data plane: the served modules by name, which all protocols use and nothing below it."""

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
    """The served modules.

    Args:
        plans: of the modules that are served from the start.
        drain_s: for how long a version that is replaced or removed may finish its requests.

    Attributes:
        deadlocks: the unanswered calls between modules.
    """

    def __init__(self, plans: Iterable[ModulePlan], drain_s: float = 30.0) -> None:
        self.deadlocks = DeadlockDetector()
        self._model_access: ModelAccess = DirectModelAccess(self)
        #: name to version to module, with ascending versions
        self._modules: dict[str, dict[str, ServedModule]] = {}
        for plan in plans:
            self._modules.setdefault(plan.info.name, {})[plan.info.version] = self._create(plan)
        self._drain_s = drain_s
        self._locks: dict[str, asyncio.Lock] = {}
        self._draining: set[asyncio.Task[None]] = set()
        self._replacements: set[ServedModule] = set()  # versions that still load, to replace others
        self._saver: asyncio.Task[None] | None = None
        self._stopped = False

    async def start(self) -> None:
        """Load every module concurrently; the failure of one does not affect the others."""
        doing = "learned batch latencies were saved"  # periodically, for a start after a crash, too
        self._saver = run_in_background(repeat(self._save_latencies, _SAVE_EVERY_S, doing), doing)
        await asyncio.gather(*(module.start() for module in self))

    async def stop(self, drain_s: float) -> None:
        """Finish admitted requests, for at most ``drain_s``, and end every instance."""
        self._stopped = True
        if self._saver:
            self._saver.cancel()
        await asyncio.gather(
            *(module.stop(0) for module in self._replacements), *(module.stop(drain_s) for module in self), *self._draining
        )

    def get(self, name: str, version: str | None = None) -> ServedModule:
        """Return a served module; without a version, the latest one that did not fail to load.

        Raises:
            ModuleNotFound: it is not served, or not in that version.
        """
        versions = self._modules.get(name)
        if versions is None:
            raise ModuleNotFound(f"module '{name}' is not served here; served are {', '.join(self._modules) or 'none'}")
        if version is None:
            if len(versions) == 1:
                return next(iter(versions.values()))
            modules = [*versions.values()]
            return next((each for each in reversed(modules) if not each.load_error), modules[-1])
        if version not in versions:
            served = f"version {next(iter(versions))} is" if len(versions) == 1 else f"versions {', '.join(versions)} are"
            raise ModuleNotFound(f"module '{name}' version {version} is not served here; {served}")
        return versions[version]

    def serves(self, name: str) -> bool:
        """Return True if any version of a module is served."""
        return name in self._modules

    def versions(self, name: str) -> list[ServedModule]:
        """Return every served version of a module, ascending; empty if it is not served."""
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
        """Answer one request by as many responses as its module gives; exactly one if it is not decoupled.

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
        """Return a served module once it is loaded, or the one that has replaced it meanwhile.

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
        """Serve a module, in place of the one with its name if there is one.

        The old one answers until the new one is loaded, and then finishes its requests; if it is still loading then, that is cancelled.

        Args:
            plans: one for each version to serve from now on, ascending, all of one name; other versions are no longer served.
        Raises:
            LoadFailed: one cannot be loaded; the previous versions are still served.
            Unavailable: the server stops.
        """
        name = plans[0].info.name
        async with self._locks.setdefault(name, asyncio.Lock()):
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
        """Load every version, or end the processes of all of them."""
        self._replacements.update(modules)
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
            self._replacements.difference_update(modules)

    async def unload(self, name: str) -> None:
        """Stop serving a module: finish its requests, then end its processes.

        Raises:
            ModuleNotFound: it is not served.
        """
        self.get(name)
        async with self._locks.setdefault(name, asyncio.Lock()):
            modules = self._modules.pop(name, None)
            if modules:
                await asyncio.gather(*(module.stop(self._drain_s) for module in modules.values()))
                log.info("module '%s' is no longer served", name)

    async def _save_latencies(self) -> None:
        for module in self:
            module.save_latencies()

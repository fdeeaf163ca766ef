"""Apply changed settings and installed versions to a running server, without a gap."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Protocol

from hubserve.errors import HubError, ModuleNotFound
from hubserve.gateway.dataplane import DataPlane, ModulePlan
from hubserve.server.loading import note_loaded
from hubserve.server.service_manager import ServiceManager
from hubserve.server.status import server_status


class MakePlans(Protocol):
    """Function that plans the modules of the settings."""

    def __call__(self, only: str | None = None) -> Sequence[ModulePlan]:
        """Return the plans of all modules of the settings, or of one."""


class Reloader:
    """Reloading of a running server's modules.

    Args:
        dataplane: the modules that it serves.
        make_plans: reads the settings and the registry again.
        manager: the service manager that reloads are reported to.
    """

    def __init__(self, dataplane: DataPlane, make_plans: MakePlans, manager: ServiceManager | None = None) -> None:
        self._dataplane = dataplane
        self._make_plans = make_plans
        self._manager = manager or ServiceManager()
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def answer(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Carry out the request of a command.

        Args:
            request: ``{"op": "reload", "modules": [...]}``, all if none is named; ``{"op": "installed", "module", "version"}``;
                ``{"op": "removed", "module"}`` once a version is uninstalled; or, without effect, ``{"op": "served"}``,
                ``{"op": "status"}`` and ``{"op": "load order", "module"}``, which requests the load order of an instance.
        Returns:
            For each module ``{"module", "version", "was", "state", "error"}``;
            ``state`` is ``loaded``, ``kept``, ``unloaded`` or ``unchanged``. For ``served`` ``{"module", "version", "folder"}``;
            for ``status`` the content of ``GET /status``.
        Raises:
            HubError: the settings are invalid, or the request is unknown; nothing has changed.
        """
        op = request.get("op")
        if op == "load order":
            plan = self._dataplane.get(request["module"]).plan
            if not plan.instances:
                raise HubError(f"module '{plan.info.name}' has no instance: {plan.error or 'it is made of other modules'}")
            yield {"module": request["module"], "order": plan.instances[0].load_order(measure=False)}
        elif op == "status":
            yield server_status(self._dataplane)
        elif op == "served":
            for module in self._list_served():
                yield module
        elif op == "installed":
            async with self._locks[request["module"]]:  # of two changes, the later one is applied last
                plans = await asyncio.to_thread(self._make_plans, request["module"])
                if plans:
                    yield await self._swap(plans, request["version"])
        elif op == "removed":
            async with self._locks[request["module"]]:
                yield await self._remove(request["module"])
        elif op == "reload":
            self._manager.reloading()
            try:
                async for result in self._reload_all(request.get("modules") or []):
                    yield result
            finally:  # also where the settings are invalid: the server goes on as it was
                self._manager.ready(f"serving {', '.join(self._served()) or 'no module'}")
        else:
            raise HubError(f"the server does not know the operation '{op}'; it may be of another version than the command")

    async def _reload_all(self, modules: Sequence[str]) -> AsyncIterator[dict[str, Any]]:
        """Reload some modules, or all of the settings where none is named."""
        by_name: defaultdict[str, list[ModulePlan]] = defaultdict(list)
        for each in await asyncio.to_thread(self._make_plans):
            by_name[each.info.name].append(each)
        for name in modules or [*by_name, *(name for name in self._served() if name not in by_name)]:
            # modules loaded by clients are not in the settings, but can be found by name
            yield await self._reload(name, by_name[name] or await asyncio.to_thread(self._make_plans, name))

    def _list_served(self) -> Iterator[dict[str, Any]]:
        for module in self._dataplane:
            if not module.load_error:
                plan = module.plan
                yield {"module": plan.info.name, "version": plan.info.version, "folder": str(plan.folder or "")}

    async def _remove(self, name: str) -> dict[str, Any]:
        """Serve another installed version of a module in place of the uninstalled one; unload the module if there is none."""
        served = self._served().get(name)
        if served is None:
            return {"module": name, "version": "", "was": "", "state": "unchanged", "error": ""}
        try:
            plans = await asyncio.to_thread(self._make_plans, name)
        except HubError:  # no version, or not that of the settings, is installed
            plans = []
        if plans:
            version = plans[-1].info.version
            result = {"module": name, "version": version, "was": version, "state": "unchanged", "error": ""}
            if list(plans) != served:
                result = await self._load(plans)
            if not result["error"]:
                return result
        return await self._reload(name, ())

    def _served(self) -> dict[str, list[ModulePlan]]:
        """Return the plans of the served modules, one for each version."""
        served = defaultdict(list)
        for module in self._dataplane:
            served[module.plan.info.name].append(module.plan)
        return served

    async def _reload(self, name: str, plans: Sequence[ModulePlan]) -> dict[str, Any]:
        if plans:
            return await self._load(plans)
        was = self._served().get(name)
        if was is None:
            raise ModuleNotFound(f"the server's settings name no module '{name}'; it serves {', '.join(self._served()) or 'none'}")
        await self._dataplane.unload(name)
        return {"module": name, "version": "", "was": was[-1].info.version, "state": "unloaded", "error": ""}

    async def _swap(self, plans: Sequence[ModulePlan], version: str) -> dict[str, Any]:
        """Load a version that was just installed, if the settings select it."""
        info = plans[-1].info
        # the files of a version's folder never change; of other machines, only the folder's name is known
        is_elsewhere = any(spec.address for plan in plans for spec in plan.instances)
        if list(plans) == self._served().get(info.name) and (version != info.version or not is_elsewhere):
            return {"module": info.name, "version": info.version, "was": info.version, "state": "unchanged", "error": ""}
        return await self._load(plans)

    async def _load(self, plans: Sequence[ModulePlan]) -> dict[str, Any]:
        """Replace the served versions of one module by others."""
        info = plans[-1].info
        served = self._served().get(info.name)
        result = {
            "module": info.name,
            "version": info.version,
            "was": served[-1].info.version if served else "",
            "state": "loaded",
            "error": "",
        }
        try:
            await self._dataplane.load(*plans)
        except HubError as error:
            return {**result, "state": "kept", "error": error.message}
        for module in self._dataplane.versions(info.name):
            note_loaded(module)
        return result

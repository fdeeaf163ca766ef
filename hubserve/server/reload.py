"""Brings what is served in line with the settings and with what is installed, without a gap."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Protocol

from hubserve.errors import HubError, ModuleNotFound
from hubserve.gateway.dataplane import DataPlane, ModulePlan
from hubserve.server.loading import note_loaded
from hubserve.server.status import server_status


class MakePlans(Protocol):
    """Reads the settings and the registry."""

    def __call__(self, only: str | None = None) -> Sequence[ModulePlan]:
        """The plans of every module of the settings, or of one, whatever has become of the others."""


class Reloader:
    """Swaps modules of a running server.

    Args:
        dataplane: what is served.
        make_plans: reads the settings and the registry again.
    """

    def __init__(self, dataplane: DataPlane, make_plans: MakePlans) -> None:
        self._dataplane = dataplane
        self._make_plans = make_plans
        self._following: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def answer(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Do what a command asks.

        Args:
            request: ``{"op": "reload", "modules": [...]}``, all where none is named; ``{"op": "installed", "module", "version"}``;
                ``{"op": "removed", "module"}`` once a version is uninstalled; or, which change nothing, ``{"op": "served"}``,
                ``{"op": "status"}`` and ``{"op": "load order", "module"}``, which asks for the load order that an instance gets.
        Returns:
            For each module ``{"module", "version", "was", "state", "error"}``;
            ``state`` is ``loaded``, ``kept``, ``unloaded`` or ``unchanged``. For ``served`` ``{"module", "version", "folder"}``;
            for ``status`` what ``GET /status`` answers.
        Raises:
            HubError: the settings cannot be used, or the request is none of these. Nothing has changed.
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
            for told in self._tell_served():
                yield told
        elif op == "installed":
            async with self._following[request["module"]]:  # of two changes the later one is looked at last
                plans = await asyncio.to_thread(self._make_plans, request["module"])
                if plans:
                    yield await self._swap(plans, request["version"])
        elif op == "removed":
            async with self._following[request["module"]]:
                yield await self._remove(request["module"])
        elif op == "reload":
            by_name: defaultdict[str, list[ModulePlan]] = defaultdict(list)
            for each in await asyncio.to_thread(self._make_plans):
                by_name[each.info.name].append(each)
            names = request.get("modules") or [*by_name, *(name for name in self._served() if name not in by_name)]
            for name in names:
                # what a client had loaded is not among the modules of the start, but can be found by its name
                yield await self._reload(name, by_name[name] or await asyncio.to_thread(self._make_plans, name))
        else:
            raise HubError(f"the server does not know the operation '{op}'; it may be of another version than the command")

    def _tell_served(self) -> Iterator[dict[str, Any]]:
        for module in self._dataplane:
            if not module.load_error:
                plan = module.plan
                yield {"module": plan.info.name, "version": plan.info.version, "folder": str(plan.folder or "")}

    async def _remove(self, name: str) -> dict[str, Any]:
        """Serve what is still installed of a module in place of what was uninstalled; else serve it no more."""
        served = self._served().get(name)
        if served is None:
            return {"module": name, "version": "", "was": "", "state": "unchanged", "error": ""}
        try:
            plans = await asyncio.to_thread(self._make_plans, name)
        except HubError:  # no version, or not the one that the settings name, is installed any more
            plans = []
        if plans:
            version = plans[-1].info.version
            told = {"module": name, "version": version, "was": version, "state": "unchanged", "error": ""}
            if list(plans) != served:
                told = await self._load(plans)
            if not told["error"]:
                return told
        return await self._reload(name, ())

    def _served(self) -> dict[str, list[ModulePlan]]:
        """The plans of every served module, one for each version."""
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
        """Load what was just installed, if that is what the settings ask for."""
        info = plans[-1].info
        # the files of a place never change; on other machines the folder's name is all that is known
        is_elsewhere = any(spec.address for plan in plans for spec in plan.instances)
        if list(plans) == self._served().get(info.name) and (version != info.version or not is_elsewhere):
            return {"module": info.name, "version": info.version, "was": info.version, "state": "unchanged", "error": ""}
        return await self._load(plans)

    async def _load(self, plans: Sequence[ModulePlan]) -> dict[str, Any]:
        """Serve these versions of one module in place of those that are served now."""
        info = plans[-1].info
        served = self._served().get(info.name)
        told = {
            "module": info.name,
            "version": info.version,
            "was": served[-1].info.version if served else "",
            "state": "loaded",
            "error": "",
        }
        try:
            await self._dataplane.load(*plans)
        except HubError as error:
            return {**told, "state": "kept", "error": error.message}
        for module in self._dataplane.versions(info.name):
            note_loaded(module)
        return told

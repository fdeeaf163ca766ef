"""Brings what is served in line with the settings and with what is installed, without a gap."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Protocol

from hubserve.errors import HubError, ModuleNotFound
from hubserve.registry.engine_note import note_engine
from hubserve.serving.dataplane import DataPlane, ModulePlan


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
                ``{"op": "removed", "module"}`` once a version is uninstalled; or, which change nothing, ``{"op": "served"}`` and
                ``{"op": "load order", "module"}``, which asks what an instance is told to load.
        Returns:
            For each module ``{"module", "version", "was", "state", "error"}``;
            ``state`` is ``loaded``, ``kept``, ``unloaded`` or ``unchanged``. For ``served`` ``{"module", "version", "folder"}``.
        Raises:
            HubError: the settings cannot be used, or the request is none of these. Nothing has changed.
        """
        op = request.get("op")
        if op == "load order":
            yield {"module": request["module"], "order": self._dataplane.get(request["module"]).plan.instances[0].load_order(measure=False)}
        elif op == "served":
            for told in self._tell_served():
                yield told
        elif op == "installed":
            async with self._following[request["module"]]:  # of two changes the later one is looked at last
                for plan in await asyncio.to_thread(self._make_plans, request["module"]):
                    yield await self._swap(plan, request["version"])
        elif op == "removed":
            async with self._following[request["module"]]:
                yield await self._remove(request["module"])
        elif op == "reload":
            plans = {plan.info.name: plan for plan in await asyncio.to_thread(self._make_plans)}
            names = request.get("modules") or [*plans, *(name for name in self._served() if name not in plans)]
            for name in names:
                yield await self._reload(name, plans.get(name))
        else:
            raise HubError(f"the server does not know the operation '{op}'; it may be of another version than the command")

    def _tell_served(self) -> Iterator[dict[str, Any]]:
        for module in self._dataplane:
            if not module.load_error:
                plan = module.plan
                yield {"module": plan.info.name, "version": plan.info.version, "folder": str(plan.instances[0].folder)}

    async def _remove(self, name: str) -> dict[str, Any]:
        """Serve what is still installed of a module in place of what was uninstalled; else serve it no more."""
        served = self._served().get(name)
        if served is None:
            return {"module": name, "version": "", "was": "", "state": "unchanged", "error": ""}
        try:
            plans = await asyncio.to_thread(self._make_plans, name)
        except HubError:  # no version, or not the one that the settings name, is installed any more
            plans = []
        for plan in plans:
            told = {"module": name, "version": plan.info.version, "was": plan.info.version, "state": "unchanged", "error": ""}
            if plan != served:
                told = await self._load(plan)
            if not told["error"]:
                return told
        return await self._reload(name, None)

    def _served(self) -> dict[str, ModulePlan]:
        return {module.plan.info.name: module.plan for module in self._dataplane}

    async def _reload(self, name: str, plan: ModulePlan | None) -> dict[str, Any]:
        if plan is not None:
            return await self._load(plan)
        was = self._served().get(name)
        if was is None:
            raise ModuleNotFound(f"the server's settings name no module '{name}'; it serves {', '.join(self._served()) or 'none'}")
        await self._dataplane.unload(name)
        return {"module": name, "version": "", "was": was.info.version, "state": "unloaded", "error": ""}

    async def _swap(self, plan: ModulePlan, version: str) -> dict[str, Any]:
        """Load what was just installed, if that is what the settings ask for."""
        served = self._served().get(plan.info.name)
        # the files of a place never change; on other machines the folder's name is all that is known
        is_elsewhere = any(spec.address for spec in plan.instances)
        if plan == served and (version != plan.info.version or not is_elsewhere):
            return {"module": plan.info.name, "version": plan.info.version, "was": plan.info.version, "state": "unchanged", "error": ""}
        return await self._load(plan)

    async def _load(self, plan: ModulePlan) -> dict[str, Any]:
        served = self._served().get(plan.info.name)
        was = served.info.version if served else ""
        told = {"module": plan.info.name, "version": plan.info.version, "was": was, "state": "loaded", "error": ""}
        try:
            await self._dataplane.load(plan)
        except HubError as error:
            return {**told, "state": "kept", "error": error.message}
        note_engine(plan.info, plan.instances[0].folder, self._dataplane.get(plan.info.name).description.engine)
        return told

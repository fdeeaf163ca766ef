"""Load and unload models while the server runs: at a client's request, or because a model store changed."""

import asyncio
import logging
import re
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakValueDictionary

import msgspec

from hubserve.errors import ConfigError, HubError, InvalidInput, LoadFailed, ModuleNotFound, Unavailable
from hubserve.gateway.background import repeat, run_in_background
from hubserve.gateway.dataplane import DataPlane, ModulePlan
from hubserve.gateway.triton_deployment import plan_model
from hubserve.protocols.model_control import LOADING, UNAVAILABLE, UNLOADING, ModelState
from hubserve.registry.installed import InstalledModules
from hubserve.registry.model_store import StoredModel, find_models, store_folders, why_no_model
from hubserve.registry.names import is_name
from hubserve.server.deployment import make_plans
from hubserve.server.loading import note_loaded
from hubserve.server.model_uploads import Uploads
from hubserve.server.remote_modules import refresh_stores
from hubserve.server.store_watch import StoreWatch
from hubserve.settings import ModuleSettings, ServerSettings

log = logging.getLogger("hubserve")

#: loads in progress at once; each starts processes
_MOST_LOADS = 4
#: names that are reported although they are not served
_MOST_ABSENT = 1000
_UPLOADED_NAME = re.compile(r"[\w+-][\w.+-]{0,99}")
T = TypeVar("T")


class ModelRepository:
    """Models that a server can load, and those that it serves.

    Args:
        dataplane: the models that it serves.
        settings: the server's.
        search_path: folders in which relative model stores are looked up first.
    """

    def __init__(self, dataplane: DataPlane, settings: ServerSettings, search_path: Sequence[Path] = ()) -> None:
        self._dataplane = dataplane
        self._settings = settings
        self._search_path = search_path
        self._watch = StoreWatch(self._find) if settings.model_control == "poll" else None
        self._uploads = Uploads(settings.max_body_bytes)
        self._uploaded: dict[str, Path] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._loads = asyncio.Semaphore(_MOST_LOADS)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._busy: dict[str, ModelState] = {}
        self._absent: dict[str, ModelState] = {}
        self._store_problem = ""

    def absent(self) -> list[ModelState]:
        """List the models that are not served: see :class:`hubserve.protocols.model_control.ModelControl`."""
        try:
            stored = self._find()
        except ConfigError:  # a store that cannot be read now: report what is known without it
            stored = {}
        states = {model.name: ModelState(model.name, "", UNAVAILABLE, model.problem or "not loaded") for model in stored.values()}
        states |= self._absent | self._busy
        return [state for name, state in states.items() if not self._dataplane.versions(name)]

    async def load(self, name: str, config: Mapping[str, Any] | None, files: Mapping[str, bytes]) -> None:
        """Load a model, even if the client disconnects: see :class:`hubserve.protocols.model_control.ModelControl`."""
        self._require_explicit()
        if files and not self._settings.model_uploads:
            raise Unavailable(
                "this server takes no files of models from clients, for they may be code; put the model into a store of the server, "
                "or allow it by the setting 'model_uploads'"
            )
        await self._finish(self._load_in_turn(name, config, files))

    async def unload(self, name: str, dependents: bool) -> None:
        """Unload a model, even if the client disconnects: see :class:`hubserve.protocols.model_control.ModelControl`."""
        self._require_explicit()
        await self._finish(self._unload(name, dependents))

    def follow(self) -> None:
        """Start to poll the stores every ``poll_s``, if ``model_control`` is ``poll``; until :meth:`stop`."""
        if self._watch:
            doing = "the model stores were polled"
            task = run_in_background(repeat(self._follow_stores, self._settings.poll_s, doing), doing)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _follow_stores(self) -> None:
        if self._watch is None:
            return
        try:
            await asyncio.to_thread(refresh_stores, self._settings.model_store, must_answer=True)
            self._note_store_problem("")
        except ConfigError as error:  # the other stores are followed all the same
            self._note_store_problem(error.message)
        try:
            changed, gone = await asyncio.to_thread(self._watch.changes)
        except ConfigError as error:
            log.error("cannot poll the model stores: %s", error.message)  # noqa: TRY400 - the message says it all
            return
        done: set[str] = set()
        for name in [name for name in changed if not self._is_configured(name)]:
            if name not in done:
                await self._follow(name, done)
        for name in gone:
            if self._dataplane.versions(name) and not self._is_configured(name):
                with suppress(ModuleNotFound):  # 'hub serving reload' was faster
                    await self._unload(name, dependents=False)
            self._absent.pop(name, None)

    def _note_store_problem(self, problem: str) -> None:
        """Log a problem with a remote store once, not at each poll, and its end."""
        if problem and problem != self._store_problem:
            log.error("cannot poll %s; what was copied before is still served", problem.rstrip("."))
        elif self._store_problem and not problem:
            log.info("the remote model stores answer again")
        self._store_problem = problem

    async def stop(self) -> None:
        """Cancel loads in progress."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def close(self) -> None:
        """Delete the files that clients sent, once no instance runs from them."""
        for folder in [*self._uploaded.values()]:
            self._uploads.release(folder)
        self._uploaded.clear()

    # --- lookup ---

    def _find(self) -> dict[str, StoredModel]:
        return find_models(store_folders(self._settings.model_store, self._search_path))

    def _is_configured(self, name: str) -> bool:
        """Return True if the settings locate the module of this name; a store's model of that name is ignored then."""
        return bool(self._settings.module(name).init_args)

    def _plan(self, name: str, config: Mapping[str, Any] | None, folder: Path | None) -> list[ModulePlan]:
        """Plan the versions of a model.

        Raises:
            HubError: there are none.
        """
        if folder is not None:
            if not _UPLOADED_NAME.fullmatch(name):
                raise InvalidInput(
                    "a model whose files are sent needs a name of letters, digits, '_', '.', '+' and '-' that begins with no '.'"
                )
            return plan_model(folder, self._settings, name, config)
        if self._settings.model_control == "explicit" and not self._is_configured(name):
            refresh_stores(self._settings.model_store, {name}, must_answer=True)
        stored = self._find().get(name)
        if stored and not self._is_configured(name):
            if stored.problem:
                raise ConfigError(stored.problem)
            return plan_model(stored.folder, self._settings, name, config)
        if not self._is_known(name):
            why = why_no_model(store_folders(self._settings.model_store, self._search_path), name)
            held = why or "no model store holds it, and no module of this name is installed"
            raise ModuleNotFound(f"failed to poll from model repository: {held}")
        if config is not None:
            raise InvalidInput("a configuration can be sent for the models of a store, and this is an installed module")
        modules = {name: self._settings.modules_info.get(name, ModuleSettings())}
        only_this = msgspec.structs.replace(self._settings, modules_info=modules, model_store=[], load_model=[], model_control="none")
        return make_plans(only_this, self._search_path, only=name)

    def _is_known(self, name: str) -> bool:
        """Return True if the settings or the registry have a module of this name; folders do not count."""
        return name in self._settings.modules_info or (is_name(name) and bool(InstalledModules().versions(name)))

    def _require_explicit(self) -> None:
        mode = self._settings.model_control
        if mode != "explicit":
            raise Unavailable(
                "explicit model load / unload is not allowed if polling is enabled or model control is off; this server's model_control is "
                f"'{mode}'. Start it with --model-control explicit"
            )

    # --- changes ---

    async def _finish(self, work: Coroutine[Any, Any, T]) -> T:
        """Complete a change even if its caller is cancelled."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise Unavailable("the server is stopping") from None
            raise

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, HubError):
            log.error("an unexpected error while loading or unloading a model", exc_info=error)

    def _lock(self, name: str) -> asyncio.Lock:
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock

    async def _load_in_turn(self, name: str, config: Mapping[str, Any] | None, files: Mapping[str, bytes]) -> None:
        async with self._loads:
            folder = await asyncio.to_thread(self._uploads.write, files) if files else None
            try:
                await self._load(name, config, folder, set())
            except BaseException:
                if folder:
                    self._uploads.release(folder)
                raise

    async def _follow(self, name: str, done: set[str]) -> None:
        try:
            await self._load(name, None, None, done)
        except HubError as error:
            kept = "; the previous version is still served" if self._dataplane.versions(name) else ""
            log.error("failed to load '%s', which has changed: %s%s", name, error.message, kept)  # noqa: TRY400 - as above
        except Exception:  # one bad folder must not end the polling of all others
            log.exception("failed to load '%s', which has changed", name)

    async def _load(self, name: str, config: Mapping[str, Any] | None, folder: Path | None, done: set[str]) -> None:
        """Load a model, after its steps that are not served.

        Args:
            name: the model's.
            config: replaces its own.
            folder: of uploaded files; None for the model's own.
            done: names of models that are not loaded again; the loaded ones are added.
        """
        done.add(name)
        while True:
            async with self._lock(name):
                self._busy[name] = ModelState(name, "", LOADING)
                try:
                    plans = await asyncio.to_thread(self._plan, name, config, folder)
                    parts = [part for part in _parts(plans) if part not in done and not self._dataplane.versions(part)]
                    if not parts:
                        await self._replace(name, plans, folder)
                        return
                except HubError as error:
                    if not isinstance(error, ModuleNotFound):  # a client may request any name
                        self._note(ModelState(name, "", UNAVAILABLE, error.message))
                    raise
                finally:
                    del self._busy[name]
            for part in parts:
                try:
                    await self._load(part, None, None, done)
                except HubError as error:
                    reason = f"its step '{part}' cannot be loaded: {error.message}"
                    self._note(ModelState(name, "", UNAVAILABLE, reason))
                    raise LoadFailed(reason) from None

    async def _replace(self, name: str, plans: Sequence[ModulePlan], folder: Path | None) -> None:
        failed = next((plan.error for plan in plans if plan.error), "")
        if failed or not plans:
            raise LoadFailed(failed or "there is no version to serve")
        await self._dataplane.load(*plans)
        self._absent.pop(name, None)
        before = self._uploaded.pop(name, None)
        if folder:
            self._uploaded[name] = folder
        if before:
            self._uploads.release(before)
        for module in self._dataplane.versions(name):
            if not folder:
                note_loaded(module)
        log.info("model '%s' is served, version %s", name, ", ".join(plan.info.version for plan in plans))

    async def _unload(self, name: str, dependents: bool) -> None:
        async with self._lock(name):
            plans = [module.plan for module in self._dataplane.versions(name)]
            if not plans:
                if name in self._absent or name in await asyncio.to_thread(self._find):
                    return
                raise ModuleNotFound("it is not loaded, and no model store holds it")
            version = plans[-1].info.version
            self._busy[name] = ModelState(name, version, UNLOADING)
            try:
                await self._dataplane.unload(name)
            finally:
                del self._busy[name]
            self._note(ModelState(name, version, UNAVAILABLE, "unloaded"))
            folder = self._uploaded.pop(name, None)
            if folder:
                self._uploads.release(folder)
        for part in _parts(plans) if dependents else ():
            if self._dataplane.versions(part) and not any(part in _parts([module.plan]) for module in self._dataplane):
                await self._unload(part, dependents)

    def _note(self, state: ModelState) -> None:
        """Record why a model is not served."""
        self._absent.pop(state.name, None)
        self._absent[state.name] = state
        if len(self._absent) > _MOST_ABSENT:
            del self._absent[next(iter(self._absent))]


def _parts(plans: Sequence[ModulePlan]) -> list[str]:
    """Return the models of ensembles' steps, each once."""
    return list(dict.fromkeys(step.model for plan in plans if plan.ensemble for step in plan.ensemble.steps))

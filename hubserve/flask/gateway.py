"""Data plane on an event loop in a thread of its own, inside the process of another application."""

import asyncio
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from hubserve.errors import HubError
from hubserve.flask.request_cycle import Response, WsgiRequestCycle
from hubserve.gateway.dataplane import DataPlane, ModulePlan
from hubserve.protocols import Context
from hubserve.server.app import build_app
from hubserve.server.loading import load_modules
from hubserve.server.logs import set_up_access_log
from hubserve.server.model_control import ModelRepository
from hubserve.server.reload import MakePlans
from hubserve.server.traces import set_up_traces
from hubserve.settings import ServerSettings
from hubserve.telemetry.telemetry import Telemetry

log = logging.getLogger("hubserve")


class Closed(Exception):
    """The gateway accepts no more requests."""


class Gateway:
    """Gateway that serves the modules of some settings to the threads of this process.

    It is set up in its own thread; :meth:`wait_until_running` reports the result.

    Args:
        settings: the server's.
        make_plans: returns the modules.
        address: prefix of ``/predict/<module>``, for the log.
        search_path: folders in which relative model stores are looked up first.
        has_pages: whether the application mounts the pages for people.
    """

    def __init__(
        self, settings: ServerSettings, make_plans: MakePlans, address: str, search_path: Sequence[Path] = (), *, has_pages: bool = False
    ) -> None:
        self._settings = settings
        self._search_path = search_path
        self._make_plans = make_plans
        self._address = address
        self._has_pages = has_pages
        self._lock = threading.Lock()
        self._closed = False
        self._failure: BaseException | None = None
        self._running = threading.Event()
        self._loaded = threading.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event
        self._app: Any = None
        self._telemetry: Telemetry
        self._thread = threading.Thread(target=self._run, name="hubserve", daemon=True)
        self._thread.start()

    def wait_until_running(self) -> None:
        """Wait until requests are accepted.

        Raises:
            HubError: setup failed; raised in every thread that waits.
        """
        self._running.wait()
        if self._failure:
            raise _as_hub_error(self._failure)

    def answer(self, cycle: WsgiRequestCycle) -> Response:
        """Answer one request; requests of several threads are computed together.

        Raises:
            Closed: the gateway accepts no more requests; another one can answer the same request cycle.
        """
        with self._lock:  # the loop must not end while a request is passed to it
            if self._closed or self._loop is None:
                raise Closed
            self._loop.call_soon_threadsafe(self._start, cycle)
        return cycle.wait()

    def wait_until_loaded(self) -> None:
        """Wait until every module is loaded, or has failed to load.

        Raises:
            HubError: something other than a module failed, so that nothing is served.
        """
        self._loaded.wait()
        if self._failure:
            raise _as_hub_error(self._failure)

    def close(self) -> None:
        """Finish requests in progress, for at most ``drain_timeout_s``, and end every instance."""
        self._running.wait()
        with self._lock:
            if not self._closed and self._loop:
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    # --- in its thread ---

    def _run(self) -> None:
        try:
            uvloop.run(self._serve(self._make_plans()))
        except BaseException as error:
            self._failure = error
            log.exception("the modules of this application cannot be served")
        finally:  # no thread may wait for ever
            with self._lock:
                self._closed = True
            self._running.set()
            self._loaded.set()

    # --- on the loop ---

    def _start(self, cycle: WsgiRequestCycle) -> None:
        cycle.task = asyncio.create_task(cycle.run(self._app, self._telemetry))
        self._tasks.add(cycle.task)
        cycle.task.add_done_callback(self._tasks.discard)

    async def _serve(self, plans: Sequence[ModulePlan]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        dataplane = DataPlane(plans, self._settings.drain_timeout_s)
        models = ModelRepository(dataplane, self._settings, self._search_path)
        context = Context(dataplane, self._settings, models, is_mounted=True, has_pages=self._has_pages)
        set_up_access_log(context)
        set_up_traces(context)
        self._app, self._telemetry = build_app(context), context.telemetry
        self._running.set()
        loading = asyncio.create_task(self._load(dataplane, models))
        try:
            await self._stop.wait()
        finally:
            with self._lock:
                self._closed = True
            loading.cancel()
            outcome, _ = await asyncio.gather(loading, models.stop(), return_exceptions=True)
            has_failed = isinstance(outcome, Exception)
            await dataplane.stop(0 if has_failed else self._settings.drain_timeout_s)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            context.close()
            models.close()
        if has_failed:
            loading.result()

    async def _load(self, dataplane: DataPlane, models: ModelRepository) -> None:
        try:
            await load_modules(dataplane, self._address)
            models.follow()
        except HubError:  # responses report it, too
            log.exception("no module is served")
        except Exception:  # requests are refused, and a later one starts another gateway
            self._stop.set()
            raise
        self._loaded.set()


def _as_hub_error(error: BaseException) -> HubError:
    """Return a separate error for each waiting thread: one object raised by several threads would collect all their tracebacks."""
    if isinstance(error, HubError):
        return type(error)(error.message, error.detail)
    return HubError("the modules of this application cannot be served: an unexpected error while they were set up; the log has the details")

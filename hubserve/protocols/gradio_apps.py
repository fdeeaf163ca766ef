"""Start and end the app processes of modules' pages."""

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import quote

from hubserve.errors import LoadFailed, ModuleNotFound, Unavailable, UnsupportedFace
from hubserve.gateway.background import repeat, run_in_background
from hubserve.gateway.dataplane import DataPlane, ModulePlan, ServedModule
from hubserve.gateway.instances.app_process import AppProcess
from hubserve.gateway.visible_models import Models
from hubserve.paths import tmp_dir

_CHECK_EVERY_S = 1.0
#: pause before an app process that could not be started is tried again
_RETRY_AFTER_S = 5.0
_METHOD = b"create_gradio_app"
_MAX_SOURCE_BYTES = 4 << 20


@dataclass
class _App:
    """A module's page: starting, running or failed."""

    module: ServedModule
    process: AppProcess | None = None
    started: "asyncio.Task[int] | None" = None
    failed_at: float = 0.0

    @property
    def has_ended(self) -> bool:
        """True if the process must be started again; a failed start counts after a pause."""
        if self.started is None or not self.started.done():
            return False
        if self.started.cancelled() or self.started.exception():
            return time.monotonic() - self.failed_at > _RETRY_AFTER_S
        return self.process is None or self.process.is_dead

    def end(self) -> None:
        """Stop the app process."""
        if self.started:
            self.started.cancel()
        if self.process:
            self.process.stop()


class GradioApps:
    """App processes of the served modules, one for each page that was visited.

    Args:
        dataplane: the served modules that the current request may use.
        all_models: all served modules.
        prefix: of the pages' paths.
    """

    def __init__(self, dataplane: Models, all_models: DataPlane, prefix: str) -> None:
        self._dataplane = dataplane
        self._all_models = all_models
        self._prefix = prefix
        self._apps: dict[str, _App] = {}
        self._watch: asyncio.Task[None] | None = None
        self._is_stopping = False

    async def port_of(self, name: str) -> int:
        """Return the port of a module's page, after starting it if needed.

        Raises:
            HubError: the module is not served, has no page, or its page cannot be started.
        """
        try:
            module = self._dataplane.get(name)
        except ModuleNotFound as error:
            raise ModuleNotFound(f"Module {name} is not supported for gradio app. {error.message[:1].upper()}{error.message[1:]}") from None
        if self._is_stopping:
            raise Unavailable("the server is stopping; try again later")
        app = self._apps.get(name)
        if app is None or app.module is not module or app.has_ended:
            if app:
                app.end()
            app = self._apps[name] = self._start(name, module)
        assert app.started, "set by _start"
        return await asyncio.shield(app.started)

    def stop(self) -> None:
        """End every page, and start no more."""
        self._is_stopping = True
        if self._watch:
            self._watch.cancel()
        for app in self._apps.values():
            app.end()

    def _start(self, name: str, module: ServedModule) -> _App:
        if self._watch is None:
            doing = "the pages of modules were checked"
            self._watch = run_in_background(repeat(self._end_stale, _CHECK_EVERY_S, doing), doing)
        app = _App(module)
        app.started = asyncio.get_running_loop().create_task(_start_process(name, app, self._prefix))

        def on_started(task: "asyncio.Task[int]") -> None:
            if not task.cancelled() and task.exception():  # retrieving it also keeps asyncio from logging it
                app.failed_at = time.monotonic()

        app.started.add_done_callback(on_started)
        return app

    async def _end_stale(self) -> None:
        """End the pages of modules that are no longer served, or were replaced by another version."""
        for name, app in [*self._apps.items()]:
            if all(each is not app.module for each in self._all_models.versions(name)):
                app.end()
                self._apps.pop(name, None)


async def _start_process(name: str, app: _App, prefix: str) -> int:
    """Start the app process of a page; return its port.

    Raises:
        UnsupportedFace: the module has no page, as its sources show; none of its code is run.
        LoadFailed: the page cannot be started.
    """
    plan = app.module.plan
    if not plan.instances or not await asyncio.to_thread(_has_app, plan):
        raise UnsupportedFace(f"Module {name} is not supported for gradio app. It has no method create_gradio_app")
    if plan.instances[0].address:
        raise LoadFailed(f"module '{name}' runs on another machine, where its page cannot be started. Serve it without 'addresses'")
    app.process = AppProcess(plan.instances[0], tmp_dir() / "gradio" / quote(name, safe=""), f"{prefix}{quote(name)}")
    await app.process.start()
    return app.process.port


def _has_app(plan: ModulePlan) -> bool:
    """Return True if a source file in the module's folder contains the method's name."""
    left = _MAX_SOURCE_BYTES
    for path in sorted(plan.instances[0].folder.rglob("*.py"), key=lambda each: (each.name != "module.py", str(each))):
        try:
            source = path.read_bytes()
        except OSError:
            continue
        if _METHOD in source:
            return True
        left -= len(source)
        if left < 0:
            break
    return False

"""``/gradio/<module>``: the page that a module's ``create_gradio_app`` creates, as in PaddleHub 2.3 and later.

The page runs in an app process in the module's environment, started at the first visit; requests below ``/gradio/<module>/`` are forwarded
to it. As in PaddleHub, ``/gradio/<module>`` redirects to ``/gradio/<module>/app``, the page itself.
"""

import asyncio
import html
import time
from dataclasses import dataclass
from urllib.parse import quote, unquote

import orjson
from starlette.types import Message, Receive, Scope, Send

from hubserve.errors import HubError, LoadFailed, ModuleNotFound, TooLarge, Unavailable, UnsupportedFace, drop_frames
from hubserve.gateway.background import repeat, run_in_background
from hubserve.gateway.dataplane import ModulePlan, ServedModule
from hubserve.gateway.instances.app_process import AppProcess
from hubserve.instance.app_server import HOST
from hubserve.net.asgi import ClientGone, while_connected
from hubserve.net.headers import header
from hubserve.net.request_body import TooSlow, read_body
from hubserve.paths import tmp_dir
from hubserve.protocols.base import Context, Protocol
from hubserve.protocols.forwarding import Target, forward

_PREFIX = "/gradio/"
_CHECK_EVERY_S = 1.0
_NO_BODY = (b"content-length", b"0")
#: pause before an app process that could not be started is tried again
_RETRY_AFTER_S = 5.0
_METHOD = b"create_gradio_app"
_MAX_SOURCE_BYTES = 4 << 20

_STATUSES: tuple[tuple[type[HubError], int], ...] = (
    (ModuleNotFound, 404),
    (UnsupportedFace, 404),
    (TooLarge, 413),
    (TooSlow, 408),
    (Unavailable, 503),
    (LoadFailed, 503),
    (HubError, 400),
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>hubserve</title></head>
<body style="font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem">
<h1>{status}</h1><p>{text}</p></body></html>
"""


@dataclass
class _App:
    """A module's page: starting, running or failed."""

    module: ServedModule
    process: AppProcess | None = None
    started: "asyncio.Task[int] | None" = None
    failed_at: float = 0.0

    def end(self) -> None:
        """Stop the app process."""
        if self.started:
            self.started.cancel()
        if self.process:
            self.process.stop()


class _PageLimit:
    """Limit of requests to pages, whose streams last as long as a page is open, to leave room for others.

    Args:
        limit: most requests to pages in progress.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0

    def __enter__(self) -> None:
        if self._count >= self._limit:
            raise Unavailable(f"{self._count} requests to pages of modules are in progress, half of max_concurrency; try again later")
        self._count += 1

    def __exit__(self, *_: object) -> None:
        self._count -= 1


class GradioProtocol(Protocol):
    """Handler of ``/gradio/<module>`` and everything below it."""

    prefixes = (_PREFIX,)
    is_mountable = False

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._apps: dict[str, _App] = {}
        self._watch: asyncio.Task[None] | None = None
        self._is_stopping = False
        self._limit = _PageLimit(max(1, context.settings.max_concurrency // 2))
        context.on_stop.append(self._stop)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - bodies are read from the exchange
        """Answer one request."""
        name, slash, rest = _split(scope)
        started = False

        async def send_on(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            with self.admission.admit() as admission, self._limit:
                body = await read_body(scope, self.settings, admission)
                port = await while_connected(scope, self._port_of(name))
                if not slash:
                    location = f"{_PREFIX}{quote(name)}/app".encode()
                    await send_on({"type": "http.response.start", "status": 302, "headers": [(b"location", location), _NO_BODY]})
                    await send_on({"type": "http.response.body", "body": b""})
                    return
                target = Target(HOST, port, _target(rest, scope["query_string"]))
                await while_connected(scope, forward(scope, body, send_on, target, self.settings.request_timeout_s))
        except ClientGone as error:
            drop_frames(error)
        except HubError as error:
            drop_frames(error)
            if not started:  # else the response breaks off, which the client sees
                await _refuse(scope, send, error)

    async def _port_of(self, name: str) -> int:
        """Return the port of a module's page, after starting it if needed.

        Raises:
            HubError: the module is not served, has no page, or its page cannot be started.
        """
        if not self.settings.gradio:
            raise UnsupportedFace("this server shows no pages of modules ('gradio' is false in its configuration)")
        try:
            module = self.dataplane.get(name)
        except ModuleNotFound as error:
            raise ModuleNotFound(f"Module {name} is not supported for gradio app. {error.message[:1].upper()}{error.message[1:]}") from None
        if self._is_stopping:
            raise Unavailable("the server is stopping; try again later")
        app = self._apps.get(name)
        if app is None or app.module is not module or self._has_ended(app):
            if app:
                app.end()
            app = self._apps[name] = self._start(name, module)
        assert app.started, "set by _start"
        return await asyncio.shield(app.started)

    def _has_ended(self, app: _App) -> bool:
        if app.started is None or not app.started.done():
            return False
        if app.started.cancelled() or app.started.exception():
            return time.monotonic() - app.failed_at > _RETRY_AFTER_S
        return app.process is None or app.process.is_dead

    def _start(self, name: str, module: ServedModule) -> _App:
        if self._watch is None:
            doing = "the pages of modules were checked"
            self._watch = run_in_background(repeat(self._end_stale, _CHECK_EVERY_S, doing), doing)
        app = _App(module)
        app.started = asyncio.get_running_loop().create_task(_start_process(name, app))

        def on_started(task: "asyncio.Task[int]") -> None:
            if not task.cancelled() and task.exception():  # retrieving it also keeps asyncio from logging it
                app.failed_at = time.monotonic()

        app.started.add_done_callback(on_started)
        return app

    async def _end_stale(self) -> None:
        """End the pages of modules that are no longer served, or were replaced by another version."""
        for name, app in [*self._apps.items()]:
            if all(each is not app.module for each in self.dataplane.versions(name)):
                app.end()
                self._apps.pop(name, None)

    def _stop(self) -> None:
        self._is_stopping = True
        if self._watch:
            self._watch.cancel()
        for app in self._apps.values():
            app.end()


async def _start_process(name: str, app: _App) -> int:
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
    app.process = AppProcess(plan.instances[0], tmp_dir() / "gradio" / quote(name, safe=""), f"{_PREFIX}{quote(name)}")
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


def _split(scope: Scope) -> tuple[str, bytes, bytes]:
    """Return the module's name, the slash behind it or b"", and the rest of the raw path."""
    name, slash, rest = scope["raw_path"][len(_PREFIX) :].partition(b"/")
    return unquote(name.decode("latin-1")), slash, rest


def _target(rest: bytes, query: bytes) -> bytes:
    path = b"/" if rest == b"app" else b"/" + rest
    return path + b"?" + query if query else path


async def _refuse(scope: Scope, send: Send, error: HubError) -> None:
    status = next(status for cls, status in _STATUSES if isinstance(error, cls))
    if "text/html" in header(scope, b"accept"):
        kind, body = b"text/html; charset=utf-8", _PAGE.format(status=status, text=html.escape(error.message)).encode()
    else:
        answer = {"status": "111", "msg": error.message, "results": "", "error": error.message}
        kind, body = b"application/json", orjson.dumps(answer)
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

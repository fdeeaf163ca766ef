"""Serve modules in a Flask application: ``app.register_blueprint(hubserve.flask.blueprint(["clas_system"]))``."""

import atexit
import io
import os
import threading
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from hubserve import unsupported_platform

if unsupported_platform():  # before the imports below fail for want of what only Linux has
    raise ImportError(unsupported_platform())

try:
    import flask
except ImportError as error:
    raise ImportError("hubserve.flask needs Flask, which is not installed here. Install it with: pip install 'hubserve[flask]'") from error

import orjson
from werkzeug.exceptions import HTTPException

from hubserve.errors import ConfigError, HubError
from hubserve.flask.gateway import Closed, Gateway
from hubserve.flask.request_cycle import WsgiRequestCycle
from hubserve.net.asgi import MOUNTED_AT
from hubserve.protocols import protocol_classes
from hubserve.server.deployment import find_modules, make_plans
from hubserve.server.reload import MakePlans
from hubserve.settings import ServerSettings, parse_settings, read_config
from hubserve.wire.joined_traces import own_trace

__all__ = ["HubBlueprint", "blueprint"]

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE")
#: paths of clients whose base address ends in a slash; PaddleHub's protocol accepts them
_MORE_SLASHES = ("/predict//<path:rest>", "//predict/<path:rest>")
_PAGES = ("/docs", "/health/live", "/health/ready", "/status")
#: rule of the files that ``/docs`` loads
_PAGE_FILES = "/docs/<path:rest>"
_TRACEPARENT = b"traceparent"


def blueprint(
    modules: Sequence[str] | None = None,
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    *,
    url_prefix: str | None = None,
    name: str = "hubserve",
    pages: bool = False,
) -> "HubBlueprint":
    """Return a blueprint that answers ``POST /predict/<module>`` as ``hub serving start`` does.

    Args:
        modules: installed modules (``NAME`` or ``NAME==VERSION``) and folders.
        config: instead: the path of a ``config.json``, or the same as a dict. Its ``host``, ``port`` and ``client_timeout_s`` have
            no effect, as another server runs the application.
        url_prefix: prefix of all paths: with ``"/ml"``, ``/ml/predict/<module>``.
        name: the blueprint's; two in one application need two names.
        pages: whether to answer ``/docs``, ``/health/live``, ``/health/ready``, ``/metrics`` and ``/status`` too, and with a
            ``url_prefix`` that prefix itself with the list of modules.
    Raises:
        ConfigError: neither or both of modules and config are given, or the settings are invalid.
        HubError: a module is not installed.
    """
    if (modules is None) == (config is None):
        raise ConfigError(
            "blueprint takes either modules, such as ['clas_system'], or config, the path of a config.json or a dict; give one"
        )
    search_path: list[Path] = []
    if modules is not None:
        if isinstance(modules, str):
            raise ConfigError(f"blueprint takes a list of modules, got the text '{modules}'; write ['{modules}']")
        settings = parse_settings({"modules_info": find_modules(modules)}, "blueprint")
    elif isinstance(config, Mapping):
        settings = parse_settings(dict(config), "blueprint's config")
    else:
        path = Path(config).expanduser().absolute()  # type: ignore[arg-type]  # not None, as was checked above
        settings, search_path = read_config(path), [path.parent]
    return HubBlueprint(
        settings,
        lambda only=None: make_plans(settings, search_path, only),
        url_prefix=url_prefix,
        name=name,
        pages=pages,
        search_path=search_path,
    )


class HubBlueprint(flask.Blueprint):
    """Blueprint that serves modules; made by :func:`blueprint`.

    Instances are started by the first request in a process, or by :meth:`start`; never when the application is imported, so that the
    parent process of a reloader or of a pre-forking server has none. They end with the process, or with :meth:`close`.
    """

    def __init__(
        self,
        settings: ServerSettings,
        make_plans: MakePlans,
        *,
        url_prefix: str | None,
        name: str,
        pages: bool,
        search_path: Sequence[Path] = (),
    ) -> None:
        super().__init__(name, __name__, url_prefix=url_prefix)
        make_plans()  # report modules that are not installed now, not at the first request
        self._settings = settings
        self._make_plans = make_plans
        self._search_path = search_path
        self._lock = threading.Lock()
        self._gateway: Gateway | None = None
        self._inherited: list[Gateway] = []
        protocols = [each for each in protocol_classes().values() if each.is_mountable and (pages or each.is_for_modules)]
        for prefix in [prefix for protocol in protocols for prefix in protocol.prefixes]:
            self._mount(prefix, prefix, _METHODS)
            if prefix.endswith("/"):
                self._mount(prefix + "<path:rest>", prefix, _METHODS)
        for rule in _MORE_SLASHES:
            self._mount(rule, "/predict/", _METHODS)
        self._has_pages = pages
        if pages:
            self._mount_pages(at_root=not (url_prefix or "").strip("/"))
        _blueprints.add(self)

    def start(self) -> None:
        """Start the instances in this process unless they run, and wait until they are loaded.

        Raises:
            HubError: nothing can be served, for example because a module is no longer installed.
        """
        gateway = self._running()
        try:
            gateway.wait_until_loaded()
        except HubError:
            self._drop(gateway)
            raise

    def close(self) -> None:
        """Finish what is in progress and end the instances; the next request starts them again."""
        with self._lock:
            gateway, self._gateway = self._gateway, None
        if gateway:
            gateway.close()

    def _mount_pages(self, *, at_root: bool) -> None:
        for path in _pages(self._settings):
            self._mount(path, path, ("GET", "OPTIONS"))
        self._mount(_PAGE_FILES, "/docs/", ("GET", "OPTIONS"))
        if not at_root:  # the front page of an application is its own
            self._mount("/", "/", ("GET", "OPTIONS"))

    def _mount(self, rule: str, path: str, methods: Sequence[str]) -> None:
        def view(rest: str = "") -> flask.Response:
            return self._answer(path + rest)

        endpoint = rule.removeprefix("/").translate(str.maketrans("/<:>.", "_____"))
        self.add_url_rule(rule, endpoint, view, methods=methods, provide_automatic_options=False, merge_slashes=False)

    def _answer(self, path: str) -> flask.Response:
        body = _Body()
        cycle = WsgiRequestCycle(_scope(path), body.length, body.read)
        cycle.prepare()
        while True:
            try:
                gateway = self._running()
            except HubError as error:  # such as a module that was uninstalled since the application started
                failure = {"status": "101", "msg": error.message, "results": "", "error": error.message}
                return flask.Response(orjson.dumps(failure), 503, content_type="application/json", headers={"Retry-After": "5"})
            try:
                answer = gateway.answer(cycle)
            except Closed:  # just now, by another thread
                self._drop(gateway)
                continue
            if body.failed:
                raise body.failed
            return flask.Response(answer.body, answer.status, headers=answer.headers)

    def _running(self) -> Gateway:
        """Return the gateway of this process. If its setup fails, all waiting requests fail, and the next request tries again.

        Raises:
            HubError: the setup failed.
        """
        with self._lock:
            if self._gateway is None:
                self._gateway = Gateway(
                    self._settings, self._make_plans, self.url_prefix or "", self._search_path, has_pages=self._has_pages
                )
            gateway = self._gateway
        try:
            gateway.wait_until_running()
        except HubError:
            self._drop(gateway)
            raise
        return gateway

    def _drop(self, gateway: Gateway) -> None:
        """Forget a gateway that has ended, so that the next request starts another one."""
        with self._lock:
            if self._gateway is gateway:
                self._gateway = None

    def _forget(self) -> None:
        """Forget the gateway after a fork: its threads and child processes are the parent's, and its event loop must not be touched."""
        if self._gateway:
            self._inherited.append(self._gateway)
        self._lock, self._gateway = threading.Lock(), None


def _pages(settings: ServerSettings) -> list[str]:
    """Return the paths of hubserve's own pages; the application has no admin surface if that has an address of its own."""
    return [path for path in _PAGES if not (settings.has_own_admin and path == "/status")]


def _headers() -> list[tuple[bytes, bytes]]:
    """Return the headers of Flask's current request, with the application's own span of OpenTelemetry in place of its client's."""
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in flask.request.headers]
    own = own_trace()
    return [*(each for each in headers if each[0] != _TRACEPARENT), (_TRACEPARENT, own.encode())] if own else headers


def _scope(path: str) -> dict[str, Any]:
    """Return the ASGI scope of Flask's current request."""
    request = flask.request
    environ = request.environ
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": environ.get("SERVER_PROTOCOL", "HTTP/1.1").rpartition("/")[2],
        "method": request.method,
        "scheme": request.scheme,
        "path": path,
        "raw_path": path.encode(),
        "query_string": request.query_string,
        "root_path": "",
        MOUNTED_AT: (request.script_root + request.path).removesuffix(path).rstrip("/"),
        "headers": _headers(),
        "client": (request.remote_addr or "", 0),
        "server": None,
    }


class _Body:
    """Body of Flask's current request.

    Attributes:
        length: as announced; None if it was not.
        failed: werkzeug's error while reading: the client disconnected, or the body exceeds the application's own ``MAX_CONTENT_LENGTH``.
    """

    def __init__(self) -> None:
        self.length = flask.request.content_length
        self.failed: HTTPException | None = None
        self._stream: IO[bytes] = flask.request.stream
        self._has_started = False

    def read(self, count: int) -> bytes:
        """Read up to ``count`` bytes; return ``b""`` at the end.

        Raises:
            OSError: the body is incomplete; :attr:`failed` may say why.
        """
        try:
            part = self._stream.read(count)
            if not part and not self._has_started:  # other code of the application, such as a log, has read it before
                self._stream = io.BytesIO(flask.request.get_data())
                part = self._stream.read(count)
        except HTTPException as error:
            self.failed = error
            raise OSError(str(error)) from error
        self._has_started = True
        return part


_blueprints: "weakref.WeakSet[HubBlueprint]" = weakref.WeakSet()


def _forget_all() -> None:
    for each in list(_blueprints):
        each._forget()


def _close_all() -> None:
    for each in list(_blueprints):
        each.close()


os.register_at_fork(after_in_child=_forget_all)
atexit.register(_close_all)

"""Run the gateway: bind, load, serve, drain, end."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvicorn
import uvloop
from starlette.types import ASGIApp

from hubserve.errors import ConfigError
from hubserve.gateway.dataplane import DataPlane, ModulePlan
from hubserve.instance.malloc_tuning import freeze_gc, keep_large_buffers
from hubserve.net.connection_limits import Connections, connections_for, raise_descriptor_limit
from hubserve.net.hosts import is_loopback
from hubserve.net.http1.connection import http_protocol
from hubserve.net.proxies import Proxies
from hubserve.net.tls.listener import TlsListener
from hubserve.protocols import Context
from hubserve.server import pidfile
from hubserve.server.admin_socket import AdminSocket
from hubserve.server.app import build_app, metrics_app
from hubserve.server.engine_watch import EngineWatch
from hubserve.server.exposure import warn_if_open
from hubserve.server.listener import bind, bound_socket
from hubserve.server.loading import load_modules
from hubserve.server.logs import set_up_access_log, set_up_log
from hubserve.server.model_control import ModelRepository
from hubserve.server.reload import MakePlans, Reloader
from hubserve.server.service_manager import ServiceManager
from hubserve.server.shutdown_signals import ShutdownSignals, drop_lost_output
from hubserve.server.side_server import HttpServer, SideServers
from hubserve.server.tls import ServerTls
from hubserve.server.traces import set_up_traces
from hubserve.settings import ServerSettings

if TYPE_CHECKING:
    from hubserve.net.http2.endpoint import Endpoint
    from hubserve.protocols.open_inference.grpc.server import GrpcServer

log = logging.getLogger("hubserve")

#: seconds for an immediate end
_IMMEDIATE_S = 0.5


def serve(settings: ServerSettings, make_plans: MakePlans, search_path: Sequence[Path] = ()) -> None:
    """Serve until a signal arrives; see :class:`hubserve.server.shutdown_signals.ShutdownSignals`.

    Args:
        settings: the server's.
        make_plans: returns the modules; called again for each reload.
        search_path: folders in which relative model stores are looked up first.
    Raises:
        ConfigError: the address cannot be used.
        LoadFailed: no module could be loaded.
    """
    log_writer = set_up_log(settings)
    warn_if_open(settings)
    keep_large_buffers()
    connections = connections_for(
        raise_descriptor_limit(), settings.max_connections, settings.max_connections_per_peer, Proxies(settings).trusts
    )
    plans = make_plans()
    with bind(settings.host, settings.port, settings.client_timeout_s, connections.backlog) as listener:
        try:
            with contextlib.suppress(KeyboardInterrupt):
                uvloop.run(_Gateway(settings, plans, make_plans, listener, connections, search_path).run())
        finally:
            log_writer.close()
            drop_lost_output()


class _Gateway:
    def __init__(
        self,
        settings: ServerSettings,
        plans: Sequence[ModulePlan],
        make_plans: MakePlans,
        listener: socket.socket,
        connections: Connections,
        search_path: Sequence[Path],
    ) -> None:
        self._settings = settings
        self._plans = plans
        self._listener = listener
        self._connections = connections
        self._dataplane = DataPlane(plans, settings.drain_timeout_s)
        self._models = ModelRepository(self._dataplane, settings, search_path)
        self._engines = EngineWatch(self._dataplane, settings.remeasure_engines_after_idle_s)
        self._context = Context(self._dataplane, settings, self._models)
        self._context.connections = connections
        self._tls = ServerTls(settings, connections, self._context.telemetry)
        set_up_access_log(self._context)
        set_up_traces(self._context)
        self._grpc_server: GrpcServer | None = None
        self._server: HttpServer
        self._sides = SideServers()
        self._admin_grpc: list[GrpcServer] = []
        self._manager = ServiceManager()
        self._reloader = Reloader(self._dataplane, make_plans, self._manager)
        self._control = AdminSocket(listener.getsockname()[1], self._answer)

    async def run(self) -> None:
        """Load and serve; requests that arrive while their module loads wait for it."""
        signals = ShutdownSignals()  # from here on, no signal ends the process before its pid file is removed
        with pidfile.held(self._listener.getsockname()[1], [plan.info.name for plan in self._plans]), contextlib.ExitStack() as sockets:
            await self._serve(signals, sockets)

    async def _serve(self, signals: ShutdownSignals, sockets: contextlib.ExitStack) -> None:
        self._grpc_server = None if self._settings.grpc_port is None else _grpc_server(self._context, self._connections)
        on_one_port = self._settings.has_one_port
        http2 = self._grpc_server.endpoint if self._grpc_server and on_one_port else None
        self._server = HttpServer(self._config(build_app(self._context), http2, self._tls.http))
        if self._grpc_server:
            listener = self._listener if on_one_port else self._side_listener("grpc_port", "gRPC")
            await self._grpc_server.start(listener, is_shared=on_one_port, backlog=self._connections.backlog, tls=self._tls.grpc)
        if self._settings.metrics and self._settings.metrics_port is not None:
            self._serve_metrics(self._side_listener("metrics_port", "metrics"))
        self._serve_admin(sockets)
        await self._control.start()
        self._tls.follow()
        serving = asyncio.create_task(self._server.serve([self._listener]))
        loading = asyncio.create_task(self._load())
        stopping = asyncio.create_task(signals.wait())
        watched = asyncio.create_task(self._manager.keep_alive())
        try:
            await asyncio.wait({serving, loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if loading.done():
                loading.result()
                await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if signals.is_received:
                log.info("stopping: no new connections, finishing requests in progress; Ctrl-C again ends at once")
            self._manager.stopping()
            self._control.stop()
            loading.cancel()
            stopping.cancel()
            if not await signals.run_unless_immediate(self._drain(loading, serving, self._settings.drain_timeout_s)):
                log.warning("ending at once; requests in progress are not answered")
                self._server.force_exit = True
                self._sides.stop(at_once=True)
                with contextlib.suppress(asyncio.TimeoutError):  # the kernel ends computing instances together with this process
                    await asyncio.wait_for(self._drain(loading, serving, 0), _IMMEDIATE_S)
            watched.cancel()
            self._context.close()
            self._models.close()
        if serving.done():
            serving.result()

    def _serve_metrics(self, listener: socket.socket) -> None:
        """Serve metrics on a port of their own."""
        self._sides.start(self._config(metrics_app(self._context), None, self._tls.http), listener)
        log.info("metrics: %s/metrics", self._address(listener))

    def _serve_admin(self, sockets: contextlib.ExitStack) -> None:
        """Serve the admin surface at the addresses that the settings give it.

        Args:
            sockets: closes them at the end.
        """
        settings, backlog = self._settings, self._connections.backlog
        if settings.admin_port is not None:
            about = ("--admin-port", " for the admin surface")
            listener = sockets.enter_context(bind(settings.admin_host, settings.admin_port, settings.client_timeout_s, backlog, *about))
            self._open_admin(listener, self._tls.admin, is_socket=False)
            log.info("admin surface: %s", self._address(listener))
            if settings.admin == "local" and not is_loopback(settings.admin_host):
                log.warning("admin_host is '%s', and admin is 'local', so that clients of that address are refused", settings.admin_host)
        if settings.admin_socket:
            listener = sockets.enter_context(bound_socket(Path(settings.admin_socket), backlog, "admin_socket"))
            self._open_admin(listener, None, is_socket=True)
            log.info("admin surface: the socket '%s'", settings.admin_socket)

    def _open_admin(self, listener: socket.socket, tls: TlsListener | None, *, is_socket: bool) -> None:
        context, http2 = self._context.with_admin(is_socket=is_socket), None
        if self._settings.grpc_port is not None:
            grpc_server = _grpc_server(context, self._connections)
            self._admin_grpc.append(grpc_server)
            http2 = grpc_server.endpoint
        self._sides.start(self._config(build_app(context), http2, tls), listener)

    async def _drain(self, loading: "asyncio.Task[None]", serving: "asyncio.Task[None]", drain_s: float) -> None:
        """Finish requests in progress, for at most ``drain_s``, and end all instances."""
        self._context.stop()
        await asyncio.gather(loading, self._models.stop(), self._engines.stop(), return_exceptions=True)
        self._server.should_exit = True
        self._sides.stop()
        self._tls.stop()
        await asyncio.gather(*(each.stop(drain_s) for each in (self._grpc_server, *self._admin_grpc) if each))
        await asyncio.wait({serving})  # not awaited directly: it must continue if this is cancelled
        await self._sides.wait()
        await self._dataplane.stop(drain_s)

    async def _answer(self, request: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Answer a command of this machine; see :meth:`hubserve.server.reload.Reloader.answer`."""
        if request.get("op") == "reload":
            await self._tls.reload()
            if self._context.gate:
                self._context.gate.reload()
        async for line in self._reloader.answer(request):
            yield line

    def _config(self, app: ASGIApp, http2: "Endpoint[Any] | None", tls: TlsListener | None) -> uvicorn.Config:
        settings = self._settings
        make = http_protocol(settings.client_timeout_s, self._context.admission, self._connections, http2, self._context.telemetry)
        return uvicorn.Config(
            app,
            http=tls.secure(make) if tls else make,  # type: ignore[arg-type]  # uvicorn calls any factory
            backlog=self._connections.backlog,
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=max(1, round(settings.drain_timeout_s)),
        )

    def _side_listener(self, setting: str, purpose: str) -> socket.socket:
        """Listen on a port beside that of HTTP.

        Args:
            setting: that has the port.
            purpose: what the port is for.
        """
        settings, option = self._settings, "--" + setting.replace("_", "-")
        port = getattr(settings, setting) or 0
        return bind(settings.host, port, settings.client_timeout_s, self._connections.backlog, option, f" for {purpose}")

    def _address(self, listener: socket.socket) -> str:
        """Return the address of a port for HTTP."""
        host, port = listener.getsockname()[:2]
        return f"{self._tls.scheme}://{'[' + host + ']' if ':' in host else host}:{port}"

    async def _load(self) -> None:
        address = self._address(self._listener)
        names = ", ".join(module.plan.info.name for module in self._dataplane)
        log.info("%s is open; loading %s", address, names or "nothing")
        await load_modules(self._dataplane, address, may_all_fail=bool(self._settings.model_store))
        freeze_gc()
        self._models.follow()
        self._engines.start()
        self._manager.ready(f"serving {names or 'no module'} at {address}")


def _grpc_server(context: Context, connections: Connections) -> "GrpcServer":
    try:
        from hubserve.protocols.open_inference.grpc.server import GrpcServer
    except (ImportError, RuntimeError) as error:
        raise ConfigError(f"grpc_port is set, but gRPC cannot be loaded ({error}). Run: pip install 'hubserve[grpc]'") from None
    return GrpcServer(context, connections)

"""Base class of HTTP protocols, and the context that the protocols of one server share."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from starlette.types import Receive, Scope, Send

from hubserve.access.gate import Gate
from hubserve.access.keys import Need
from hubserve.gateway.dataplane import DataPlane
from hubserve.gateway.visible_models import Models, VisibleModels
from hubserve.net.admission import AdmissionControl
from hubserve.net.connection_limits import Connections
from hubserve.net.hosts import Hosts
from hubserve.net.proxies import Proxies
from hubserve.protocols.admin import AdminSurface
from hubserve.protocols.decoders import Decoders
from hubserve.protocols.documents import JsonBounds
from hubserve.protocols.model_control import ModelControl
from hubserve.protocols.openapi.document import Document
from hubserve.settings import ServerSettings
from hubserve.telemetry.telemetry import Telemetry

T = TypeVar("T")


class Context:
    """State shared by the protocols of one server.

    Args:
        dataplane: the served modules.
        settings: the server's.
        models: loads and unloads models; None if that is not possible.
        is_mounted: whether the protocols run inside another application instead of hubserve's own server.
        has_pages: whether clients find the pages for people beside the protocols, such as ``/docs``.

    Attributes:
        dataplane: the served modules; where the server has keys, those that the key of the current request shows.
        all_models: all served modules, for every request.
        gate: checks keys; None if the server has none.
        settings: the server's.
        models: loads and unloads models while the server runs; None if that is not possible.
        is_mounted: whether the protocols run inside another application.
        has_pages: whether the pages for people are beside the protocols.
        hosts: the server's host names.
        proxies: that are in front of the server.
        connections: limits on its connections; None where another server accepts them.
        admin: access control of the admin surface; None at addresses that do not have it.
        admission: limits on requests in progress and their memory.
        bounds: limits on clients' JSON.
        decoders: decoder processes for large requests.
        telemetry: receives the record of each request.
        describers: add what they serve to the description of the server.
        on_stop: called when the server begins to stop, while requests are still in progress.
        on_close: called once the last request has ended.
    """

    def __init__(
        self,
        dataplane: DataPlane,
        settings: ServerSettings,
        models: ModelControl | None = None,
        *,
        is_mounted: bool = False,
        has_pages: bool = True,
    ) -> None:
        self.telemetry = Telemetry()
        self.gate = Gate(Path(settings.access_keys), self.telemetry.refused) if settings.access_keys else None
        self.all_models = dataplane
        self.dataplane: Models = VisibleModels(dataplane) if self.gate else dataplane
        self.settings = settings
        self.models = models
        self.is_mounted = is_mounted
        self.has_pages = has_pages
        self.hosts = Hosts(settings, is_mounted=is_mounted)
        self.proxies = Proxies(settings)
        self.connections: Connections | None = None
        self.admin = None if settings.has_own_admin else AdminSurface(settings, self.hosts)
        self.admission = AdmissionControl(settings.max_concurrency, settings.max_pending_bytes)
        self.bounds = JsonBounds.of(settings)
        self.decoders = Decoders()
        self.describers: list[Callable[[Document], None]] = []
        self.on_stop: list[Callable[[], None]] = []
        self.on_close: list[Callable[[], None]] = [self.decoders.close]
        self._shared: dict[Callable[[Context], Any], Any] = {}

    def shared(self, create: Callable[["Context"], T]) -> T:
        """Return what ``create`` makes of this context, such as the state of one protocol over several transports; made once."""
        if create not in self._shared:
            self._shared[create] = create(self)
        return cast("T", self._shared[create])

    def with_admin(self, *, is_socket: bool) -> "Context":
        """Return the context of an address that has the admin surface, and shares everything else with this one.

        Args:
            is_socket: whether the address is ``admin_socket`` instead of ``admin_port``.
        """
        other = copy.copy(self)
        other.hosts = Hosts(self.settings, address="localhost" if is_socket else self.settings.admin_host)
        other.admin = AdminSurface(self.settings, other.hosts, is_socket=is_socket)
        other.describers = []
        return other

    def stop(self) -> None:
        """End requests that would otherwise stay open for as long as their clients want."""
        for callback in self.on_stop:
            callback()

    def close(self) -> None:
        """Release what the protocols hold; called once no more requests are accepted."""
        for callback in reversed(self.on_close):
            callback()


class Protocol(ABC):
    """Base of HTTP protocols: a bare ASGI application for the paths under its prefixes.

    Attributes:
        prefixes: one that ends in ``/`` covers all paths that begin with it; any other covers exactly that path.
        is_mountable: whether a WSGI application, which sends complete responses only, can serve it.
        kinds: of modules that it serves; empty for all.
        is_for_modules: whether modules are asked over it.
    """

    prefixes: ClassVar[tuple[str, ...]]
    is_mountable: ClassVar[bool] = True
    kinds: ClassVar[tuple[str, ...]] = ()
    is_for_modules: ClassVar[bool] = True

    def __init__(self, context: Context) -> None:
        self.context = context
        self.dataplane = context.dataplane
        self.settings = context.settings
        self.admission = context.admission

    def describe(self, document: Document) -> None:  # noqa: B027 - a protocol may have nothing to describe
        """Add the protocol's operations to the description of the server; called in a thread, with all that it may describe."""

    def need_of(self, scope: Scope) -> Need:  # noqa: ARG002 - for protocols whose paths differ in it
        """Return what a request needs its key to permit, on a server with keys; its modules are checked where they are found."""
        return Need.INFER

    @abstractmethod
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""

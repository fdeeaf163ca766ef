"""Base class of HTTP protocols, and the context that the protocols of one server share."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, cast

from starlette.types import Receive, Scope, Send

from hubserve.gateway.dataplane import DataPlane
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

    Attributes:
        dataplane: the served modules.
        settings: the server's.
        models: loads and unloads models while the server runs; None if that is not possible.
        is_mounted: whether the protocols run inside another application.
        hosts: the server's host names.
        proxies: that are in front of the server.
        connections: limits on its connections; None where another server accepts them.
        admin: access control of the admin surface.
        admission: limits on requests in progress and their memory.
        bounds: limits on clients' JSON.
        decoders: decoder processes for large requests.
        telemetry: receives the record of each request.
        describers: add what they serve to the description of the server.
        on_stop: called when the server begins to stop, while requests are still in progress.
        on_close: called once the last request has ended.
    """

    def __init__(
        self, dataplane: DataPlane, settings: ServerSettings, models: ModelControl | None = None, *, is_mounted: bool = False
    ) -> None:
        self.dataplane = dataplane
        self.settings = settings
        self.models = models
        self.is_mounted = is_mounted
        self.hosts = Hosts(settings, is_mounted=is_mounted)
        self.proxies = Proxies(settings)
        self.connections: Connections | None = None
        self.admin = AdminSurface(settings, self.hosts)
        self.admission = AdmissionControl(settings.max_concurrency, settings.max_pending_bytes)
        self.bounds = JsonBounds.of(settings)
        self.decoders = Decoders()
        self.telemetry = Telemetry()
        self.describers: list[Callable[[Document], None]] = []
        self.on_stop: list[Callable[[], None]] = []
        self.on_close: list[Callable[[], None]] = [self.decoders.close]
        self._shared: dict[Callable[[Context], Any], Any] = {}

    def shared(self, create: Callable[["Context"], T]) -> T:
        """Return what ``create`` makes of this context, such as the state of one protocol over several transports; made once."""
        if create not in self._shared:
            self._shared[create] = create(self)
        return cast("T", self._shared[create])

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

    @abstractmethod
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""

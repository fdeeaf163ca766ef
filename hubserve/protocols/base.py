"""The base class of HTTP protocols, and the context that the protocols of one server share."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from starlette.types import Receive, Scope, Send

from hubserve.gateway.dataplane import DataPlane
from hubserve.net.admission import Admission
from hubserve.net.hosts import Hosts
from hubserve.protocols.admin import AdminSurface
from hubserve.protocols.decoders import Decoders
from hubserve.protocols.documents import JsonBounds
from hubserve.settings import ServerSettings

if TYPE_CHECKING:
    from hubserve.protocols.open_inference.core.inference import V2Inference
    from hubserve.protocols.open_inference.core.repository import ModelControl


class Context:
    """What the protocols of one server share.

    Args:
        dataplane: the served modules.
        settings: the server's.
        models: loads and unloads models; None if that is not possible.
        is_mounted: whether an application other than hubserve's own server serves them.

    Attributes:
        dataplane: the served modules.
        settings: the server's.
        models: loads and unloads models while the server runs; None where nothing can.
        hosts: the names of the server.
        admin: decides who may use the admin surface.
        admission: bounds what all requests together may take.
        bounds: of clients' JSON.
        decoders: decode large requests.
        on_stop: called when the server begins to stop, while requests are still in progress.
    """

    def __init__(
        self, dataplane: DataPlane, settings: ServerSettings, models: "ModelControl | None" = None, *, is_mounted: bool = False
    ) -> None:
        self.dataplane = dataplane
        self.settings = settings
        self.models = models
        self.hosts = Hosts(settings, is_mounted=is_mounted)
        self.admin = AdminSurface(settings, self.hosts)
        self.admission = Admission(settings.max_concurrency, settings.max_pending_bytes)
        self.bounds = JsonBounds.of(settings)
        self.decoders = Decoders()
        self.on_stop: list[Callable[[], None]] = []

    @cached_property
    def v2(self) -> "V2Inference":
        """The Open Inference Protocol, for each transport that carries it."""
        from hubserve.protocols.open_inference.core.inference import V2Inference
        from hubserve.protocols.open_inference.core.inter_model_calls import OpenInferenceAccess

        v2 = V2Inference(self.dataplane, self.settings, self.models, self.decoders)
        self.dataplane.provide_model_access(OpenInferenceAccess(v2))
        return v2

    def stop(self) -> None:
        """End what would keep requests in progress for ever."""
        for each in self.on_stop:
            each()

    def close(self) -> None:
        """Finish what the protocols do beside answering; called once no more requests are taken."""
        if "v2" in self.__dict__:
            self.v2.traces.close()
        self.decoders.close()


class Protocol(ABC):
    """One way in which clients speak over HTTP: a bare ASGI application for the paths under its prefixes.

    Attributes:
        prefixes: with a ``/`` at its end one stands for all paths that begin so, otherwise for itself alone.
        is_mountable: whether a WSGI application can answer so, which gives whole answers only.
    """

    prefixes: ClassVar[tuple[str, ...]]
    is_mountable: ClassVar[bool] = True

    def __init__(self, context: Context) -> None:
        self.context = context
        self.dataplane = context.dataplane
        self.settings = context.settings
        self.admission = context.admission

    @abstractmethod
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""

"""What every HTTP protocol provides, and the parts of HTTP that they share."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from starlette.types import Receive, Scope, Send

from hubserve.errors import HubError, InvalidInput
from hubserve.protocols.admin import AdminSurface
from hubserve.protocols.admission import Admission
from hubserve.protocols.decoders import Decoders
from hubserve.protocols.documents import JsonBounds
from hubserve.protocols.headers import HEADERS, header
from hubserve.protocols.hosts import Hosts
from hubserve.serving.dataplane import DataPlane
from hubserve.settings import ServerSettings

if TYPE_CHECKING:
    from hubserve.protocols.v2.inference import V2Inference
    from hubserve.protocols.v2.repository import ModelControl

__all__ = ["HEADERS", "ClientGone", "Context", "Protocol", "deadline_of", "header", "priority_of", "respond", "while_connected"]

_HIGHEST_PRIORITY = 100
T = TypeVar("T")


class ClientGone(HubError):
    """The client closed the connection before it was answered."""

    code = "client_gone"


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
        from hubserve.protocols.v2.inference import V2Inference

        return V2Inference(self.dataplane, self.settings, self.models, self.decoders)

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


def deadline_of(scope: Scope, settings: ServerSettings) -> float:
    """When a request is to be given up, on the clock of ``time.monotonic``.

    A client may ask for it in the header ``X-Hub-Timeout-Ms``; the settings' time is the longest.

    Raises:
        InvalidInput: the header is no number of milliseconds above 0.
    """
    sent = header(scope, b"x-hub-timeout-ms")
    if not sent:
        return time.monotonic() + settings.request_timeout_s
    try:
        timeout_s = float(sent) / 1e3
    except ValueError:
        timeout_s = 0.0
    if not timeout_s > 0:
        raise InvalidInput(f"the header X-Hub-Timeout-Ms must be a number of milliseconds above 0, got '{sent[:40]}'")
    return time.monotonic() + min(timeout_s, settings.request_timeout_s)


def priority_of(scope: Scope) -> int:
    """A request's ``X-Hub-Priority`` header; lower ones are computed first, and 0 is usual.

    Raises:
        InvalidInput: it is no whole number from -100 to 100.
    """
    sent = header(scope, b"x-hub-priority")
    try:
        priority = int(sent or "0")
    except ValueError:
        priority = _HIGHEST_PRIORITY + 1
    if abs(priority) > _HIGHEST_PRIORITY:
        raise InvalidInput(f"the header X-Hub-Priority must be a whole number from -100 to 100, got '{sent[:40]}'")
    return priority


async def while_connected(scope: Scope, answer: Awaitable[T]) -> T:
    """Wait for an answer for as long as the client does.

    Args:
        scope: ASGI's, from hubserve's own HTTP connection, which notices that the client leaves.
        answer: is cancelled then.
    Raises:
        ClientGone: the client left.
    """
    exchange = scope["extensions"]["hubserve"]
    exchange.cancel_when_gone = True
    try:
        return await answer
    except asyncio.CancelledError:
        if exchange.gone:
            raise ClientGone("the client closed the connection before its answer came") from None
        raise
    finally:
        exchange.cancel_when_gone = False


async def respond(send: Send, status: int, body: bytes, **headers: Any) -> None:
    """Send a complete answer.

    Args:
        send: ASGI's.
        status: HTTP status code.
        body: the answer, JSON.
        headers: further headers; underscores in names become hyphens.
    """
    extra = [(name.replace("_", "-").encode(), str(value).encode()) for name, value in headers.items()]
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *extra],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def respond_options(send: Send, allowed: str) -> None:
    """Answer an ``OPTIONS`` request as Flask does: 200, with the methods in ``Allow``, and without a body."""
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"allow", allowed.encode()), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})

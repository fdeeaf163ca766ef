"""What every HTTP protocol provides, and the parts of HTTP that they share."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import Any, ClassVar, TypeVar

from starlette.types import Receive, Scope, Send

from hubserve.errors import HubError, TooLarge
from hubserve.serving.dataplane import DataPlane
from hubserve.settings import ServerSettings

#: a body over the limit is read and thrown away up to this many times the limit, so that its sender sees the answer and no reset
_DISCARD_FACTOR = 4
_WATCH_AFTER_S = 0.02
_SMALL_BODY_BYTES = 64 << 10
T = TypeVar("T")


class ClientGone(HubError):
    """The client closed the connection before it was answered."""

    code = "client_gone"


class Protocol(ABC):
    """One way in which clients speak over HTTP: a bare ASGI application for the paths under its prefixes."""

    prefixes: ClassVar[tuple[str, ...]]

    def __init__(self, dataplane: DataPlane, settings: ServerSettings) -> None:
        self.dataplane = dataplane
        self.settings = settings

    @abstractmethod
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request."""


def header(scope: Scope, name: bytes) -> str:
    """A request header's value; "" if it was not sent.

    Args:
        scope: ASGI's.
        name: in lower case.
    """
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return ""


async def read_body(scope: Scope, receive: Receive, max_body_bytes: int) -> memoryview:
    """The whole request body.

    Raises:
        TooLarge: it is longer than ``max_body_bytes``.
        ClientGone: the client left before it was complete.
    """
    announced = header(scope, b"content-length")
    length = int(announced) if announced.isdigit() else None
    if length is not None and length > max_body_bytes and header(scope, b"expect").lower() == "100-continue":
        raise _too_large(max_body_bytes)  # the client waits for leave to send
    body = _Body(length, max_body_bytes)
    more = True
    while more and body.size_bytes <= max_body_bytes * _DISCARD_FACTOR:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone("the client closed the connection before its request was complete")
        body.add(message.get("body", b""))
        more = message.get("more_body", False)
    if body.size_bytes > max_body_bytes:
        raise _too_large(max_body_bytes)
    return body.content()


class _Body:
    """A body that grows: in one place if its length was announced, so that nothing is copied twice."""

    def __init__(self, announced_bytes: int | None, max_body_bytes: int) -> None:
        self.size_bytes = 0
        self._max_body_bytes = max_body_bytes
        self._chunks: list[bytes] = []
        fits = announced_bytes is not None and _SMALL_BODY_BYTES < announced_bytes <= max_body_bytes
        self._whole = bytearray(announced_bytes or 0) if fits else None

    def add(self, chunk: bytes) -> None:
        """Append what came; more than the limit is only counted."""
        start = self.size_bytes
        self.size_bytes += len(chunk)
        if self._whole is not None:
            self._whole[start : self.size_bytes] = chunk
        elif self.size_bytes <= self._max_body_bytes:
            self._chunks.append(chunk)
        else:
            self._chunks.clear()

    def content(self) -> memoryview:
        """All of it, a view of bytes or a bytearray."""
        if self._whole is not None:
            return memoryview(self._whole)
        return memoryview(self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks))


def _too_large(max_body_bytes: int) -> TooLarge:
    return TooLarge(
        f"the request body is over this server's limit of {max_body_bytes} bytes; send fewer items at once or raise 'max_body_bytes'"
    )


async def while_connected(receive: Receive, answer: Awaitable[T]) -> T:
    """Wait for an answer for as long as the client does.

    Args:
        receive: ASGI's, with the body read to its end.
        answer: is cancelled if the client leaves.
    Raises:
        ClientGone: the client left.
    """
    asker = asyncio.current_task()
    watcher: asyncio.Task[None] | None = None
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            continue
        gone = True
        if asker:
            asker.cancel()

    def begin() -> None:
        nonlocal watcher
        watcher = asyncio.create_task(watch())

    # most answers come before it is worth a task to watch for their askers
    timer = asyncio.get_running_loop().call_later(_WATCH_AFTER_S, begin)
    try:
        return await answer
    except asyncio.CancelledError:
        if gone:
            raise ClientGone("the client closed the connection before its answer came") from None
        raise
    finally:
        timer.cancel()
        if watcher:
            watcher.cancel()


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

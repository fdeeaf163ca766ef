"""Helpers for ASGI applications: a request's deadline and priority, waiting while its client is connected, responses."""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any, TypeVar

from starlette.types import Scope, Send

from hubserve.errors import HubError, InvalidInput
from hubserve.net.headers import header
from hubserve.settings import ServerSettings
from hubserve.telemetry.request_record import CURRENT

#: key of the ASGI scope: the path at which another application has mounted the server, and which its own paths lack
MOUNTED_AT = "hubserve.mounted_at"

_HIGHEST_PRIORITY = 100
T = TypeVar("T")


class ClientGone(HubError):
    """The client disconnected before the response was complete."""

    code = "client_gone"


def deadline_of(scope: Scope, settings: ServerSettings) -> float:
    """Return a request's deadline on the clock of ``time.monotonic``.

    A client can set less time in the header ``X-Hub-Timeout-Ms`` than the settings give.

    Raises:
        InvalidInput: the header is not a positive number of milliseconds.
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


def base_path(scope: Scope) -> str:
    """Return the path under which the server's paths begin for its client, such as "/ml", for links; "" for none."""
    return str(scope.get("root_path", "")) + str(scope.get(MOUNTED_AT, ""))


def priority_of(scope: Scope) -> int:
    """Return a request's ``X-Hub-Priority``; lower ones are computed first, 0 is the default.

    Raises:
        InvalidInput: the header is not a whole number from -100 to 100.
    """
    sent = header(scope, b"x-hub-priority")
    try:
        priority = int(sent or "0")
    except ValueError:
        priority = _HIGHEST_PRIORITY + 1
    if abs(priority) > _HIGHEST_PRIORITY:
        raise InvalidInput(f"the header X-Hub-Priority must be a whole number from -100 to 100, got '{sent[:40]}'")
    return permitted_priority(priority)


def permitted_priority(asked: int) -> int:
    """Return the priority of the current request, which its client's key may limit."""
    record = CURRENT.get()
    return asked if record is None or record.access is None else record.access.priority(asked)


async def while_connected(scope: Scope, answer: Awaitable[T]) -> T:
    """Wait for a response for as long as the client is connected.

    Args:
        scope: ASGI's, from a connection of :mod:`hubserve.net.http1`, which notices that the client disconnects.
        answer: cancelled when the client disconnects.
    Raises:
        ClientGone: the client disconnected.
    """
    cycle = scope["extensions"]["hubserve"]
    cycle.cancel_on_disconnect = True
    try:
        return await answer
    except asyncio.CancelledError:
        if cycle.disconnected:
            raise ClientGone("the client closed the connection before it was answered") from None
        raise
    finally:
        cycle.cancel_on_disconnect = False


async def respond(send: Send, status: int, body: bytes | memoryview, *, content_type: str = "application/json", **headers: Any) -> None:
    """Send a complete response.

    Args:
        send: ASGI's.
        status: HTTP status code.
        body: as it is sent.
        content_type: of the body.
        headers: further headers; underscores in names become hyphens.
    """
    extra = [(name.replace("_", "-").encode(), str(value).encode()) for name, value in headers.items()]
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body)), *extra],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def respond_options(send: Send, allowed: str) -> None:
    """Answer an ``OPTIONS`` request as Flask does: 200, with the methods in ``Allow``, and without a body."""
    headers = [(b"content-type", b"text/html; charset=utf-8"), (b"allow", allowed.encode()), (b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})

"""Send responses over HTTP: complete ones, errors, and server-sent events."""

from typing import Any

from starlette.types import Send

from hubserve.errors import HubError, Unavailable
from hubserve.net.request_body import TooSlow
from hubserve.protocols.open_inference.core.errors import WrongMethod, http_status
from hubserve.protocols.open_inference.core.json_tensors import dump_json
from hubserve.telemetry.request_record import note_error

JSON = b"application/json"
BINARY = b"application/octet-stream"
_EVENTS = b"text/event-stream; charset=utf-8"
#: bodies up to this are sent in one part; parts of larger ones are not copied
_JOINED_BYTES = 64 << 10


async def respond(send: Send, status: int, parts: list[Any], content_type: bytes = JSON, headers: Any = ()) -> None:
    """Send a complete response.

    Args:
        send: ASGI's.
        status: HTTP status code.
        parts: of the body, bytes-like.
        content_type: of the body.
        headers: further ones.
    """
    size = sum(map(len, parts))
    if size <= _JOINED_BYTES and len(parts) != 1:
        parts = [b"".join(parts)]
    kind = [(b"content-type", content_type)] if size else []
    await send({"type": "http.response.start", "status": status, "headers": [*kind, (b"content-length", b"%d" % size), *headers]})
    for part in parts[:-1]:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": parts[-1]})


async def respond_json(send: Send, value: Any, status: int = 200) -> None:
    """Send a value as JSON."""
    await respond(send, status, [dump_json(value)])


async def respond_error(send: Send, error: HubError) -> None:
    """Send an error with its status and headers."""
    note_error(error)
    headers = []
    if isinstance(error, Unavailable):
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    elif isinstance(error, WrongMethod):
        headers.append((b"allow", error.allowed.encode()))
    elif isinstance(error, TooSlow):
        headers.append((b"connection", b"close"))
    await respond(send, http_status(error), [error_body(error)], headers=headers)


def error_body(error: HubError) -> bytes:
    """Return the JSON of an error."""
    return dump_json({"error": error.message})


class EventStream:
    """A response of server-sent events; it starts with the first event, so that an error before it can have a status of its own.

    Args:
        send: ASGI's.

    Attributes:
        started: whether the response has started.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def event(self, data: bytes) -> None:
        """Send one event."""
        await self._start()
        await self._send({"type": "http.response.body", "body": b"data: " + data + b"\n\n", "more_body": True})

    async def end(self) -> None:
        """End the response."""
        await self._start()
        await self._send({"type": "http.response.body", "body": b""})

    async def _start(self) -> None:
        if not self.started:
            self.started = True
            headers = [(b"content-type", _EVENTS), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})

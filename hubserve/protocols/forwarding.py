"""Pass one HTTP request on to a server on this machine, and its answer back as it comes: server-sent events and WebSockets, too."""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any, NamedTuple

import h11
from starlette.types import Scope, Send

from hubserve.errors import InvalidInput, Unavailable

_PART_BYTES = 64 << 10
_MOST_HEAD_BYTES = 256 << 10
_CONNECT_S = 10.0
#: answers up to this keep their announced length; longer ones come in chunks, so that the client's pace bounds the memory for them
_MOST_ANNOUNCED_BYTES = 1 << 20
#: headers about one connection, not about the request
_OF_CONNECTION = {
    *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    *(b"expect", b"content-length", b"date", b"server"),
}

Headers = list[tuple[bytes, bytes]]


class Target(NamedTuple):
    """The target of a request.

    Attributes:
        host, port: the server's address.
        path: what to ask for, with the query, as it stands in a request line.
    """

    host: str
    port: int
    path: bytes


class Upstream:
    """One connection to the other server, for one request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MOST_HEAD_BYTES)

    async def send(self, event: Any) -> None:
        """Send a part of the request."""
        data = self._http.send(event)
        if data:
            self._writer.write(data)
            await self._writer.drain()

    async def next(self) -> Any:
        """Return the next part of the answer.

        Raises:
            Unavailable: it does not come, or is not HTTP.
        """
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(_PART_BYTES))
        except (h11.RemoteProtocolError, OSError) as error:
            raise Unavailable(f"the page broke off its answer: {error}") from None
        return event

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass bytes on in both directions until one side ends."""
        early, _ = self._http.trailing_data
        writer.write(early)
        ways = [asyncio.ensure_future(_copy(self._reader, writer)), asyncio.ensure_future(_copy(reader, self._writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in ways:
                each.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            writer.close()

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while part := await reader.read(_PART_BYTES):
            writer.write(part)
            await writer.drain()


async def forward(scope: Scope, body: Any, send: Send, target: Target, head_timeout_s: float) -> None:
    """Pass a request on, and its answer back.

    Args:
        scope: ASGI's, from hubserve's own HTTP connection.
        body: the request's.
        send: ASGI's.
        target: where it goes.
        head_timeout_s: seconds that the other server may take until its answer begins.
    Raises:
        InvalidInput: the path has characters that may not be passed on.
        Unavailable: the other server does not answer; nothing has been sent to the client then, unless the answer broke off.
    """
    is_upgrade = _is_upgrade(scope)
    try:
        request = h11.Request(method=scope["method"], target=target.path, headers=_request_headers(scope, len(body), is_upgrade))
    except h11.LocalProtocolError as error:
        raise InvalidInput(f"the request cannot be passed on: {error}. Write other characters than letters and digits as %XX") from None
    try:
        connecting = asyncio.open_connection(target.host, target.port, limit=_PART_BYTES)
        upstream = Upstream(*await asyncio.wait_for(connecting, _CONNECT_S))
    except (OSError, asyncio.TimeoutError) as error:
        raise Unavailable(f"the page does not answer: {error or 'no connection in time'}") from None
    try:
        await _exchange(scope, body, send, upstream, request, head_timeout_s)
    finally:
        upstream.close()


async def _exchange(scope: Scope, body: Any, send: Send, upstream: Upstream, request: h11.Request, head_timeout_s: float) -> None:
    try:
        head = await asyncio.wait_for(_ask(upstream, request, body), head_timeout_s)
    except asyncio.TimeoutError:
        raise Unavailable(f"the page did not begin its answer within {head_timeout_s:g} s (request_timeout_s)") from None
    except OSError as error:
        raise Unavailable(f"the page does not take the request: {error}") from None
    if isinstance(head, h11.InformationalResponse):
        await upstream.relay(*scope["extensions"]["hubserve"].upgrade(_raw(head)))
        return
    scope["extensions"]["hubserve"].ends_at_eof = not any(name == b"content-length" for name, _ in head.headers)
    await send({"type": "http.response.start", "status": head.status_code, "headers": _answer_headers(_raw(head))})
    while not isinstance(event := await upstream.next(), (h11.EndOfMessage, h11.ConnectionClosed)):
        await send({"type": "http.response.body", "body": bytes(event.data), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _ask(upstream: Upstream, request: h11.Request, body: Any) -> Any:
    """Send the request; returns the head of the answer, or of the change to another protocol."""
    await upstream.send(request)
    for start in range(0, len(body), _PART_BYTES):
        await upstream.send(h11.Data(data=bytes(body[start : start + _PART_BYTES])))
    await upstream.send(h11.EndOfMessage())
    while True:
        event = await upstream.next()
        if isinstance(event, h11.Response):
            return event
        if isinstance(event, h11.InformationalResponse):
            if event.status_code == 101:
                return event
        else:
            raise Unavailable("the page closed the connection without an answer")


def _is_upgrade(scope: Scope) -> bool:
    named = dict(scope["headers"])
    return b"upgrade" in named.get(b"connection", b"").lower() and b"upgrade" in named


def _request_headers(scope: Scope, length: int, is_upgrade: bool) -> Headers:
    named: Headers = scope["headers"]
    kept = _without(named, _OF_CONNECTION | _listed(named))
    if not any(name == b"host" for name, _ in named):  # HTTP/1.0 needs none, the request that is sent does
        kept = [(b"host", b"localhost"), *kept]
    if is_upgrade:
        return [*kept, (b"connection", b"Upgrade"), (b"upgrade", dict(named)[b"upgrade"])]
    has_length = length or any(name in (b"content-length", b"transfer-encoding") for name, _ in named)
    return [*kept, (b"connection", b"close"), *([(b"content-length", b"%d" % length)] if has_length else [])]


def _answer_headers(headers: Headers) -> Headers:
    kept = _without(headers, _OF_CONNECTION | _listed(headers))
    length = dict(headers).get(b"content-length")
    return [*kept, (b"content-length", length)] if length and int(length) <= _MOST_ANNOUNCED_BYTES else kept


def _listed(headers: Headers) -> set[bytes]:
    """Return the headers that ``Connection`` names as its own."""
    return {each.strip().lower() for name, value in headers if name.lower() == b"connection" for each in value.split(b",")}


def _without(headers: Iterable[tuple[bytes, bytes]], names: set[bytes]) -> Headers:
    return [(name, value) for name, value in headers if name.lower() not in names]


def _raw(head: Any) -> Headers:
    return [(bytes(name), bytes(value)) for name, value in head.headers]

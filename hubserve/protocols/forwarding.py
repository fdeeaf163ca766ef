"""Forward one HTTP request to a server on this machine and stream its response back: a reverse proxy, also for events and WebSockets."""

import asyncio
import contextlib
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import h11
from starlette.types import Scope, Send

from hubserve.errors import InvalidInput, Unavailable
from hubserve.net.key_gate import KEY_HEADERS
from hubserve.telemetry.spans import SpanKind
from hubserve.telemetry.trace_context import TRACEPARENT, TRACESTATE

_CHUNK_BYTES = 64 << 10
_MAX_HEAD_BYTES = 256 << 10
_CONNECT_S = 10.0
#: longer responses are sent in chunks without Content-Length, so that the client's pace bounds their memory
_MAX_CONTENT_LENGTH = 1 << 20
#: headers of one connection, which are not forwarded, and those that the server sets itself
_HOP_BY_HOP = {
    *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    *(b"expect", b"content-length", b"date", b"server"),
}
#: headers by which a request names its trace
_TRACE = {TRACEPARENT.encode(), TRACESTATE.encode()}

Headers = list[tuple[bytes, bytes]]


class Target(NamedTuple):
    """Target of a request.

    Attributes:
        host, port: address of the server.
        path: path and query, as in a request line.
    """

    host: str
    port: int
    path: bytes


class Upstream:
    """Connection to the other server for one request."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD_BYTES)

    async def send(self, event: Any) -> None:
        """Send one h11 event of the request."""
        data = self._http.send(event)
        if data:
            self._writer.write(data)
            await self._writer.drain()

    async def next(self) -> Any:
        """Return the next h11 event of the response.

        Raises:
            Unavailable: the connection broke off, or the response is not HTTP.
        """
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(_CHUNK_BYTES))
        except (h11.RemoteProtocolError, OSError) as error:
            raise Unavailable(f"the page broke off its answer: {error}") from None
        return event

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy bytes in both directions until one side ends."""
        early, _ = self._http.trailing_data
        writer.write(early)
        directions = [asyncio.ensure_future(_copy(self._reader, writer)), asyncio.ensure_future(_copy(reader, self._writer))]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in directions:
                each.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            writer.close()

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()


async def forward(scope: Scope, body: Any, send: Send, target: Target, head_timeout_s: float) -> None:
    """Forward a request, and stream its response to the client.

    Args:
        scope: ASGI scope from hubserve's own HTTP connection.
        body: of the request.
        send: ASGI's.
        target: of the request.
        head_timeout_s: longest time until the response begins.
    Raises:
        InvalidInput: the path has characters that must not be forwarded.
        Unavailable: the other server does not respond; nothing was sent to the client, unless the response broke off.
    """
    trace = scope["extensions"]["hubserve"].record.trace
    if trace is None:
        await _forward(scope, body, send, target, head_timeout_s, [])
        return
    context, trace.called_at = trace.new_context(), time.monotonic()
    error = ""
    try:
        await _forward(scope, body, send, target, head_timeout_s, _trace_headers(context.header(), trace.state))
    except BaseException as failure:
        error = str(failure) or type(failure).__name__
        raise
    finally:
        attributes = {"server.address": target.host, "server.port": target.port, "http.request.method": scope["method"]}
        start, parent_id = trace.called_at, trace.context.span_id
        trace.add("forward", start, time.monotonic(), attributes, parent_id=parent_id, context=context, kind=SpanKind.CLIENT, error=error)


async def _forward(scope: Scope, body: Any, send: Send, target: Target, head_timeout_s: float, trace: Headers) -> None:
    is_upgrade = _is_upgrade(scope)
    headers = _request_headers(scope, len(body), is_upgrade)
    if trace:
        headers = [*_without(headers, _TRACE), *trace]
    try:
        request = h11.Request(method=scope["method"], target=target.path, headers=headers)
    except h11.LocalProtocolError as error:
        raise InvalidInput(f"the request cannot be forwarded: {error}. Write other characters than letters and digits as %XX") from None
    try:
        connecting = asyncio.open_connection(target.host, target.port, limit=_CHUNK_BYTES)
        upstream = Upstream(*await asyncio.wait_for(connecting, _CONNECT_S))
    except (OSError, asyncio.TimeoutError) as error:
        raise Unavailable(f"the page does not answer: {error or 'no connection in time'}") from None
    try:
        await _run(scope, body, send, upstream, request, head_timeout_s)
    finally:
        upstream.close()


async def _run(scope: Scope, body: Any, send: Send, upstream: Upstream, request: h11.Request, head_timeout_s: float) -> None:
    try:
        head = await asyncio.wait_for(_send_request(upstream, request, body), head_timeout_s)
    except asyncio.TimeoutError:
        raise Unavailable(f"the page did not begin its answer within {head_timeout_s:g} s (request_timeout_s)") from None
    except OSError as error:
        raise Unavailable(f"the page does not take the request: {error}") from None
    if isinstance(head, h11.InformationalResponse):
        await upstream.relay(*scope["extensions"]["hubserve"].upgrade(_raw(head)))
        return
    scope["extensions"]["hubserve"].ends_at_eof = not any(name == b"content-length" for name, _ in head.headers)
    await send({"type": "http.response.start", "status": head.status_code, "headers": _response_headers(_raw(head))})
    while not isinstance(event := await upstream.next(), (h11.EndOfMessage, h11.ConnectionClosed)):
        await send({"type": "http.response.body", "body": bytes(event.data), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _send_request(upstream: Upstream, request: h11.Request, body: Any) -> Any:
    """Send the request; return the head of the response, or of the switch to another protocol."""
    await upstream.send(request)
    for start in range(0, len(body), _CHUNK_BYTES):
        await upstream.send(h11.Data(data=bytes(body[start : start + _CHUNK_BYTES])))
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
    kept = _without(named, _HOP_BY_HOP | _connection_options(named))
    if scope["extensions"]["hubserve"].record.access is not None:  # else the headers may be the page's own
        kept = _without(kept, {*KEY_HEADERS})
    if not any(name == b"host" for name, _ in named):  # HTTP/1.0 requests may lack it, the forwarded HTTP/1.1 request must not
        kept = [(b"host", b"localhost"), *kept]
    if is_upgrade:
        return [*kept, (b"connection", b"Upgrade"), (b"upgrade", dict(named)[b"upgrade"])]
    has_length = length or any(name in (b"content-length", b"transfer-encoding") for name, _ in named)
    return [*kept, (b"connection", b"close"), *([(b"content-length", b"%d" % length)] if has_length else [])]


def _trace_headers(traceparent: str, tracestate: str) -> Headers:
    state = [(b"tracestate", tracestate.encode())] if tracestate else []
    return [(b"traceparent", traceparent.encode()), *state]


def _response_headers(headers: Headers) -> Headers:
    kept = _without(headers, _HOP_BY_HOP | _connection_options(headers))
    length = dict(headers).get(b"content-length")
    return [*kept, (b"content-length", length)] if length and int(length) <= _MAX_CONTENT_LENGTH else kept


def _connection_options(headers: Headers) -> set[bytes]:
    """Return the headers that ``Connection`` lists as hop-by-hop."""
    return {each.strip().lower() for name, value in headers if name.lower() == b"connection" for each in value.split(b",")}


def _without(headers: Iterable[tuple[bytes, bytes]], names: set[bytes]) -> Headers:
    return [(name, value) for name, value in headers if name.lower() not in names]


def _raw(head: Any) -> Headers:
    return [(bytes(name), bytes(value)) for name, value in head.headers]

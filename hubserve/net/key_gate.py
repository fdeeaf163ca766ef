"""Check the keys of HTTP requests before an application gets them."""

import base64
import binascii
from collections.abc import Callable
from typing import Any

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from hubserve.access.gate import Gate
from hubserve.access.keys import Need, key_in
from hubserve.access.refusals import LimitReached, Unauthenticated
from hubserve.errors import HubError
from hubserve.net.headers import HEADERS, header, headers_of
from hubserve.net.origin_policy import CROSS_ORIGIN
from hubserve.telemetry.request_record import note_error

#: headers that hold a key, which applications of modules must not see
KEY_HEADERS = (b"authorization", b"x-api-key")
_REALM = b'realm="hubserve"'
_BEARER = "Bearer "
#: methods whose responses caches may store
_CACHED_METHODS = ("GET", "HEAD")
_UNAUTHENTICATED, _FORBIDDEN, _TOO_MANY = 401, 403, 429


class KeyGate:
    """Check of the key of each HTTP request.

    Args:
        gate: the check that all protocols share.
        route: returns the application that answers a request.
        need_of: returns what a request to this application needs its key to permit.
    """

    def __init__(self, gate: Gate, route: Callable[[Scope], ASGIApp], need_of: Callable[[ASGIApp, Scope], Need]) -> None:
        self._gate = gate
        self._route = route
        self._need_of = need_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it before its body is read."""
        app = self._route(scope)
        try:
            grant = self._gate.admit(_key_of(scope), self._need_of(app, scope))
        except HubError as error:
            await _refuse(scope, send, error)
            return
        scope["extensions"]["hubserve"].record.access = grant
        if grant.key is not None and scope["method"] in _CACHED_METHODS:
            send = _private(send)
        try:
            await app(scope, receive, send)
        finally:
            grant.end()


def _key_of(scope: Scope) -> str:
    headers = scope.get(HEADERS) or headers_of(scope)
    authorization, api_key = headers.get(b"authorization", b"").decode("latin-1"), headers.get(b"x-api-key")
    if api_key is None and authorization.startswith(_BEARER):  # as most clients write it
        return authorization[len(_BEARER) :].strip()
    sent = key_in("" if api_key is None else api_key.decode("latin-1"), authorization)
    # a browser sends a password to every page of the server, also on behalf of a page of another origin
    return sent or ("" if scope.get(CROSS_ORIGIN) else _password(authorization))


def _password(authorization: str) -> str:
    """Return the password of ``Authorization: Basic``, as which a browser sends a key; "" for none."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value, validate=True).partition(b":")[2].decode("utf-8")
    except (binascii.Error, ValueError):
        return ""


def _private(send: Send) -> Send:
    """Return a ``send`` that keeps caches that clients share, which may not know of ``X-API-Key``, from storing the response."""

    async def send_private(message: Any) -> None:
        if message["type"] == "http.response.start":
            headers = [*message.get("headers", ())]
            if not any(name.lower() == b"cache-control" for name, _ in headers):
                message = {**message, "headers": [*headers, (b"cache-control", b"private")]}
        await send(message)

    return send_private


async def _refuse(scope: Scope, send: Send, error: HubError) -> None:
    note_error(error)
    headers = []
    if isinstance(error, Unauthenticated):
        status = _UNAUTHENTICATED
        headers.append((b"www-authenticate", b"Bearer " + _REALM + (b', error="invalid_token"' if error.is_invalid else b"")))
        if "text/html" in header(scope, b"accept") and not scope.get(CROSS_ORIGIN):  # a browser asks its user for a password
            headers.append((b"www-authenticate", b"Basic " + _REALM))
    elif isinstance(error, LimitReached):
        status = _TOO_MANY
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    else:
        status = _FORBIDDEN
    # for clients of any protocol: PaddleHub's read "msg", those of the Open Inference Protocol "error"
    body = orjson.dumps({"status": str(status), "msg": error.message, "results": "", "error": error.message})
    head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})

"""Limit what web pages may do: refuse requests to a foreign host name, and requests from pages of other origins.

A browser sends a page's request to any address, and the server can distinguish it from other clients' only by three headers that pages
cannot set: ``Host``, ``Origin`` and ``Sec-Fetch-Site``. Pages of the origins in ``cors_origins`` are answered by the CORS protocol
(https://fetch.spec.whatwg.org/#http-cors-protocol). See docs/adr/0024-protect-from-web-pages.md.
"""

import logging
import re
from collections.abc import Iterator
from typing import Any

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from hubserve.errors import one_line
from hubserve.net.headers import HEADERS, header, headers_of
from hubserve.net.hosts import Hosts
from hubserve.net.http1.request_cycle import INTERNAL_ERROR_BODY
from hubserve.settings import ServerSettings

log = logging.getLogger("hubserve")

#: key of the ASGI scope, set for requests from a web page of another, allowed origin
CROSS_ORIGIN = "hubserve.cross_origin"

_CACHED_HOSTS = 256
_METHODS = b"GET, HEAD, POST"
_PREFLIGHT_VALID_S = b"600"
#: response headers that a page may read besides the usual ones
_EXPOSED = b"Inference-Header-Content-Length, Retry-After, Allow"
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~, -]{1,1000}")
_DEFAULT_PORT = {"http": ":80", "https": ":443"}


class OriginPolicy:
    """Check of each request before an application gets it.

    Args:
        settings: the server's.
        hosts: the names of the server.
    """

    def __init__(self, settings: ServerSettings, hosts: Hosts) -> None:
        self._hosts = hosts
        self._allowed = {_normalized(each) for each in settings.cors_origins}
        self._accepted: set[bytes] = set()  # values of Host

    def check(self, scope: Scope) -> "Refusal | CorsRequest | None":
        """Check a request.

        Args:
            scope: ASGI's.
        Returns:
            None if the application answers it, as almost always; else what answers in its place.
        """
        headers = scope.get(HEADERS) or headers_of(scope)
        if headers.get(b"host", b"") in self._accepted and b"origin" not in headers and b"sec-fetch-site" not in headers:
            return None
        return self._check_host(scope) or self._check_origin(scope)

    def _check_host(self, scope: Scope) -> "Refusal | None":
        host = header(scope, b"host")
        if not self._hosts.accepts(host):
            return Refusal(421, f"this server is not named '{host[:80]}'; if it is, add that name to 'allowed_hosts' in its configuration")
        if len(self._accepted) >= _CACHED_HOSTS:
            self._accepted.clear()
        self._accepted.add(headers_of(scope).get(b"host", b""))
        return None

    def _check_origin(self, scope: Scope) -> "Refusal | CorsRequest | None":
        origin, site = header(scope, b"origin"), header(scope, b"sec-fetch-site")
        if site in ("same-origin", "none"):  # even if a proxy has changed Host or the scheme
            return None
        if not origin:
            if not site or "*" in self._allowed or _is_navigation(scope):
                return None
            return Refusal(403, f"a web page of another site ({site}) may not use this server; send its Origin, by fetch in mode 'cors'")
        normal = _normalized(origin)
        if normal in _own_origins(scope):
            return None
        if not self._allowed & {"*", normal}:
            return Refusal(403, f"web pages of the origin '{origin[:80]}' may not use this server; to allow it, add it to 'cors_origins'")
        return CorsRequest("*" if "*" in self._allowed else origin)


class Refusal:
    """Response to a refused request.

    Args:
        status: the HTTP status.
        message: why, and what to do.
    """

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        # for clients of any protocol: PaddleHub's read "msg", those of the Open Inference Protocol "error"
        self._body = orjson.dumps({"status": str(status), "msg": message, "results": "", "error": message})

    async def answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - same signature as CorsRequest
        """Send the refusal."""
        await _send_json(send, self.status, self._body)


class CorsRequest:
    """Response to a request of a page whose origin is allowed.

    Args:
        allowed: the value of its ``Access-Control-Allow-Origin``.
    """

    def __init__(self, allowed: str) -> None:
        self._headers = [(b"access-control-allow-origin", allowed.encode("latin-1")), (b"vary", b"Origin")]
        self._started = False

    async def answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application, or answer the browser's preflight request."""
        if scope["method"] == "OPTIONS" and header(scope, b"access-control-request-method"):
            headers = [*self._headers, *_preflight(scope)]
            await send({"type": "http.response.start", "status": 204, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        scope[CROSS_ORIGIN] = True

        async def send_allowed(message: Any) -> None:
            if message["type"] == "http.response.start":
                self._started = True
                exposed = (b"access-control-expose-headers", _EXPOSED)
                message = {**message, "headers": [*message.get("headers", ()), *self._headers, exposed]}
            await send(message)

        try:
            await app(scope, receive, send_allowed)
        except Exception:
            if self._started:
                raise
            log.exception("an unexpected error while answering %s %s", scope["method"], one_line(scope["path"]))
            await _send_json(send_allowed, 500, INTERNAL_ERROR_BODY)


def _preflight(scope: Scope) -> Iterator[tuple[bytes, bytes]]:
    yield b"access-control-allow-methods", _METHODS
    yield b"access-control-max-age", _PREFLIGHT_VALID_S
    wanted = headers_of(scope).get(b"access-control-request-headers", b"")
    if _HEADER_NAMES.fullmatch(wanted):
        yield b"access-control-allow-headers", wanted
    if header(scope, b"access-control-request-private-network") == "true":
        yield b"access-control-allow-private-network", b"true"


def _own_origins(scope: Scope) -> set[str]:
    """Return the origins of the server's own pages: from the request itself, and from the headers that a proxy adds.

    A page of another origin can send a proxy's headers only after a preflight, which is refused.
    """
    host, scheme = header(scope, b"host"), scope["scheme"]
    proxy_host = header(scope, b"x-forwarded-host").partition(",")[0].strip()
    proxy_scheme = header(scope, b"x-forwarded-proto").partition(",")[0].strip()
    return {_normalized(f"{proxy_scheme or scheme}://{name}") for name in (host, proxy_host) if name}


def _normalized(origin: str) -> str:
    """Return an origin in lower case, without the default port of its scheme."""
    lower = origin.lower()
    return lower.removesuffix(_DEFAULT_PORT.get(lower.partition("://")[0], ""))


def _is_navigation(scope: Scope) -> bool:
    """Return True if a user followed a link to the server: the page that has the link does not see the response."""
    is_document = header(scope, b"sec-fetch-mode") == "navigate" and header(scope, b"sec-fetch-dest") == "document"
    return is_document and scope["method"] in ("GET", "HEAD")


async def _send_json(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

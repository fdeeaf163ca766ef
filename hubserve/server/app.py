"""ASGI application: each protocol under its prefixes, and hubserve's own pages."""

import html
import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from hubserve import __version__
from hubserve.gateway.dataplane import DataPlane
from hubserve.net.asgi import respond
from hubserve.net.origin_policy import OriginPolicy
from hubserve.net.page_headers import with_page_headers
from hubserve.protocols import Context, covers, create_protocols
from hubserve.protocols.admin import AdminSurface, Forbidden
from hubserve.protocols.metrics import Exposition
from hubserve.server.page_operations import describe_pages
from hubserve.server.status import server_status

_SLASHES = re.compile("/{2,}")


def build_app(context: Context) -> ASGIApp:
    """Return the application that uvicorn runs."""
    mounted = [(prefix, name, protocol) for name, protocol in create_protocols(context).items() for prefix in protocol.prefixes]
    own_pages = with_page_headers(_own_pages(context.dataplane, context.admin))
    context.describers.append(describe_pages)
    policy = OriginPolicy(context.settings, context.hosts)
    proxies = context.proxies if context.proxies.are_set else None

    def route(scope: Scope) -> ASGIApp:
        if scope["type"] == "http":
            for prefix, name, protocol in mounted:
                if covers(prefix, scope["path"]):
                    scope["extensions"]["hubserve"].record.protocol = name
                    return protocol
        return own_pages

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if proxies and scope["type"] == "http":
            proxies.apply(scope, scope["extensions"]["hubserve"].record)
        if scope["type"] == "http" and "//" in scope["path"]:
            _drop_slashes(scope)
        other = policy.check(scope) if scope["type"] == "http" else None
        if other:
            await other.answer(route(scope), scope, receive, send)
        else:
            await route(scope)(scope, receive, send)

    return app


def metrics_app(context: Context) -> ASGIApp:
    """Return the application of the port for metrics."""
    exposition = context.shared(Exposition)
    policy = OriginPolicy(context.settings, context.hosts)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answer = policy.check(scope)
        if answer:
            await answer.answer(exposition, scope, receive, send)
        elif scope["path"] == "/metrics":
            await exposition(scope, receive, send)
        else:
            await respond(send, 404, b"this port serves /metrics\n", content_type="text/plain")

    return app


def _drop_slashes(scope: Scope) -> None:
    """Read ``//predict/x``, which clients make from an address that ends in a slash, as ``/predict/x``; other paths stay as they are."""
    path = _SLASHES.sub("/", scope["path"])
    if path.startswith("/predict/"):
        scope["path"] = path


def _own_pages(dataplane: DataPlane, admin: AdminSurface) -> Starlette:
    def json(content: Any, status: int = 200) -> Response:
        return Response(orjson.dumps(content), status, media_type="application/json")

    async def live(_: Request) -> Response:
        return json({"live": True})

    async def ready(_: Request) -> Response:
        reasons = {module.plan.info.name: module.not_ready_reason for module in dataplane if not module.ready}
        return json({"ready": not reasons, "not_ready": reasons}, 503 if reasons else 200)

    async def status(request: Request) -> Response:
        try:
            admin.check(request.scope)
        except Forbidden as error:
            return json({"error": error.message}, 403)
        return json(server_status(dataplane))

    async def index(request: Request) -> Response:
        root = html.escape(request.scope.get("root_path", ""))
        rows = "".join(_row(module.status(), root) for module in dataplane)
        return HTMLResponse(_PAGE.format(version=__version__, rows=rows, root=root))

    return Starlette(
        routes=[
            _page("/", index, "GET", "HEAD", "POST"),
            _page("/health/live", live),
            _page("/health/ready", ready),
            _page("/status", status),
        ]
    )


def _page(path: str, answer: Callable[[Request], Awaitable[Response]], *methods: str) -> Route:
    allowed = [*(methods or ("GET", "HEAD")), "OPTIONS"]

    async def page(request: Request) -> Response:
        if request.method == "OPTIONS":
            return HTMLResponse("", headers={"Allow": ", ".join(allowed)})
        return await answer(request)

    return Route(path, page, methods=allowed)


def _row(status: dict[str, Any], root: str) -> str:
    name = html.escape(status["name"])
    state = "ready" if status["ready"] else html.escape(status["reason"])
    faces = html.escape(", ".join(status["faces"]))
    return (
        f"<tr><td>{name}</td><td>{html.escape(status['version'])}</td><td>{state}</td><td>{faces}</td><td>{root}/predict/{name}</td></tr>"
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>hubserve</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem}}
table{{border-collapse:collapse;width:100%}}td,th{{border-bottom:1px solid #ccc;padding:.3rem .6rem;text-align:left}}</style></head>
<body><h1>hubserve {version}</h1>
<table><tr><th>module</th><th>version</th><th>state</th><th>takes</th><th>POST to</th></tr>{rows}</table>
<p><a href="{root}/status">status</a> <a href="{root}/health/ready">health</a> <a href="{root}/metrics">metrics</a></p></body></html>
"""

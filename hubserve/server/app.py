"""ASGI application: each protocol under its prefixes, and hubserve's own pages."""

import html
import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from hubserve import __version__
from hubserve.access.keys import Need
from hubserve.gateway.dataplane import DataPlane
from hubserve.net.asgi import respond
from hubserve.net.key_gate import KeyGate
from hubserve.net.origin_policy import OriginPolicy
from hubserve.net.page_headers import with_page_headers
from hubserve.protocols import Context, Protocol, covers, create_protocols
from hubserve.protocols.admin import AdminSurface, Forbidden
from hubserve.protocols.metrics import Exposition
from hubserve.server.status import server_status

_LINKS = (("status", "status"), ("health/ready", "health"), ("metrics", "metrics"))
_SLASHES = re.compile("/{2,}")

#: path of hubserve's own page, as in its route -> what it needs its key to permit, on a server with keys; other pages are for admins
PAGE_NEEDS = {
    "/": Need.METADATA,
    "/health/live": Need.OPEN,
    "/health/ready": Need.OPEN,
    "/status": Need.ADMIN,
}


def build_app(context: Context) -> ASGIApp:
    """Return the application that uvicorn runs."""
    mounted = [(prefix, name, protocol) for name, protocol in create_protocols(context).items() for prefix in protocol.prefixes]
    pages = _own_pages(context)
    own_pages = with_page_headers(pages)
    policy = OriginPolicy(context.settings, context.hosts)
    proxies = context.proxies if context.proxies.are_set else None

    def route(scope: Scope) -> ASGIApp:
        if scope["type"] == "http":
            for prefix, name, protocol in mounted:
                if covers(prefix, scope["path"]):
                    scope["extensions"]["hubserve"].record.protocol = name
                    return protocol
        return own_pages

    def need_of(app: ASGIApp, scope: Scope) -> Need:
        return app.need_of(scope) if isinstance(app, Protocol) else _page_need(pages, scope)

    guarded = KeyGate(context.gate, route, need_of) if context.gate else None

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if proxies and scope["type"] == "http":
            proxies.apply(scope, scope["extensions"]["hubserve"].record)
        if scope["type"] == "http" and "//" in scope["path"]:
            _drop_slashes(scope)
        other = policy.check(scope) if scope["type"] == "http" else None
        if other:
            await other.answer(guarded or route(scope), scope, receive, send)
        else:
            await (guarded or route(scope))(scope, receive, send)

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


def _page_need(pages: Starlette, scope: Scope) -> Need:
    if scope["type"] != "http":
        return Need.ADMIN
    found = next((each for each in pages.routes if each.matches(scope)[0] is not Match.NONE), None)
    return Need.ANY if found is None else PAGE_NEEDS.get(getattr(found, "path", ""), Need.ADMIN)


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _own_pages(context: Context) -> Starlette:
    dataplane, all_models, admin = context.dataplane, context.all_models, context.admin

    async def live(_: Request) -> Response:
        return _json({"live": True})

    async def ready(_: Request) -> Response:
        reasons = {module.plan.info.name: module.not_ready_reason for module in all_models if not module.ready}
        shown = {} if context.gate else reasons  # this page needs no key
        return _json({"ready": not reasons, "not_ready": shown}, 503 if reasons else 200)

    async def index(request: Request) -> Response:
        root = html.escape(request.scope.get("root_path", ""))
        rows = "".join(_row(module.status(), root) for module in dataplane)
        links = "".join(f'<a href="{root}/{path}">{name}</a> ' for path, name in _LINKS if admin or path != "status")
        return HTMLResponse(_PAGE.format(version=__version__, rows=rows, links=links))

    return Starlette(
        routes=[
            _page("/", index, "GET", "HEAD", "POST"),
            _page("/health/live", live),
            _page("/health/ready", ready),
            *([_page("/status", _status_page(all_models, admin))] if admin else []),
        ]
    )


def _status_page(dataplane: DataPlane, admin: AdminSurface) -> Callable[[Request], Awaitable[Response]]:
    async def status(request: Request) -> Response:
        try:
            admin.check(request.scope)
        except Forbidden as error:
            return _json({"error": error.message}, 403)
        return _json(server_status(dataplane))

    return status


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
<p>{links}</p></body></html>
"""

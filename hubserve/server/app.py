"""ASGI application: each protocol under its prefixes, and hubserve's own pages."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from hubserve.access.keys import Need
from hubserve.gateway.dataplane import DataPlane
from hubserve.net.asgi import MOUNTED_AT, base_path, respond
from hubserve.net.key_gate import KeyGate
from hubserve.net.origin_policy import OriginPolicy
from hubserve.net.page_headers import with_page_headers
from hubserve.pages.routes import page, routes_for_people
from hubserve.protocols import Context, covers, create_protocols
from hubserve.protocols.admin import AdminSurface, Forbidden
from hubserve.protocols.metrics import Exposition
from hubserve.server.page_operations import describe_pages
from hubserve.server.status import server_status

_SLASHES = re.compile("/{2,}")

#: path of hubserve's own page, as in its route -> what it needs its key to permit, on a server with keys; other pages are for admins
PAGE_NEEDS = {
    "/": Need.METADATA,
    "/docs": Need.OPEN,  # it asks for a key itself, to read the description of the server
    "/docs/{name:path}": Need.OPEN,
    "/health/live": Need.OPEN,
    "/health/ready": Need.OPEN,
    "/status": Need.ADMIN,
}


def build_app(context: Context) -> ASGIApp:
    """Return the application that uvicorn runs."""
    mounted = [(prefix, name, protocol) for name, protocol in create_protocols(context).items() for prefix in protocol.prefixes]
    pages = own_pages_of(context)
    own_pages = with_page_headers(_rooted(pages))
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

    def need_of(app: ASGIApp, scope: Scope) -> Need:
        of_protocol = getattr(app, "need_of", None)  # isinstance() takes long for an abstract class
        return of_protocol(scope) if of_protocol else _page_need(pages, scope)

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


def own_pages_of(context: Context) -> Starlette:
    """Return the application of hubserve's own pages."""
    all_models, admin = context.all_models, context.admin

    async def live(_: Request) -> Response:
        return _json({"live": True})

    async def ready(_: Request) -> Response:
        reasons = {module.plan.info.name: module.not_ready_reason for module in all_models if not module.ready}
        shown = {} if context.gate else reasons  # this page needs no key
        return _json({"ready": not reasons, "not_ready": shown}, 503 if reasons else 200)

    return Starlette(
        routes=[
            page("/health/live", live),
            page("/health/ready", ready),
            *([page("/status", _status_page(all_models, admin))] if admin else []),
            *routes_for_people(context),
        ]
    )


def _rooted(pages: Starlette) -> ASGIApp:
    async def own_pages(scope: Scope, receive: Receive, send: Send) -> None:
        if base := base_path(scope):  # Starlette would cut root_path off from a path that begins with the same again
            scope = {**scope, "root_path": "", MOUNTED_AT: base}
        await pages(scope, receive, send)

    return own_pages


def _status_page(dataplane: DataPlane, admin: AdminSurface) -> Callable[[Request], Awaitable[Response]]:
    async def status(request: Request) -> Response:
        try:
            admin.check(request.scope)
        except Forbidden as error:
            return _json({"error": error.message}, 403)
        return _json(server_status(dataplane))

    return status

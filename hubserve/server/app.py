"""ASGI application: each protocol under its prefixes, and hubserve's own pages."""

import re
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from hubserve.net.asgi import MOUNTED_AT, base_path, respond
from hubserve.net.origin_policy import OriginPolicy
from hubserve.net.page_headers import with_page_headers
from hubserve.pages.routes import page, routes_for_people
from hubserve.protocols import Context, covers, create_protocols
from hubserve.protocols.admin import Forbidden
from hubserve.protocols.metrics import Exposition
from hubserve.server.status import server_status

_SLASHES = re.compile("/{2,}")


def build_app(context: Context) -> ASGIApp:
    """Return the application that uvicorn runs."""
    mounted = [(prefix, name, protocol) for name, protocol in create_protocols(context).items() for prefix in protocol.prefixes]
    own_pages = with_page_headers(_own_pages(context))
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


def _own_pages(context: Context) -> ASGIApp:
    dataplane, admin = context.dataplane, context.admin

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

    pages = Starlette(
        routes=[
            page("/health/live", live),
            page("/health/ready", ready),
            page("/status", status),
            *routes_for_people(context),
        ]
    )

    async def own_pages(scope: Scope, receive: Receive, send: Send) -> None:
        if base := base_path(scope):  # Starlette would cut root_path off from a path that begins with the same again
            scope = {**scope, "root_path": "", MOUNTED_AT: base}
        await pages(scope, receive, send)

    return own_pages

"""The routes of the pages for people, beside those for monitors in :mod:`hubserve.server.app`."""

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from hubserve.pages.api_docs import docs_page
from hubserve.pages.assets import assets
from hubserve.pages.front_page import FrontPage
from hubserve.protocols import Context
from hubserve.protocols.browser_links import link_base


def page(path: str, answer: Callable[[Request], Awaitable[Response]], *methods: str) -> Route:
    """Return the route of one page, which also answers ``OPTIONS``.

    Args:
        path: of the page.
        answer: returns the response.
        methods: that the page takes; GET and HEAD if none are given.
    """
    allowed = [*(methods or ("GET", "HEAD")), "OPTIONS"]

    async def answer_or_options(request: Request) -> Response:
        if request.method == "OPTIONS":
            return HTMLResponse("", headers={"Allow": ", ".join(allowed)})
        return await answer(request)

    return Route(path, answer_or_options, methods=allowed)


def routes_for_people(context: Context) -> list[Route]:
    """Return the routes of ``/``, ``/docs`` and the files that they load."""
    files = assets()
    rendering = asyncio.Lock()  # threads are few, and others need them, too

    async def front(request: Request) -> Response:
        shown = FrontPage(context, request)
        if shown.is_large:
            async with rendering:
                text = await asyncio.to_thread(shown.render)
        else:
            text = shown.render()
        headers = {"Content-Language": shown.language.tag, "Vary": "Accept-Language", "Cache-Control": "private, no-cache"}
        return HTMLResponse(text, headers=headers)

    async def docs(request: Request) -> Response:
        return HTMLResponse(docs_page(link_base(request.scope)), headers={"Cache-Control": "no-cache"})

    async def file(request: Request) -> Response:
        name = request.path_params["name"]
        if name == "":
            return RedirectResponse("../docs", 303)
        found = files.get(name)
        return await found.respond(request) if found else Response("there is no such file\n", 404, media_type="text/plain")

    return [page("/", front, "GET", "HEAD", "POST"), page("/docs", docs), page("/docs/{name:path}", file)]

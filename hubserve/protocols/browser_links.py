"""Lead a browser that opens the address of a module to the module's operation in ``/docs``."""

import html
from urllib.parse import quote

from starlette.types import Scope, Send

from hubserve.net.asgi import base_path, respond
from hubserve.net.headers import header
from hubserve.net.preferences import accepts


def link_base(scope: Scope) -> str:
    """Return what links of pages begin with: the path of the front page, ending in ``/``.

    Args:
        scope: ASGI's.
    Returns:
        "" if no prefix is known: a proxy may cut one off without saying so, and links relative to the page lead past it.
    """
    base = base_path(scope)
    return quote(base, safe="/%~!$&'()*+,;=:@") + "/" if base else ""


def module_link(name: str) -> str:
    """Return the address of a module's operation in ``/docs``, relative to the front page.

    Args:
        name: of the module; the page finds its operation itself.
    """
    return f"docs#module/{quote(name, safe='')}"


def is_from_browser(scope: Scope) -> bool:
    """Return True for a request that asks for a page by name, as browsers do and other clients do not."""
    return scope["method"] in ("GET", "HEAD") and accepts(header(scope, b"accept"), "text/html")


async def lead_to_docs(scope: Scope, send: Send, name: str) -> None:
    """Answer with 303 and the module's place in ``/docs``.

    Args:
        scope: ASGI's.
        send: ASGI's.
        name: of the module, served or not: the answer does not say which.
    """
    depth = str(scope.get("raw_path") or scope["path"].encode(), "latin-1").partition("?")[0].count("/") - 1
    location = (link_base(scope) or "../" * depth) + module_link(name)
    body = f'<!doctype html><title>303</title><a href="{html.escape(location)}">/docs</a>\n'.encode()
    await respond(send, 303, body, content_type="text/html; charset=utf-8", location=location, vary="Accept")

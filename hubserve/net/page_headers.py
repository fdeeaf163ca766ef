"""Add security headers to the server's own pages."""

from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

#: pages load nothing from elsewhere, run no scripts of others, and are shown in no frame
PAGE_HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)


def with_page_headers(app: ASGIApp) -> ASGIApp:
    """Return an application that answers as ``app`` does, with the headers that a page has not set itself."""

    async def wrapped(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                given = {name.lower() for name, _ in headers}
                message = {**message, "headers": [*headers, *(each for each in PAGE_HEADERS if each[0] not in given)]}
            await send(message)

        await app(scope, receive, send_with_headers)

    return wrapped

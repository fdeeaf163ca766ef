"""Look up a request's headers by name."""

from starlette.types import Scope

#: key in ASGI's scope: the request's headers by name; the first one if a name is repeated
HEADERS = "hubserve.headers"


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """Return a request's headers: name in lower case -> value; the first one if a name is repeated.

    Args:
        scope: ASGI's.
    """
    headers: dict[bytes, bytes] | None = scope.get(HEADERS)
    if headers is None:  # each request looks up several headers
        headers = scope[HEADERS] = dict(reversed(scope["headers"]))
    return headers


def header(scope: Scope, name: bytes) -> str:
    """Return a request header's value; "" if it was not sent.

    Args:
        scope: ASGI's.
        name: in lower case.
    """
    headers = scope.get(HEADERS)
    value = (headers_of(scope) if headers is None else headers).get(name)
    return str(value, "latin-1") if value else ""

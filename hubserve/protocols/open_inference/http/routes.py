"""Find the handler of a request by its method and path."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple

from starlette.types import Scope, Send

from hubserve.access.keys import Need
from hubserve.bounded_cache import BoundedCache
from hubserve.errors import HubError
from hubserve.net.admission import Admission
from hubserve.net.asgi import respond_options
from hubserve.protocols.open_inference.core.errors import NoSuchResource, WrongMethod

PREFIX = "/v2/"
_MAX_ROUTES = 256
#: longer paths are not cached
_MAX_PATH_CHARS = 256

#: answers a request, with the named groups of its path's pattern as keyword arguments
Handler = Callable[..., Awaitable[None]]


class Route(NamedTuple):
    """One path of the protocol, and one method.

    Attributes:
        pattern: of the path behind ``/v2/``.
        method: HTTP's.
        handler: answers the requests.
        need: what it needs a client's key to permit.
    """

    pattern: str
    method: str
    handler: Handler
    need: Need


class Router:
    """Routes of the protocol, the most recent ones cached.

    Args:
        routes: the most frequent patterns first.

    Attributes:
        table: all routes.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self.table = tuple(routes)
        handlers: dict[str, dict[str, Handler]] = {}
        self._needs: dict[Handler, Need] = {}
        for pattern, method, handler, need in self.table:
            by_method = handlers.setdefault(pattern, {})
            by_method[method] = handler
            if method == "GET":
                by_method["HEAD"] = handler
            self._needs[handler] = need
        self._routes = [(re.compile(pattern), by_method) for pattern, by_method in handlers.items()]
        self._cache: BoundedCache[tuple[str, str], tuple[Handler, dict[str, str]]] = BoundedCache(_MAX_ROUTES)

    def find(self, method: str, path: str) -> tuple[Handler, dict[str, str]]:
        """Return a request's handler and its keyword arguments.

        Raises:
            NoSuchResource: the protocol does not have this path.
            WrongMethod: the path does not support this method.
        """
        return self._cache.get((method, path)) or self._match(method, path)

    def need_of(self, method: str, path: str) -> Need:
        """Return what a request needs its key to permit; any key will do for one that has no handler."""
        try:
            return self._needs.get(self.find(method, path)[0], Need.ANY)
        except HubError:
            return Need.ANY

    def _match(self, method: str, path: str) -> tuple[Handler, dict[str, str]]:
        for pattern, by_method in self._routes:
            match = pattern.fullmatch(path, len(PREFIX))
            if match is None:
                continue
            handler = by_method.get(method) or (_options(by_method) if method == "OPTIONS" else None)
            if handler is None:
                allowed = ", ".join(by_method)
                raise WrongMethod(f"{path} takes {allowed}, not {method}", allowed)
            found = handler, {name: value for name, value in match.groupdict().items() if value is not None}
            if len(path) <= _MAX_PATH_CHARS:
                self._cache[method, path] = found
            return found
        raise NoSuchResource(f"there is nothing at {path[:200]}; paths of the protocol begin with /v2/models/<model> or /v2/health")


def _options(by_method: Mapping[str, Handler]) -> Handler:
    async def respond(scope: Scope, send: Send, admission: Admission, **arguments: str) -> None:  # noqa: ARG001 - all handlers are called alike
        await respond_options(send, ", ".join([*by_method, "OPTIONS"]))

    return respond

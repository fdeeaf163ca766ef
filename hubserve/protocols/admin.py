"""Restrict the admin surface: load and unload models, register shared memory, change logging and tracing, read the status."""

from collections.abc import Iterable, Mapping

from starlette.types import Scope

from hubserve.errors import HubError
from hubserve.net.headers import header, headers_of
from hubserve.net.hosts import Hosts, is_loopback
from hubserve.settings import ServerSettings

#: set in ASGI's scope of a request that a web page of another, allowed origin makes
CROSS_ORIGIN = "hubserve.cross_origin"
#: each proxy adds at least one of these, or one that begins with ``x-forwarded-``
_OF_PROXIES = {"forwarded", "via", "x-real-ip"}
_WHAT = "the admin surface (models, shared memory, logging, tracing, status)"
_REMEDY = "Connect directly from the server's machine, or set 'admin' to 'any' to let everybody use it who can reach the server"


class Forbidden(HubError):
    """The client may not do this."""

    code = "forbidden"


class AdminSurface:
    """Checks the clients that ask for it.

    Args:
        settings: the server's; ``admin`` says who may.
        hosts: the names of the server.
    """

    def __init__(self, settings: ServerSettings, hosts: Hosts) -> None:
        self._who = settings.admin
        self._hosts = hosts

    def check(self, scope: Scope) -> None:
        """Refuse an HTTP request unless its client may use the admin surface.

        Args:
            scope: ASGI's.
        Raises:
            Forbidden: the message says why.
        """
        if self._who == "any":
            return
        host = header(scope, b"host")
        if scope.get(CROSS_ORIGIN):
            raise _refusal("is not for web pages of other origins, and this request comes from one")
        if not self._hosts.is_own(host):
            raise _refusal(f"answers only to the server's own names, and this request calls it '{host[:80]}' (allowed_hosts)")
        self._check_client((scope.get("client") or ("",))[0], (str(name, "latin-1") for name in headers_of(scope)))

    def check_call(self, peer: str, metadata: Mapping[str, str]) -> None:
        """Refuse a gRPC call unless its client may use the admin surface.

        Args:
            peer: the client's address.
            metadata: of the call, with names in lower case.
        Raises:
            Forbidden: the message says why.
        """
        if self._who != "any":
            self._check_client(peer, metadata)

    def _check_client(self, peer: str, headers: Iterable[str]) -> None:
        if self._who == "off":
            raise Forbidden(f"{_WHAT} is off on this server: 'admin' is 'off'. Set it to 'local' or 'any' to use it")
        if not is_loopback(peer):
            raise _refusal(f"answers only clients on the server's machine, and this request comes from {peer or 'an unknown address'}")
        proxy = next((name for name in headers if name in _OF_PROXIES or name.startswith("x-forwarded-")), "")
        if proxy:
            raise _refusal(f"answers only clients that connect directly, and this request came through a proxy (its header {proxy})")


def _refusal(reason: str) -> Forbidden:
    return Forbidden(f"{_WHAT} {reason}. {_REMEDY}")

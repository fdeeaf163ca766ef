"""Restrict the admin surface: loading and unloading models, shared memory, log and trace settings, and the status page."""

from collections.abc import Iterable, Mapping

from starlette.types import Scope

from hubserve.access.refusals import Forbidden
from hubserve.net.headers import header, headers_of
from hubserve.net.hosts import Hosts, is_loopback
from hubserve.net.origin_policy import CROSS_ORIGIN
from hubserve.settings import ServerSettings
from hubserve.telemetry.request_record import CURRENT

__all__ = ["AdminSurface", "Forbidden"]

#: proxies add at least one of these headers, or one that begins with ``x-forwarded-``
_PROXY_HEADERS = {"forwarded", "via", "x-real-ip"}
_WHAT = "the admin surface (models, shared memory, logging, tracing, status)"
_REMEDY = "Connect directly from the server's machine, or set 'admin' to 'any' to let every client use it that can reach the server"


class AdminSurface:
    """Access control of the admin surface at one address of a server.

    Args:
        settings: the server's; ``admin`` says which clients have access.
        hosts: the server's host names.
        is_socket: whether the address is a Unix socket, which only programs on this machine can open.
    """

    def __init__(self, settings: ServerSettings, hosts: Hosts, *, is_socket: bool = False) -> None:
        self._access = settings.admin
        self._needs_key = bool(settings.access_keys)
        self._hosts = hosts
        self._is_socket = is_socket

    def check(self, scope: Scope) -> None:
        """Refuse an HTTP request unless its client may use the admin surface.

        Args:
            scope: ASGI's.
        Raises:
            Forbidden: the message says why.
        """
        self._check_key()
        if self._access == "any":
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
        self._check_key()
        if self._access != "any":
            self._check_client(peer, metadata)

    def _check_key(self) -> None:
        """Refuse a request without a key of an admin, also one for inference that uses shared memory."""
        if self._needs_key:
            record = CURRENT.get()
            if record is None or record.access is None or not record.access.is_admin:
                raise Forbidden(f"{_WHAT} needs a key with the scope 'admin', which the key of this request lacks")

    def _check_client(self, peer: str, headers: Iterable[str]) -> None:
        if self._access == "off":
            raise Forbidden(f"{_WHAT} is off on this server: 'admin' is 'off'. Set it to 'local' or 'any' to use it")
        if not (self._is_socket or is_loopback(peer)):
            raise _refusal(f"answers only clients on the server's machine, and this request comes from {peer or 'an unknown address'}")
        proxy = next((name for name in headers if name in _PROXY_HEADERS or name.startswith("x-forwarded-")), "")
        if proxy:
            raise _refusal(f"answers only clients that connect directly, and this request came through a proxy (its header {proxy})")


def _refusal(reason: str) -> Forbidden:
    return Forbidden(f"{_WHAT} {reason}. {_REMEDY}")

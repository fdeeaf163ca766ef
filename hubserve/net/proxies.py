"""Take the client's address, scheme, host name and path prefix from the headers of proxies that the settings trust.

A client can send these headers itself, so they count only on connections from trusted addresses, and of ``X-Forwarded-For`` only what
trusted proxies have appended. See docs/nginx.md.
"""

import ipaddress
import re
from typing import Any

from starlette.types import Scope

from hubserve.bounded_cache import BoundedCache
from hubserve.net.headers import HEADERS, header, headers_of
from hubserve.settings import ServerSettings
from hubserve.settings.checks import UNIX_SOCKET
from hubserve.telemetry.request_record import RequestRecord

_PREFIX = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)+")
_LONGEST_PREFIX = 200
#: proxies may stand behind one another, but not without end
_MOST_HOPS = 32
_MOST_KNOWN = 1024
_WITH_PORT = re.compile(r"(\[[^\]]*\]|[^:]*):[0-9]+")


class Proxies:
    """The proxies in front of a server, and the path under which they publish it.

    Args:
        settings: the server's ``trusted_proxies`` and ``root_path``.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._root_path = settings.root_path.rstrip("/")
        self._trusts_sockets = UNIX_SOCKET in settings.trusted_proxies
        self._networks = [ipaddress.ip_network(each) for each in settings.trusted_proxies if each != UNIX_SOCKET]
        self._trusted: BoundedCache[str, bool] = BoundedCache(_MOST_KNOWN)

    @property
    def are_set(self) -> bool:
        """True if requests need to be looked at."""
        return bool(self._root_path or self._networks or self._trusts_sockets)

    def trusts(self, address: str) -> bool:
        """Return True if an address is that of a trusted proxy.

        Args:
            address: of the client of a connection, without the port; "" for a Unix socket.
        """
        if not address:
            return self._trusts_sockets
        if not self._networks:
            return False
        known = self._trusted.get(address)
        if known is None:
            parsed = _address(address)
            known = self._trusted[address] = parsed is not None and any(parsed in network for network in self._networks)
        return known

    def client_of(self, peer: str, forwarded_for: str) -> str:
        """Return the address of the client that a connection's requests come from.

        Args:
            peer: the address of the connection.
            forwarded_for: the values of ``X-Forwarded-For``, joined by commas.
        """
        if not forwarded_for or not self.trusts(peer):
            return peer
        client = peer
        for hop in reversed(forwarded_for.rsplit(",", _MOST_HOPS)):
            with_port = _WITH_PORT.fullmatch(hop.strip())
            address = _address((with_port[1] if with_port else hop.strip()).strip("[]"))
            if address is None:  # not of a proxy that can be trusted to write addresses
                break
            client = str(address)
            if not self.trusts(client):
                break
        return client

    def apply(self, scope: Scope, record: RequestRecord) -> None:
        """Make a request look as it does to its client.

        Args:
            scope: ASGI's; its client, scheme, host, path and ``root_path`` are changed.
            record: of the request.
        """
        client = scope.get("client")
        peer = client[0] if client else ""
        prefix = self._root_path
        if self.trusts(peer):
            forwarded = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for")
            address = self.client_of(peer, str(forwarded, "latin-1"))
            if address != peer:
                scope["client"] = (address, 0)
                record.peer = address
            scheme = _last(header(scope, b"x-forwarded-proto")).lower()
            if scheme in ("http", "https"):
                scope["scheme"] = scheme
            if host := _last(header(scope, b"x-forwarded-host")):
                scope[HEADERS] = {**headers_of(scope), b"host": host.encode("latin-1")}
            given = header(scope, b"x-forwarded-prefix").rstrip("/")
            if not prefix and len(given) <= _LONGEST_PREFIX and _PREFIX.fullmatch(given):
                prefix = given
        if prefix:
            _strip_prefix(scope, prefix)


def _strip_prefix(scope: Scope, prefix: str) -> None:
    """Remove a prefix from a request's path, if the proxy has not done so, and keep it for links."""
    scope["root_path"] = prefix
    path = scope["path"]
    if path == prefix or path.startswith(prefix + "/"):
        scope["path"] = path[len(prefix) :] or "/"
        raw = prefix.encode("latin-1", "replace")
        if scope.get("raw_path", b"").startswith(raw):
            scope["raw_path"] = scope["raw_path"][len(raw) :] or b"/"


def _last(values: str) -> str:
    """Return the value that the nearest proxy has appended."""
    return values.rpartition(",")[2].strip()


def _address(text: str) -> Any:
    """Return an IP address, IPv4 addresses within IPv6 as IPv4; None for other text."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None) or address

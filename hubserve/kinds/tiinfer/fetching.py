"""Limit the addresses that ``urllib`` fetches, for scripts that fetch the URLs that clients send.

Without a limit, every client could make the server read what only the server can reach: its own admin surface, other machines of its
network, a cloud's metadata service. Each connection is checked by the address that it leads to, redirects included, so that a name which
changes its address between check and connection gains nothing.
"""

import http.client
import ipaddress
import os
import socket
import ssl
import urllib.request
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Optional, Sequence, Tuple, Union

#: the rules, separated by spaces: host names, ``*.domain``, ``*``, IP addresses and networks
VARIABLE = "HUBSERVE_ALLOWED_ADDRESSES"

_TIMEOUT_S = 10.0
_MOST_BYTES = 64 << 20
#: IPv6 addresses that stand for IPv4 ones
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_IP = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]


class Rules:
    """The allowed addresses.

    Args:
        rules: names of hosts, which may lead to public addresses, and IP addresses or networks.
    """

    def __init__(self, rules: Sequence[str]) -> None:
        self._names = []
        self._networks = []
        for rule in rules:
            try:
                self._networks.append(ipaddress.ip_network(rule))
            except ValueError:
                self._names.append(rule.lower().rstrip("."))

    def may_look_up(self, host: str) -> bool:
        """Return True if the address of a host can be allowed; the others are refused without a question to the name service."""
        return bool(self._networks) or self.allows_name(host)

    def allows_name(self, host: str) -> bool:
        """Return True if a rule names the host."""
        return any(fnmatchcase(host.lower().rstrip("."), name) for name in self._names)

    def allows(self, host: str, address: str) -> bool:
        """Return True if a host may be fetched at this address."""
        found = ipaddress.ip_address(address.partition("%")[0])
        if any(found in network or _embedded(found) in network for network in self._networks):
            return True
        return self.allows_name(host) and _is_public(found) and _is_public(_embedded(found))


def _embedded(address: _IP) -> _IP:
    """Return the IPv4 address inside an IPv6 one that stands for it; any other address itself."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_public(address: _IP) -> bool:
    return address.is_global and not address.is_multicast


def refuse_other_addresses() -> None:
    """Let ``urllib.request.urlopen`` fetch only http(s) URLs of the allowed addresses from now on, in this process."""
    urllib.request.install_opener(make_opener(Rules(os.environ.get(VARIABLE, "").split())))


def make_opener(rules: Rules) -> urllib.request.OpenerDirector:
    """Return an opener for http(s) URLs and ``data:`` URLs that connects to allowed addresses only, without a proxy."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.UnknownHandler(),
        urllib.request.DataHandler(),
        _Handler(rules),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


class _Handler(urllib.request.AbstractHTTPHandler):
    """Handler of http and https URLs."""

    def __init__(self, rules: Rules) -> None:
        super().__init__()
        self._rules = rules

    def http_open(self, request: urllib.request.Request) -> Any:
        """Open an http URL."""
        return self.do_open(partial(_Connection, self._rules), request)

    def https_open(self, request: urllib.request.Request) -> Any:
        """Open an https URL."""
        secure = partial(_SecureConnection, self._rules, context=ssl.create_default_context())
        return self.do_open(secure, request)

    http_request = https_request = urllib.request.AbstractHTTPHandler.do_request_


class _Response(http.client.HTTPResponse):
    """Response of bounded length."""

    def read(self, amt: Optional[int] = None) -> bytes:
        """Read the body.

        Raises:
            OSError: it is too long.
        """
        if amt is not None:
            return super().read(amt)
        content = super().read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise OSError(f"the content of the URL is over {_MOST_BYTES >> 20} MiB")
        if self.length:
            raise http.client.IncompleteRead(content, self.length)
        return content


class _Connection(http.client.HTTPConnection):
    """Connection to an allowed address."""

    response_class = _Response

    def __init__(self, rules: Rules, host: str, timeout: Any = None, **options: Any) -> None:
        super().__init__(host, timeout=_seconds(timeout), **options)
        self._create_connection = partial(_connect, rules)


class _SecureConnection(http.client.HTTPSConnection):
    """Encrypted connection to an allowed address."""

    response_class = _Response

    def __init__(self, rules: Rules, host: str, timeout: Any = None, **options: Any) -> None:
        super().__init__(host, timeout=_seconds(timeout), **options)
        self._create_connection = partial(_connect, rules)


def _seconds(timeout: Any) -> float:
    """Return a script's timeout; a server that never answers must not hold up the instance if the script sets none."""
    return float(timeout) if isinstance(timeout, (int, float)) else _TIMEOUT_S


def _connect(rules: Rules, address: Tuple[str, int], timeout: float, source: Any = None) -> socket.socket:
    """Connect to the first of a host's addresses that is allowed and answers.

    Raises:
        PermissionError: none is allowed.
        OSError: none answers.
    """
    host, port = address
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM) if rules.may_look_up(host) else []
    allowed = [str(each[4][0]) for each in found if rules.allows(host, str(each[4][0]))]
    if not allowed:
        raise PermissionError(
            f"this server does not fetch from '{host[:100]}'; its operator can allow that by the setting allowed_addresses"
        )
    failure = OSError("no address")
    for each in allowed:
        try:
            return socket.create_connection((each, port), timeout, source)
        except OSError as error:
            failure = error
    raise failure

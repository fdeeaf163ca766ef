"""Check a request's ``Host`` against the names of this server.

A page of a foreign domain can make that domain's name resolve to 127.0.0.1 (DNS rebinding); to the browser, it is then the server's own
page. Only the name in ``Host`` reveals this. An IP address there is never such a name.
"""

import ipaddress
import socket

from hubserve.settings import ServerSettings


class Hosts:
    """Names of a server.

    Args:
        settings: the server's.
        is_mounted: whether another application, which has names of its own, serves the modules.
        address: that is listened on, if it is not the settings' ``host``.
    """

    def __init__(self, settings: ServerSettings, *, is_mounted: bool = False, address: str = "") -> None:
        address = address or settings.host
        allowed = [name.lower().removesuffix(".") for name in settings.allowed_hosts]
        self._names = {"localhost", socket.gethostname().lower(), *allowed} - {"*", ""}
        if not is_mounted:
            self._names.add(address.lower())
        self._suffixes = (".localhost", *(name[1:] for name in allowed if name.startswith("*.")))
        is_open = is_mounted or not _resolves_to_loopback(address)
        self._accepts_any = "*" in allowed or (is_open and not allowed)

    def accepts(self, host: str) -> bool:
        """Return True if requests with this host are answered.

        Args:
            host: the header's value; "" if it was not sent, but every browser sends it.
        """
        return self._accepts_any or self.is_own(host)

    def is_own(self, host: str) -> bool:
        """Return True if this is certainly a name of the server: its own, one of the settings, or an IP address."""
        if not host:
            return True
        name = _name(host)
        return name in self._names or name.endswith(self._suffixes) or _address(name) is not None


def is_loopback(host: str) -> bool:
    """Return True if an address, or ``localhost``, can be reached from this machine only."""
    address = _address(host)
    return address.is_loopback if address else host.lower() == "localhost"


def _resolves_to_loopback(host: str) -> bool:
    """Return True if an address to listen on, which may be a name, can be reached from this machine only."""
    if is_loopback(host) or not host or _address(host):
        return is_loopback(host)
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError:  # listening fails, too
        return False
    return all(is_loopback(str(each[4][0])) for each in found)


def _name(host: str) -> str:
    """Return the name or address without the port."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.lower().removesuffix(".")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None) or address

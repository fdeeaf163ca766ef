"""Canonical spelling of addresses and folders, so that what is recorded for a location holds in every spelling of it.

Spellings that may mean the same location become one, even if some servers distinguish them: writing an index's address in another way must
not avoid the key that is trusted for the index.
"""

import ipaddress
import socket
from pathlib import Path
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

LOOPBACK = "localhost"
_LOOPBACK_NAMES = ("localhost.localdomain", "ip6-localhost", "ip6-loopback")
_PORTS = {"https": 443, "http": 80}
_PLAIN = "!$&'()*+,;=:@"


def canonical_host(host: str) -> str:
    """Return a host's name in lower case and ASCII, an IP address in its usual form, and ``localhost`` for every name of this machine.

    Args:
        host: as in a URL, without brackets; ``127.1``, ``0x7f000001`` and ``2130706433`` are addresses, too.
    """
    name = _ascii(host).rstrip(".").lower()
    if name in _LOOPBACK_NAMES or name.endswith("." + LOOPBACK) or is_loopback(name):
        return LOOPBACK
    address = _address(name)
    if address is None:
        return name
    return LOOPBACK if address.is_unspecified else address.compressed  # 0.0.0.0 and :: connect to this machine


def is_loopback(host: str) -> bool:
    """Return True for ``localhost`` and loopback addresses; no name is looked up."""
    address = _address(host)
    return host.lower() == LOOPBACK if address is None else address.is_loopback


def _ascii(host: str) -> str:
    if host.isascii():
        return host
    import idna  # as requests does

    try:
        return idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError:
        return host


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        if ":" not in name:
            return ipaddress.IPv4Address(socket.inet_aton(name))
        address = ipaddress.IPv6Address(name)
    except (OSError, ValueError):
        return None
    return address.ipv4_mapped or address


def canonical_location(location: str) -> str:
    """Return the canonical spelling of an index's location, without credentials, query and fragment; for a folder, its real path.

    Args:
        location: ``https://HOST/PATH`` or a folder.
    """
    if "://" not in location:
        return str(Path(location).expanduser().resolve())
    try:
        parts = urlsplit(location)
        host, port = canonical_host(parts.hostname or ""), parts.port
    except ValueError:
        return location  # not a valid address: opening it fails
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port in (None, _PORTS.get(parts.scheme)) else f"{shown}:{port}"
    return f"{parts.scheme}://{authority}{_canonical_path(parts.path)}"


def index_key(location: str) -> str:
    """Return the key under which trusted keys and seen versions of an index are stored: its location, the same for https and http."""
    canonical = canonical_location(location)
    return canonical.partition(":")[2] if "://" in canonical else canonical


def _canonical_path(path: str) -> str:
    """Undo unneeded percent-encoding, and remove dot segments, empty segments and a trailing slash."""
    segments: list[str] = []
    for segment in unquote_to_bytes(path).split(b"/"):
        if segment == b"..":
            segments = segments[:-1]
        elif segment not in (b"", b"."):
            segments.append(quote_from_bytes(segment, safe=_PLAIN))
    return "".join("/" + each for each in segments)

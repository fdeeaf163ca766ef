"""Give each address and folder one spelling, so that what is recorded for a location holds in every spelling of it.

Where two spellings may mean the same place they become one, even if some server tells them apart: a key that is trusted for an index must
not be escaped by writing the index's address in another way.
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
    """Return a host's name in lower case and ASCII, an address in its usual form, and ``localhost`` for whatever means this machine.

    Args:
        host: as it stands in an address, without brackets; ``127.1``, ``0x7f000001`` and ``2130706433`` are addresses, too.
    """
    name = _ascii(host).rstrip(".").lower()
    if name in _LOOPBACK_NAMES or name.endswith("." + LOOPBACK) or is_loopback(name):
        return LOOPBACK
    address = _address(name)
    if address is None:
        return name
    return LOOPBACK if address.is_unspecified else address.compressed  # what is sent to 0.0.0.0 or :: arrives at this machine


def is_loopback(host: str) -> bool:
    """Return True if a host means this machine without a name lookup: ``localhost``, or a loopback address."""
    address = _address(host)
    return host.lower() == LOOPBACK if address is None else address.is_loopback


def _ascii(host: str) -> str:
    if host.isascii():
        return host
    import idna  # what requests asks with

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
    """Return the one spelling of an index's place, without credentials, query and fragment; a folder's is its real path.

    Args:
        location: ``https://HOST/PATH`` or a folder.
    """
    if "://" not in location:
        return str(Path(location).expanduser().resolve())
    try:
        parts = urlsplit(location)
        host, port = canonical_host(parts.hostname or ""), parts.port
    except ValueError:
        return location  # not an address: it is refused where it is opened
    shown = f"[{host}]" if ":" in host else host
    authority = shown if port in (None, _PORTS.get(parts.scheme)) else f"{shown}:{port}"
    return f"{parts.scheme}://{authority}{_canonical_path(parts.path)}"


def index_key(location: str) -> str:
    """Return what trusted keys and memories of an index are kept by: its place, whether it is reached by https or http."""
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

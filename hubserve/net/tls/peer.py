"""Recognise a TLS client by its first byte, and read the subject of its certificate."""

from typing import Any

#: the first bytes of a TLS client: a handshake record of any version
TLS_START = b"\x16\x03"
_SHORT = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
}
_LONGEST = 400


def certificate_subject(transport: Any) -> str:
    """Return the subject of the client's verified certificate, such as ``CN=alice,O=Example``.

    Args:
        transport: the connection's.
    Returns:
        The subject, the most specific name first as in RFC 4514; the first alternative name if it is empty; "" without a certificate.
    """
    certificate = transport.get_extra_info("peercert") or {}
    names = [f"{_SHORT.get(key, key)}={_escaped(value)}" for part in reversed(certificate.get("subject", ())) for key, value in part]
    if not names:
        names = [f"{kind}:{value}" for kind, value in certificate.get("subjectAltName", ())[:1]]
    return ",".join(names)[:_LONGEST]


def _escaped(value: str) -> str:
    """Return a value in which no character can be mistaken for the next name, and none controls a terminal or a log."""
    return "".join(f"\\{each}" if each in ',+"\\<>;=' else each if each.isprintable() else "?" for each in value)

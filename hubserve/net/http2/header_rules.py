"""Check header lists: RFC 9113, sections 8.1.1, 8.2 and 8.3.

A server that passes a malformed list on says something else to the server behind it than the client said: that is request smuggling. So a
malformed request is a stream error and never answered.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Field = tuple[bytes, bytes]
T = TypeVar("T")

_is_name = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+").fullmatch
_find_bad_value = re.compile(rb"[\0\r\n]|\A[ \t]|[ \t]\Z").search
_is_number = re.compile(rb"[0-9]{1,18}").fullmatch
_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))
_CONNECTION_HEADERS = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """A decoded header list.

    Attributes:
        head: the request; None if it is malformed.
        body_bytes: its ``content-length``; None if it has none.
        fault: why the request is malformed; "" if it is valid.
        trailers_fault: why the list is malformed as trailers; "" if it is valid.
    """

    head: T | None
    body_bytes: int | None
    fault: str
    trailers_fault: str


def read_request(make: Callable[[list[Field]], T], fields: list[Field]) -> Request[T]:
    """Check a header list, and make a request from it.

    Args:
        make: makes the head of a valid list.
        fields: the list.
    """
    pseudo: dict[bytes, bytes] = {}
    regular: dict[bytes, bytes] = {}
    for name, value in fields:
        if name in _PSEUDO:
            fault = "repeated pseudo-header" if name in pseudo else "pseudo-header after regular headers" if regular else ""
            pseudo[name] = value
        else:
            fault = _fault_of(name, value, regular)
            regular[name] = value
        if fault or _find_bad_value(value):
            fault = fault or "header value has CR, LF or NUL, or starts or ends with a space"
            return Request(None, None, fault, fault)
    trailers_fault = "pseudo-header in trailers" if pseudo else ""
    fault = _fault_of_pseudo(pseudo, regular.get(b"host"))
    if fault:
        return Request(None, None, fault, trailers_fault)
    length = regular.get(b"content-length")
    return Request(make(fields), None if length is None else int(length), "", trailers_fault)


def _fault_of(name: bytes, value: bytes, before: dict[bytes, bytes]) -> str:
    """Return the fault of a regular header; "" if it is valid."""
    if not _is_name(name):
        return "header name is not in lower case, or has invalid characters"
    if name in _CONNECTION_HEADERS:
        return f"connection-specific header '{name.decode()}'"
    if name == b"te" and value.lower() != b"trailers":
        return "'te' other than 'trailers'"
    if name == b"content-length" and (not _is_number(value) or before.get(name, value) != value):
        return "'content-length' is not a number, or there are several"
    return ""


def _fault_of_pseudo(pseudo: dict[bytes, bytes], host: bytes | None) -> str:
    """Return the fault of a request's pseudo-headers; "" if they are valid."""
    authority = pseudo.get(b":authority")
    if pseudo.get(b":method") == b"CONNECT":
        return "" if authority and len(pseudo) == 2 else "CONNECT requires ':authority', without ':scheme' and ':path'"
    for name in (b":method", b":scheme", b":path"):
        if not pseudo.get(name):
            return f"'{name.decode()}' is missing or empty"
    path = pseudo[b":path"]
    if path[:1] != b"/" and (path != b"*" or pseudo[b":method"] != b"OPTIONS"):
        return "':path' does not begin with '/'"
    if host is not None and authority is not None and host.lower() != authority.lower():
        return "'host' and ':authority' differ"
    return ""

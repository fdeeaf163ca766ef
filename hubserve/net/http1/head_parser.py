"""Parse request heads, strictly.

What RFC 9112 forbids is refused, and so is most of what it lets a server tolerate: a proxy in front may understand it differently, and
would then see other requests on the connection than this server (request smuggling). The grammar is two regular expressions, further rules
are checked below, and no later code checks a head again.
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from hubserve.net.headers import HEADERS

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_VALUE = rb"[\t\x20-\x7e\x80-\xff]*"
_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])\r\n")
_FIELDS = re.compile(rb"(?:" + _TOKEN + rb":" + _VALUE + rb"\r\n)*\r\n")
_FIELD = re.compile(rb"([^:\r\n]+):[ \t]*([^\r\n]*)\r\n")
#: one line of headers or trailers, without its end
FIELD_LINE = re.compile(_TOKEN + rb":" + _VALUE)
_HOST = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*|\[[A-Za-z0-9:.%\-_~]+\])(?::[0-9]*)?")
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)([^?#]*)\??([^#]*)", re.IGNORECASE)
#: headers that must not be repeated
_SINGLE = (b"host", b"content-length", b"transfer-encoding")
_METHODS = {b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"}
#: a number with more digits than this is not accepted as a length
_MAX_DIGITS = 18
MAX_FIELDS = 256


class BadRequest(Exception):
    """The received bytes are not a request that an application answers.

    Args:
        status: the HTTP status of the response.
        text: what is wrong, and what to do.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(slots=True, frozen=True)
class Head:
    """A parsed request head.

    Attributes:
        scope: ASGI's scope of its requests, without the connection's values.
        keep_alive: whether another request may follow.
        announced_bytes: the announced length of the body; 0 if none was announced.
        is_chunked: whether the body is chunked.
        expects_continue: whether the client waits for "100 Continue" before it sends the body.
    """

    scope: dict[str, Any]
    keep_alive: bool
    announced_bytes: int
    is_chunked: bool
    expects_continue: bool


def parse_head(raw: bytes) -> Head:
    """Parse a head.

    Args:
        raw: the complete head, with the empty line at its end.
    Raises:
        BadRequest: it is malformed or ambiguous, or requests something that is not supported.
    """
    line = _REQUEST_LINE.match(raw)
    if line is None or not _FIELDS.fullmatch(raw, line.end()):
        raise _malformed(raw)
    method, target, major, minor = line.groups()
    if method not in _METHODS:
        raise BadRequest(501, "the method is not one of " + ", ".join(sorted(each.decode() for each in _METHODS)))
    if major != b"1" or minor not in b"01":
        raise BadRequest(505, "this version of HTTP is not supported; send HTTP/1.1")
    is_1_0 = minor == b"0"
    headers = [(name.lower(), value.rstrip(b" \t")) for name, value in _FIELD.findall(raw, line.end())]
    if len(headers) > MAX_FIELDS:
        raise BadRequest(431, f"the request has {len(headers)} headers, the most is {MAX_FIELDS}")
    # the first one counts if a name is repeated
    named = dict(reversed(headers))
    if len(named) < len(headers):
        _check_single(headers)
    _check_host(named.get(b"host"), is_1_0)
    path, query, authority = _read_target(method, target)
    if authority:  # RFC 9112, 3.2.2: it replaces the header
        _check_host(authority, is_1_0)
        headers = [(b"host", authority), *(each for each in headers if each[0] != b"host")]
        named[b"host"] = authority
    length, is_chunked = _framing(named, is_1_0)
    expected = named.get(b"expect", b"").lower()
    if expected not in (b"", b"100-continue"):
        raise BadRequest(417, "this value of the header Expect is not supported; leave it out, or send 100-continue")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.0" if is_1_0 else "1.1",
        "method": method.decode("ascii"),
        "scheme": "http",
        "path": unquote(path.decode("latin-1")) if b"%" in path else path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        HEADERS: named,
    }
    keep_alive = not is_1_0 and not (b"connection" in named and _has_close(headers))
    return Head(scope, keep_alive, length, is_chunked, bool(expected) and not is_1_0)


def check_request_line(raw: bytes) -> None:
    """Refuse a malformed request line before the rest of its head has arrived.

    Raises:
        BadRequest: the line is malformed.
    """
    if not _REQUEST_LINE.match(raw):
        raise _malformed(raw)


def _malformed(raw: bytes) -> BadRequest:
    if not _REQUEST_LINE.match(raw):
        return BadRequest(400, "malformed request line; send 'METHOD /path HTTP/1.1', with CR LF at its end")
    return BadRequest(400, "malformed header line; send 'Name: value', in one line that ends with CR LF and holds no control characters")


def _check_single(headers: list[tuple[bytes, bytes]]) -> None:
    for name in _SINGLE:
        if sum(each == name for each, _ in headers) > 1:
            raise BadRequest(400, f"the header {name.decode().title()} is repeated; send it once")


def _check_host(host: bytes | None, is_1_0: bool) -> None:
    if host is None:
        if not is_1_0:
            raise BadRequest(400, "the header Host is missing; send it")
    elif not _HOST.fullmatch(host):
        raise BadRequest(400, "malformed host; send a name or an address, and a port if it is not 80")


def _framing(named: dict[bytes, bytes], is_1_0: bool) -> tuple[int, bool]:
    """Return the announced length of the body, and whether it is chunked."""
    length = named.get(b"content-length")
    coding = named.get(b"transfer-encoding")
    if coding is not None:
        if length is not None:
            raise BadRequest(400, "the request has both Content-Length and Transfer-Encoding; send one of them")
        if coding.lower() != b"chunked":
            raise BadRequest(400, "this transfer coding is not supported; send 'chunked' alone")
        if is_1_0:
            raise BadRequest(400, "HTTP/1.0 has no Transfer-Encoding; send Content-Length, or HTTP/1.1")
        return 0, True
    if length is None:
        return 0, False
    if not length.isdigit() or len(length) > _MAX_DIGITS:
        raise BadRequest(400, f"Content-Length is not one number of up to {_MAX_DIGITS} digits; send the body's length in bytes")
    return int(length), False


def _has_close(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"connection" and b"close" in map(bytes.strip, value.lower().split(b",")) for name, value in headers)


def _read_target(method: bytes, target: bytes) -> tuple[bytes, bytes, bytes]:
    """Return the path, the query, and the host if the target has one."""
    if target.startswith(b"/"):
        path, _, query = target.partition(b"#")[0].partition(b"?")
        return path, query, b""
    if target == b"*" and method == b"OPTIONS":
        return target, b"", b""
    absolute = _ABSOLUTE.match(target)
    if not absolute:
        raise BadRequest(400, "malformed request target; send a path that begins with '/', or http://host/path")
    return absolute[2] or b"/", absolute[3], absolute[1]

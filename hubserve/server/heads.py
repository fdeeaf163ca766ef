"""Heads of requests: the request line and the headers, parsed.

A client that keeps its connection sends the same head again and again: only the body differs. A head whose bytes came before means what it
meant then, so that it is looked up instead of being parsed.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httptools

from hubserve.protocols.base import HEADERS
from hubserve.recent import Recent

_END = b"\r\n\r\n"
#: of so many heads it is remembered what they mean, of up to so many bytes each
_REMEMBERED = 256
_MAX_BYTES = 2048
#: with these, more than the head itself says what follows it
_OTHERS_DECIDE = {b"transfer-encoding", b"upgrade", b"expect"}


@dataclass(slots=True, frozen=True)
class Head:
    """One head.

    Attributes:
        scope: ASGI's scope of its requests, without what differs from connection to connection.
        keep_alive: whether another request may follow.
        announced_bytes: of the body, as its length was announced; else 0.
        expects_continue: whether the client waits for leave to send the body.
    """

    scope: dict[str, Any]
    keep_alive: bool
    announced_bytes: int
    expects_continue: bool


class Heads:
    """The heads of one server's requests."""

    def __init__(self) -> None:
        self._known: Recent[bytes, Head] = Recent(_REMEMBERED)

    def find(self, data: bytes) -> tuple[Head | None, int]:
        """Look up the head that some bytes begin with.

        Args:
            data: what came where a request may begin.
        Returns:
            The head, None if it did not come before; and its length in bytes, 0 if not all of it is there.
        """
        length = data.find(_END) + len(_END)
        if length < len(_END):
            return None, 0
        return self._known.get(data[:length]), length

    def remember(self, raw: bytes, head: Head) -> None:
        """Keep a head that was parsed, if its bytes alone say what follows.

        Args:
            raw: what came, up to the first empty line.
            head: the first that the parser found in it.
        """
        if len(raw) <= _MAX_BYTES and _is_plain(raw) and _is_usual(head):
            self._known[raw] = head


def _is_plain(raw: bytes) -> bool:
    """Whether the head is surely all of it: the parser skips empty lines in front, and might end one at something else."""
    return 65 <= raw[0] <= 90 and raw.count(b"\n") == raw.count(b"\r\n") == raw.count(b"\r")


def _is_usual(head: Head) -> bool:
    named: dict[bytes, bytes] = head.scope[HEADERS]
    if not head.keep_alive or head.scope["http_version"] != "1.1" or head.scope["method"] == "CONNECT":
        return False
    return named.keys().isdisjoint(_OTHERS_DECIDE) and named.get(b"content-length", b"0").isdigit()


def make_head(method: str, version: str, target: bytes, headers: list[tuple[bytes, bytes]], keep_alive: bool) -> Head:
    """A head that was parsed.

    Args:
        method: such as "GET".
        version: such as "1.1".
        target: the path and the query, or a whole address.
        headers: with names in lower case.
        keep_alive: whether another request may follow.
    """
    path, query = _split_target(target)
    # of equal names the first counts
    named = dict(reversed(headers))
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": version,
        "method": method,
        "scheme": "http",
        "path": unquote(path.decode("latin-1")) if b"%" in path else path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        HEADERS: named,
    }
    length = named.get(b"content-length", b"")
    expects_continue = named.get(b"expect", b"").lower() == b"100-continue"
    return Head(scope, keep_alive and version != "1.0", int(length) if length.isdigit() else 0, expects_continue)


def _split_target(target: bytes) -> tuple[bytes, bytes]:
    """The path and the query of a request's target, also in its absolute form."""
    if not target.startswith(b"/"):
        try:
            parsed = httptools.parse_url(target)
        except httptools.HttpParserInvalidURLError:
            return target, b""
        return parsed.path or b"/", parsed.query or b""
    path, _, query = target.partition(b"#")[0].partition(b"?")
    return path, query

"""The statuses that end gRPC's calls."""

from enum import IntEnum
from urllib.parse import quote

from hubserve.net.http2.hpack_cache import literal

#: of a text, what travels as it is
_PLAIN = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"


class Status(IntEnum):
    """How a call ended."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RpcError(Exception):
    """A call ends with another status than OK.

    Attributes:
        status: it.
        text: what happened, why, and what to do.
    """

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def status_block(status: Status, text: str) -> bytes:
    """The fields that tell how a call ended."""
    told = literal(b"grpc-status", b"%d" % status)
    text = text.strip(" ")  # a field's value neither begins nor ends with a space (RFC 9113, 8.2.1), and strict clients hold it to that
    return told + literal(b"grpc-message", quote(text.encode("utf-8", "replace"), safe=_PLAIN).encode()) if text else told

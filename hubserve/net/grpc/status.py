"""gRPC statuses."""

from enum import IntEnum
from urllib.parse import quote

from hubserve.net.http2.hpack_cache import literal

#: characters of a message that are not percent-encoded
_PLAIN = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"


class Status(IntEnum):
    """Status that ends a call."""

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


#: statuses that correspond to HTTP's 5xx
SERVER_ERRORS = (Status.UNKNOWN, Status.DEADLINE_EXCEEDED, Status.INTERNAL, Status.UNAVAILABLE, Status.DATA_LOSS)


class RpcError(Exception):
    """A call ends with a status other than OK.

    Attributes:
        status: the status.
        text: what happened, why, and what to do.
    """

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def status_block(status: Status, text: str) -> bytes:
    """Encode the trailers of a call: its status and a message."""
    block = literal(b"grpc-status", b"%d" % status)
    text = text.strip(" ")  # strict clients refuse values that start or end with a space (RFC 9113, 8.2.1)
    return block + literal(b"grpc-message", quote(text.encode("utf-8", "replace"), safe=_PLAIN).encode()) if text else block

"""What errors are called in the protocol: an HTTP status, or the name of a gRPC status code."""

from hubserve.errors import (
    Cancelled,
    DeadlineExceeded,
    Exists,
    HubError,
    InvalidInput,
    LoadFailed,
    ModuleNotFound,
    NotFound,
    Overloaded,
    TooLarge,
    Unavailable,
    Unsupported,
)
from hubserve.net.asgi import ClientGone
from hubserve.net.content_encoding import UnknownEncoding
from hubserve.net.request_body import TooSlow
from hubserve.protocols.admin import Forbidden


class NotHere(HubError):
    """There is nothing of that name or at that path."""

    code = "not_here"


class WrongMethod(HubError):
    """The path takes other HTTP methods.

    Attributes:
        allowed: those.
    """

    code = "wrong_method"

    def __init__(self, message: str, allowed: str = "") -> None:
        super().__init__(message)
        self.allowed = allowed


class NotOffered(HubError):
    """The protocol has this, but it is not to be had here or in this way."""

    code = "not_offered"


class NotPolled(InvalidInput):
    """The repository has no such model, or cannot hold it; gRPC clients of Triton look for this text and status."""

    code = "not_polled"


#: error -> (HTTP status, name of a ``grpc.StatusCode``); the first class that fits counts
_STATUSES: tuple[tuple[type[HubError], int, str], ...] = (
    (NotHere, 404, "NOT_FOUND"),
    (Forbidden, 403, "PERMISSION_DENIED"),
    (WrongMethod, 405, "UNIMPLEMENTED"),
    (NotOffered, 501, "UNIMPLEMENTED"),
    (UnknownEncoding, 501, "UNIMPLEMENTED"),
    (TooLarge, 413, "RESOURCE_EXHAUSTED"),
    (TooSlow, 408, "DEADLINE_EXCEEDED"),
    (ClientGone, 499, "CANCELLED"),
    (NotPolled, 400, "INTERNAL"),
    (InvalidInput, 400, "INVALID_ARGUMENT"),
    (ModuleNotFound, 404, "NOT_FOUND"),
    (NotFound, 404, "NOT_FOUND"),
    (Exists, 409, "ALREADY_EXISTS"),
    (Unsupported, 501, "UNIMPLEMENTED"),
    (Cancelled, 499, "CANCELLED"),
    (LoadFailed, 503, "UNAVAILABLE"),
    (Overloaded, 429, "RESOURCE_EXHAUSTED"),
    (Unavailable, 503, "UNAVAILABLE"),
    (DeadlineExceeded, 504, "DEADLINE_EXCEEDED"),
    (HubError, 500, "INTERNAL"),
)


def http_status(error: HubError) -> int:
    """The HTTP status that answers an error."""
    return next(http for cls, http, _ in _STATUSES if isinstance(error, cls))


def grpc_status(error: HubError) -> str:
    """The name of the ``grpc.StatusCode`` that answers an error."""
    return next(grpc for cls, _, grpc in _STATUSES if isinstance(error, cls))

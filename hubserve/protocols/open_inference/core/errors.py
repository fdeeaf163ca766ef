"""Map errors to the protocol's HTTP and gRPC status codes."""

from hubserve.access.refusals import Forbidden, Unauthenticated
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
from hubserve.protocols.model_control import NotInRepository


class NoSuchResource(HubError):
    """No resource has that name or path."""

    code = "not_here"


class WrongMethod(HubError):
    """The path does not support this HTTP method.

    Attributes:
        allowed: the supported methods, for the header ``Allow``.
    """

    code = "wrong_method"

    def __init__(self, message: str, allowed: str = "") -> None:
        super().__init__(message)
        self.allowed = allowed


class NotSupported(HubError):
    """The protocol has this feature, but this server or this model does not offer it."""

    code = "not_offered"


#: error -> (HTTP status, name of a ``grpc.StatusCode``); the first matching class wins
_STATUSES: tuple[tuple[type[HubError], int, str], ...] = (
    (NoSuchResource, 404, "NOT_FOUND"),
    (Unauthenticated, 401, "UNAUTHENTICATED"),
    (Forbidden, 403, "PERMISSION_DENIED"),
    (WrongMethod, 405, "UNIMPLEMENTED"),
    (NotSupported, 501, "UNIMPLEMENTED"),
    (UnknownEncoding, 501, "UNIMPLEMENTED"),
    (TooLarge, 413, "RESOURCE_EXHAUSTED"),
    (TooSlow, 408, "DEADLINE_EXCEEDED"),
    (ClientGone, 499, "CANCELLED"),
    (NotInRepository, 400, "INTERNAL"),
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
    """Return the HTTP status of an error."""
    return next(http for cls, http, _ in _STATUSES if isinstance(error, cls))


def grpc_status(error: HubError) -> str:
    """Return the name of the ``grpc.StatusCode`` of an error."""
    return next(grpc for cls, _, grpc in _STATUSES if isinstance(error, cls))

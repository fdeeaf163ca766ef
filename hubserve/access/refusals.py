"""Errors of clients that may not do what they ask for."""

from hubserve.errors import HubError, Overloaded


class Unauthenticated(HubError):
    """The client has sent no key, or none that is valid.

    Attributes:
        is_invalid: whether a key was sent.
    """

    code = "unauthenticated"

    def __init__(self, message: str, detail: str = "", *, is_invalid: bool = False) -> None:
        super().__init__(message, detail)
        self.is_invalid = is_invalid


class Forbidden(HubError):
    """The client has no access."""

    code = "forbidden"


class LimitReached(Overloaded):
    """The client's key has used up its rate, or has too many requests in progress."""

    code = "limit_reached"

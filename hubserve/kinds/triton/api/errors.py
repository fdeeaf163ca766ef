"""Errors of models of Triton's Python backend."""

from typing import Any, Dict, Type

from hubserve.errors import (
    Cancelled,
    DeadlineExceeded,
    Exists,
    HubError,
    InvalidInput,
    ModuleFailed,
    ModuleNotFound,
    NotFound,
    Unavailable,
    Unsupported,
)
from hubserve.kinds.triton.api.texts import text_of


class TritonModelException(Exception):
    """Error that a model raises, or that reports a misuse of its interface."""

    def __str__(self) -> str:
        return text_of(self.args[0]) if len(self.args) == 1 else super().__str__()


class WrongConfig(TritonModelException, ValueError):
    """``auto_complete_config`` contradicts the configuration; models also catch it as a ValueError."""


class WrongType(TritonModelException, TypeError):
    """An argument is of another type; models also catch it as a TypeError."""


class TritonError:
    """The error of a request.

    Args:
        message: for the client.
        code: one of this class's constants.
    """

    UNKNOWN = 0
    INTERNAL = 1
    NOT_FOUND = 2
    INVALID_ARG = 3
    UNAVAILABLE = 4
    UNSUPPORTED = 5
    ALREADY_EXISTS = 6
    CANCELLED = 7

    def __init__(self, message: Any, code: int = INTERNAL) -> None:
        if code not in _CLASSES:
            raise TritonModelException(f"unknown error code {code!r}; use a constant of TritonError, such as TritonError.INTERNAL")
        self._message = text_of(message)
        self._code = code

    def message(self) -> str:
        """Return the message."""
        return self._message

    def code(self) -> int:
        """Return the code."""
        return self._code

    def __str__(self) -> str:
        return self._message

    def to_hub_error(self) -> HubError:
        """Convert to an error of hubserve."""
        return _CLASSES[self._code](self._message)

    @classmethod
    def from_hub_error(cls, error: HubError) -> "TritonError":
        """Convert from the error of a call to another model."""
        for code, hub_class in _CLASSES.items():
            if code > cls.INTERNAL and isinstance(error, hub_class):
                return cls(error.message, code)
        known = {ModuleNotFound: cls.NOT_FOUND, DeadlineExceeded: cls.UNAVAILABLE}
        return cls(error.message, next((code for hub_class, code in known.items() if isinstance(error, hub_class)), cls.INTERNAL))


_CLASSES: Dict[int, Type[HubError]] = {
    TritonError.UNKNOWN: ModuleFailed,
    TritonError.INTERNAL: ModuleFailed,
    TritonError.NOT_FOUND: NotFound,
    TritonError.INVALID_ARG: InvalidInput,
    TritonError.UNAVAILABLE: Unavailable,
    TritonError.UNSUPPORTED: Unsupported,
    TritonError.ALREADY_EXISTS: Exists,
    TritonError.CANCELLED: Cancelled,
}

"""One neutral hierarchy of errors.

Every message says what happened, why, and what to do. Each protocol keeps its own table from these classes to its status codes; each class
carries only a ``code``, the name under which it crosses the wire between an instance and the gateway.
"""

from typing import Any, Callable, Dict, Iterator, List, Optional, Type

#: longer error texts are cut: a module may have put a whole request into one
_MAX_TEXT = 16 << 10
_LONG_KEY = 1024
_USAGE = ". This module takes "


class HubError(Exception):
    """Base of every error that hubserve raises on purpose.

    Attributes:
        code: stable name of the class on the wire and in ``--json`` output.
        detail: longer text for logs (a module's traceback, a child's last lines); never sent to clients.
    """

    code = "internal"

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail

    @property
    def message(self) -> str:
        """Message for the user."""
        return str(self)


class InvalidInput(HubError):
    """The client's request cannot be used; sending it again will fail again."""

    code = "invalid_input"


class WrongArguments(InvalidInput):
    """A JSON request has arguments that the module does not take, or lacks some that it needs; the server adds what the module takes."""

    code = "wrong_arguments"


class TooLarge(InvalidInput):
    """The request is over a configured size limit."""

    code = "too_large"


class NotJson(InvalidInput):
    """Input that should be JSON is not, or is nested deeper than a configured limit."""

    code = "not_json"


class UnsupportedFace(InvalidInput):
    """The module does not answer this form of request (tensors, JSON or picture)."""

    code = "unsupported_face"


class ModuleNotFound(HubError):
    """No such module or version is served or installed."""

    code = "module_not_found"


class ModuleFailed(HubError):
    """The module's own code raised while it answered."""

    code = "module_failed"


class OutOfMemory(ModuleFailed):
    """There was not enough memory for even one item."""

    code = "out_of_memory"


class NotFound(ModuleFailed):
    """The module reports that an object named by the request does not exist."""

    code = "not_found"


class Exists(ModuleFailed):
    """The module reports that an object that the request would create exists already."""

    code = "exists"


class Unsupported(ModuleFailed):
    """The module reports that it does not support the request."""

    code = "unsupported"


class Cancelled(ModuleFailed):
    """The module abandoned the request because its client no longer waits for an answer."""

    code = "cancelled"


class LoadFailed(HubError):
    """The module could not be imported or constructed, or its model could not be loaded."""

    code = "load_failed"


class MissingDependency(LoadFailed):
    """A required package is not installed."""

    code = "missing_dependency"


class InstanceDied(HubError):
    """The process that computed the request ended before it answered."""

    code = "instance_died"


class Unavailable(HubError):
    """The module cannot take requests now; a later try may succeed.

    Attributes:
        retry_after_s: seconds after which a client should try again.
    """

    code = "unavailable"

    def __init__(self, message: str, detail: str = "", retry_after_s: int = 1) -> None:
        super().__init__(message, detail)
        self.retry_after_s = retry_after_s


class Overloaded(Unavailable):
    """The queue is full."""

    code = "overloaded"


class DeadlineExceeded(HubError):
    """The answer did not come in the time that the client or the settings allow."""

    code = "deadline_exceeded"


class ConfigError(HubError):
    """A configuration file or option is wrong."""

    code = "config_error"


class InstallError(HubError):
    """A module could not be installed or removed; the previous state is kept."""

    code = "install_error"


def _all_classes(root: Type[HubError]) -> Iterator[Type[HubError]]:
    yield root
    for child in root.__subclasses__():
        yield from _all_classes(child)


BY_CODE = {cls.code: cls for cls in _all_classes(HubError)}


def safe_text(value: Any, form: Callable[[Any], str] = str) -> str:
    """Return a value's text of at most 16 KiB, even if the code of its own class raises.

    Args:
        value: anything; usually an exception.
        form: makes the text.
    """
    try:
        text = form(value)
        return text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "..."
    except BaseException:
        return f"{type(value).__name__}, whose text cannot be read"


def one_line(text: str, length: int = 500) -> str:
    """Return the beginning of an untrusted text for a log, without line breaks and control characters."""
    return "".join(each if each.isprintable() else " " for each in text[:length])


def usage_sentence(usage: str) -> str:
    """Return the sentence that ends an error message with the module's usage; "" if that is unknown."""
    return _USAGE + usage if usage else ""


def without_usage(message: str) -> str:
    """Return a message without the sentence that :func:`usage_sentence` added to it."""
    return message.partition(_USAGE)[0]


def shown(value: Any, length: int = 80) -> str:
    """Return the beginning of the text of a client's value, without building the text of all of it."""
    return str(beginning(value, length))[:length]


def beginning(value: Any, length: int = 80) -> Any:
    """Return the part of a client's JSON value that the first ``length`` characters of its text can show."""
    return _beginning(value, [length])


def _beginning(value: Any, left: List[int]) -> Any:
    left[0] -= 1  # every value takes a character at least
    if isinstance(value, (list, tuple)):
        items = []
        for each in value:
            if left[0] < 0:
                break
            items.append(_beginning(each, left))
        return tuple(items) if isinstance(value, tuple) else items
    if isinstance(value, dict):
        some = {}
        for key, each in value.items():
            if left[0] < 0:
                break
            name = _beginning(key, left)
            # a short key is kept in full: its beginning may be another key
            is_long = isinstance(key, (str, bytes)) and len(key) > _LONG_KEY
            some[name if is_long else key] = _beginning(each, left)
        return some
    if isinstance(value, (str, bytes)):
        return value[: max(0, left[0] + 2)]
    if isinstance(value, int) and not -(1 << 256) < value < 1 << 256:
        return "a number of many digits"
    return value


def to_wire(error: BaseException) -> Dict[str, Any]:
    """Return the wire form of an error; an error that is not a HubError becomes a ModuleFailed."""
    if isinstance(error, HubError):
        return {"code": error.code, "message": safe_text(error), "detail": safe_text(error.detail)}
    return {"code": ModuleFailed.code, "message": safe_text(error), "detail": safe_text(error, repr)}


def from_wire(described: Dict[str, Any]) -> HubError:
    """Rebuild an error from :func:`to_wire`; an unknown code becomes a plain HubError."""
    cls = BY_CODE.get(described.get("code", ""), HubError)
    return cls(str(described.get("message", "")), str(described.get("detail", "")))


def drop_frames(error: BaseException) -> None:
    """Release the frames of an error and of its causes, and with them the buffers in their local variables.

    Call it where an error is answered rather than logged. An error that is reachable from one of its own frames, such as by a future
    that was awaited there, would otherwise keep a request's body until the garbage collector runs, which can be many requests later.
    """
    pending: List[Optional[BaseException]] = [error]
    seen = set()
    while pending:
        each = pending.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            pending += (each.__cause__, each.__context__)

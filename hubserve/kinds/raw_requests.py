"""Whole requests: what modules are given that want to see each request by itself, and what they may ask of the server."""

from abc import ABC, abstractmethod
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Union

import numpy as np

from hubserve.errors import HubError, ModuleFailed
from hubserve.types import SequencePart


class WrongAnswers(ModuleFailed):
    """A module did not answer its requests as it must: it will not if it is asked again."""


class RawRequest(NamedTuple):
    """One request, as its client sent it.

    Attributes:
        key: its number at this instance, for :class:`Host`.
        inputs: name to array, in the client's order; the arrays may be kept and written to.
        id: the client's; "" for none.
        parameters: the client's.
        outputs: the names that are wanted; None for all.
        sequence: the sequence that it is part of, if any.
        priority: as the client gave it.
        timeout_us: as the client gave it, in microseconds; 0 for none.
        items: how many items of a batch it holds.
    """

    key: int
    inputs: Dict[str, np.ndarray]
    id: str = ""
    parameters: Optional[Dict[str, Any]] = None
    outputs: Optional[List[str]] = None
    sequence: Optional[SequencePart] = None
    priority: int = 0
    timeout_us: int = 0
    items: int = 1


class RawResponse(NamedTuple):
    """One answer: outputs, or an error.

    Attributes:
        outputs: name to array.
        parameters: text, numbers and booleans by name.
        error: why there is no answer.
        dtypes: of outputs whose datatype the array does not show: :data:`~hubserve.types.BFLOAT16` by name; None for none.
    """

    outputs: Dict[str, np.ndarray]
    parameters: Optional[Dict[str, Any]] = None
    error: Optional[HubError] = None
    dtypes: Optional[Dict[str, str]] = None


class Deferred(NamedTuple):
    """What :meth:`hubserve.kinds.base.LoadedModule.call_requests` returns for a request that is not answered by its return.

    Attributes:
        reschedule: give the request to the module once more, in a later batch; otherwise it is answered through :class:`Host`.
    """

    reschedule: bool = False


Answer = Union[RawResponse, Deferred]


class Call(NamedTuple):
    """A request that a module makes of another module of the same server.

    Attributes:
        module: the served name.
        version: "" for the default.
        inputs: name to array.
        outputs: the names that are wanted; empty for all.
        id: given back with the answer.
        parameters: text, numbers and booleans by name.
        sequence: the sequence that it is part of, if any.
        timeout_us: after which it is given up, in microseconds; 0 for not before the request that it is made for.
        many: whether any number of responses may come, rather than exactly one.
        parents: the keys of the requests that it is made for.
        blocking: whether it is made from within their computing, which ends no sooner than it is answered.
        halting: whether nothing else is computed until it is answered, not even requests that are computed beside them.
    """

    module: str
    version: str
    inputs: Dict[str, np.ndarray]
    outputs: Sequence[str] = ()
    id: str = ""
    parameters: Optional[Dict[str, Any]] = None
    sequence: Optional[SequencePart] = None
    timeout_us: int = 0
    many: bool = False
    parents: Sequence[int] = ()
    blocking: bool = False
    halting: bool = False


class Replies(ABC):
    """The responses to a :class:`Call`, as they come."""

    @abstractmethod
    def next_response(self) -> Optional[RawResponse]:
        """Wait for the next response; None when there are no more."""

    @abstractmethod
    def notify(self, ready: Callable[[], None]) -> None:
        """Have a function called once, from any thread, as soon as :meth:`next_response` need not wait."""

    @abstractmethod
    def close(self) -> None:
        """No more are wanted: the call is given up if it is not answered yet."""


class Host(ABC):
    """The services of an instance for a module that takes whole requests. Any thread may call it."""

    @abstractmethod
    def has_acted(self, keys: Sequence[int]) -> bool:
        """Return whether any of these unanswered requests has sent or asked for something; True also if another one may have."""

    @abstractmethod
    def respond(self, key: int, response: Optional[RawResponse], final: bool) -> None:
        """Send one response to a request.

        It waits while the client has not yet taken what was sent before. What nobody waits for any more is dropped.

        Args:
            key: the request's.
            response: None to say only that no more will come.
            final: whether no more will come.
        """

    @abstractmethod
    def abandon(self, key: int, error: Optional[HubError]) -> None:
        """Say that no more will come, without ever waiting, also from within a destructor.

        Args:
            key: the request's.
            error: why; None if that is no failure.
        """

    @abstractmethod
    def reschedule(self, key: int) -> None:
        """Have a request given to the module once more; what was sent for it comes before that."""

    @abstractmethod
    def open_keys(self) -> List[int]:
        """The keys of all requests that this instance has not finished."""

    @abstractmethod
    def is_cancelled(self, key: int) -> bool:
        """Whether nobody waits for a request's answer any more."""

    @abstractmethod
    def call(self, call: Call) -> Replies:
        """Make a request of another module."""

    @abstractmethod
    def ask(self, what: str, arguments: Dict[str, Any], buffers: Sequence[bytes] = ()) -> Any:
        """Ask the server for something else.

        Args:
            what: "is_ready", "load" or "unload".
            arguments: JSON, among them the module's name.
            buffers: the content of files.
        Raises:
            HubError: it refuses.
        """


_host: List[Host] = []


def set_host(host: Optional[Host]) -> None:
    """Say what this process's modules are hosted by; None for nothing any more."""
    _host[:] = [host] if host else []


def current_host() -> Optional[Host]:
    """What this process's modules are hosted by, if they are served."""
    return _host[0] if _host else None

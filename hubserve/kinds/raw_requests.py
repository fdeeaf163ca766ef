"""Raw requests, for modules that handle each request themselves, and the services that a server offers to such modules."""

from abc import ABC, abstractmethod
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Union

import numpy as np

from hubserve.errors import HubError, ModuleFailed
from hubserve.types import SequencePart


class WrongAnswers(ModuleFailed):
    """The module returned answers of a wrong form; calling it again would not help."""


class RawRequest(NamedTuple):
    """One request as its client sent it.

    Attributes:
        key: its number in this instance, for :class:`Host`.
        inputs: name to array, in the client's order; the arrays may be kept and written to.
        id: the client's; "" for none.
        parameters: the client's.
        outputs: the names of the requested outputs; None for all.
        sequence: the sequence that it is part of, if any.
        priority: the client's.
        timeout_us: the client's, in microseconds; 0 for none.
        items: the number of batch items in it.
        trace: the ``traceparent`` of the span of its computing; "" if it is not traced.
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
    trace: str = ""


class RawResponse(NamedTuple):
    """One response: outputs, or an error.

    Attributes:
        outputs: name to array.
        parameters: text, numbers and booleans by name.
        error: the reason why there are no outputs.
        dtypes: by output name, the datatypes that an array cannot express, which is :data:`~hubserve.types.BFLOAT16`; None for none.
    """

    outputs: Dict[str, np.ndarray]
    parameters: Optional[Dict[str, Any]] = None
    error: Optional[HubError] = None
    dtypes: Optional[Dict[str, str]] = None


class Deferred(NamedTuple):
    """Result of :meth:`hubserve.kinds.base.LoadedModule.call_requests` for a request that is answered later.

    Attributes:
        reschedule: pass the request to the module once more, in a later batch; otherwise the answer comes through :class:`Host`.
    """

    reschedule: bool = False


Answer = Union[RawResponse, Deferred]


class Call(NamedTuple):
    """A request of a module to another module of the same server.

    Attributes:
        module: the served name.
        version: "" for the default.
        inputs: name to array.
        outputs: the names of the requested outputs; empty for all.
        id: returned with the answer.
        parameters: text, numbers and booleans by name.
        sequence: the sequence that it is part of, if any.
        timeout_us: in microseconds; 0 for the deadline of the request that it is made for.
        many: whether any number of responses may come, rather than exactly one.
        parents: the keys of the requests that it is made for.
        blocking: whether it is made while they are computed, so that they end no sooner than it is answered.
        halting: whether the module computes nothing else until it is answered, not even concurrent requests.
        trace: the ``traceparent`` of the span that it is made in; "" for none.
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
    trace: str = ""


class Replies(ABC):
    """Stream of the responses to a :class:`Call`."""

    @abstractmethod
    def next_response(self) -> Optional[RawResponse]:
        """Wait for the next response; None when there are no more."""

    @abstractmethod
    def notify(self, ready: Callable[[], None]) -> None:
        """Call a function once, from any thread, as soon as :meth:`next_response` would not block."""

    @abstractmethod
    def close(self) -> None:
        """Discard further responses; a call that is not answered yet is cancelled."""


class Host(ABC):
    """The services of an instance for a module that receives raw requests. Any thread may call it."""

    @abstractmethod
    def has_acted(self, keys: Sequence[int]) -> bool:
        """Return True if any of these unanswered requests has sent a response or made a call, or if that is uncertain."""

    @abstractmethod
    def respond(self, key: int, response: Optional[RawResponse], final: bool) -> None:
        """Send one response to a request.

        It blocks while the client has not read earlier responses. A response that no client waits for is dropped.

        Args:
            key: the request's.
            response: None to end the stream without a further response.
            final: whether it is the last one.
        """

    @abstractmethod
    def abandon(self, key: int, error: Optional[HubError]) -> None:
        """End the responses to a request without ever blocking, also from within a destructor.

        Args:
            key: the request's.
            error: the reason; None for a regular end.
        """

    @abstractmethod
    def reschedule(self, key: int) -> None:
        """Pass a request to the module once more, after the responses that it has sent so far."""

    @abstractmethod
    def open_keys(self) -> List[int]:
        """Return the keys of all requests that this instance has not finished."""

    @abstractmethod
    def is_cancelled(self, key: int) -> bool:
        """Return True if no client waits for the request's answer any more."""

    @abstractmethod
    def call(self, call: Call) -> Replies:
        """Send a request to another module."""

    @abstractmethod
    def ask(self, what: str, arguments: Dict[str, Any], buffers: Sequence[bytes] = ()) -> Any:
        """Ask the server for another service.

        Args:
            what: "is_ready", "load" or "unload".
            arguments: JSON, among them the module's name.
            buffers: the content of files.
        Raises:
            HubError: the server refuses.
        """

    @abstractmethod
    def publish(self, changes: Callable[[], List[Dict[str, Any]]]) -> None:
        """Publish the module's own metrics from now on; further calls change nothing.

        Args:
            changes: returns the families with the series that have changed since its last call, as the frame ``metrics`` of
                :mod:`hubserve.instance.side_channel` has them; called by any thread.
        """


_host: List[Host] = []


def set_host(host: Optional[Host]) -> None:
    """Set the host of this process's modules; None to remove it."""
    _host[:] = [host] if host else []


def current_host() -> Optional[Host]:
    """Return the host of this process's modules, or None if they are not served."""
    return _host[0] if _host else None

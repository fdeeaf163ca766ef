"""The clients' requests that an instance computes, as code inside the instance sees them: for its output, and for its traces.

A frame's header ``requests`` is parallel to its calls: null, or ``{"id": request id, "trace": traceparent}`` with "" for what a request
lacks. A frame none of whose requests has either comes without it. An instance on the gateway's machine gets it for traced requests only:
the gateway knows the others by the number of the frame.
"""

from contextvars import ContextVar
from typing import Any, Dict, NamedTuple, Optional, Sequence, Tuple

from hubserve.wire.frames import WireError
from hubserve.wire.joined_traces import join_trace, leave_trace, own_trace


class RequestReference(NamedTuple):
    """A client's request.

    Attributes:
        id: its request id; "" for none.
        trace: its ``traceparent``; "" for none.
    """

    id: str
    trace: str


class CurrentFrame(NamedTuple):
    """A frame that is computed, or one call of it.

    Attributes:
        number: of the frame: the first ``infer`` frame of a connection has 1.
        requests: one for each of its calls, or none at all.
        call: the index of the call that is computed by itself; -1 for all of them.
    """

    number: int
    requests: Sequence[Optional[RequestReference]] = ()
    call: int = -1

    def ids(self) -> Tuple[str, ...]:
        """Return the known ids of the requests that are computed."""
        chosen = self.requests if self.call < 0 else self.requests[self.call : self.call + 1]
        return tuple(each.id for each in chosen if each is not None and each.id)

    def trace(self) -> str:
        """Return the ``traceparent`` of the first request that is traced; "" for none."""
        if not self.requests:
            return ""
        chosen = self.requests if self.call < 0 else self.requests[self.call : self.call + 1]
        return next((each.trace for each in chosen if each is not None and each.trace), "")


def frame_of(number: int, header: Dict[str, Any]) -> CurrentFrame:
    """Return what a frame is computed for.

    Args:
        number: of the frame.
        header: of an ``infer`` frame.
    Raises:
        WireError: its field ``requests`` is malformed.
    """
    described = header.get("requests")
    if described is None:
        return CurrentFrame(number)
    count = len(header["merged"]["calls"] if "merged" in header else header["calls"])
    try:
        requests = [None if each is None else RequestReference(str(each["id"]), str(each["trace"])) for each in described]
    except (TypeError, KeyError):
        raise WireError("the requests of a frame are malformed") from None
    if len(requests) != count:
        raise WireError(f"a frame describes {len(requests)} requests, and has {count} calls")
    return CurrentFrame(number, requests)


#: the frame, or the part of one, for which this thread or task works; None to look at what the instance computes
_CURRENT: "ContextVar[Optional[CurrentFrame]]" = ContextVar("hubserve_frame", default=None)
#: the frame that the instance computes, for threads that the module's code starts
_computed: Optional[CurrentFrame] = None


def current_frame() -> Optional[CurrentFrame]:
    """Return the frame for which the calling thread or task works; None if the instance computes none."""
    return _CURRENT.get() or _computed


def prepare_frame(frame: CurrentFrame) -> None:
    """Note that this thread decodes a frame, maybe while another thread computes the one before it."""
    _CURRENT.set(frame)


def compute_frame(frame: CurrentFrame) -> None:
    """Note that this thread computes a frame, or one call of it; other threads of the module work for it, too."""
    global _computed  # noqa: PLW0603 - an instance computes one frame at a time
    _CURRENT.set(frame)
    _computed = frame
    join_trace(frame.trace())


def leave_frame() -> None:
    """Note that the frame of this thread is answered; tasks that it has started go on for it."""
    global _computed  # noqa: PLW0603 - as above
    _CURRENT.set(None)
    _computed = None
    leave_trace()


def current_trace() -> str:
    """Return the ``traceparent`` of the span within which the calling thread or task works; "" if its request is not traced.

    That is a span of the module's own, if it has opened one with OpenTelemetry.
    """
    frame = current_frame()
    return own_trace() or (frame.trace() if frame is not None else "")

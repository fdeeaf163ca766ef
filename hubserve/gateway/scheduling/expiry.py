"""Refuse requests that find a full queue, and expire those that waited too long."""

from hubserve.errors import DeadlineExceeded, Overloaded
from hubserve.gateway.queued_request import QueuedRequest


def queue_full(module: str, size: int) -> Overloaded:
    """Return the error for a request that finds ``size`` others waiting, which is the limit."""
    return Overloaded(f"module '{module}' has {size} requests waiting, which is its limit; try again later")


def is_abandoned(request: QueuedRequest, module: str, now: float) -> bool:
    """Return whether a request needs no answer any more; one whose deadline has passed is failed first."""
    if not request.answer.done() and request.deadline is not None and now >= request.deadline:
        message = f"Request timeout expired: module '{module}' was too busy to start on the request in time"
        request.answer.set_exception(DeadlineExceeded(message))
    return request.answer.done()

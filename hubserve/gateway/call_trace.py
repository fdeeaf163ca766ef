"""Trace the calls of modules that are made for a client's traced request."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from types import TracebackType
from typing import Any

from hubserve.errors import HubError
from hubserve.telemetry.request_record import CURRENT
from hubserve.telemetry.spans import RequestTrace
from hubserve.telemetry.trace_context import TraceContext

#: id of the span below which the modules that this task calls are traced; 0 for the request's own
PARENT: ContextVar[int] = ContextVar("hubserve_parent_span", default=0)


class Attempt:
    """Spans of one call at one instance, which end once it has answered.

    Args:
        trace: that they belong to.
        parent_id: id of the span above them.
        attributes: of the batch and its instance.
        links: the spans of the batch, if that is another one than the parent.
        given_at: when the instance was given it, on the clock of ``time.monotonic``.

    Attributes:
        compute: place of the span of its time at the instance.
        execute: place of the span of the module's own code.
        given_at: see above.
    """

    __slots__ = ("attributes", "compute", "execute", "given_at", "links", "parent_id")

    def __init__(
        self, trace: RequestTrace, parent_id: int, attributes: dict[str, Any], links: Sequence[TraceContext], given_at: float
    ) -> None:
        self.compute = trace.new_context()
        self.execute = trace.new_context()
        self.parent_id = parent_id
        self.attributes = attributes
        self.links = links
        self.given_at = given_at


class CallTrace:
    """Spans of one call of a module, from when it is queued until it is answered.

    Args:
        trace: of the client's request.
        module: that is called, as served.
        version: of it.

    Attributes:
        trace: see above.
        context: place of the call's own span.
        attempt: of the call, while an instance has it.
    """

    __slots__ = ("_attributes", "_parent_id", "_started_at", "_waiting_since", "attempt", "context", "trace")

    def __init__(self, trace: RequestTrace, module: str, version: str) -> None:
        self.trace = trace
        self.context = trace.new_context()
        self.attempt: Attempt | None = None
        self._parent_id = PARENT.get() or trace.context.span_id
        self._attributes: dict[str, Any] = {"hubserve.module": module, "hubserve.version": version or None}
        self._started_at = self._waiting_since = time.monotonic()
        trace.called_at = trace.called_at or self._started_at

    def place_of_code(self) -> TraceContext:
        """Return the place of the span of the module's own code; that of the call while no instance has it."""
        return self.attempt.execute if self.attempt is not None else self.context

    def note(self, name: str, value: Any) -> None:
        """Set an attribute of the call's own span."""
        self._attributes[name] = value

    def begin(self, attempt: Attempt) -> None:
        """Note that an instance is given the call; one that had it before has given it up."""
        if self.attempt is not None:
            self.answered(self.attempt, error="the instance gave it up")
        self.attempt = attempt

    def returned(self) -> None:
        """Note that the module wants the call once more."""
        if self.attempt is not None:
            self.answered(self.attempt)

    def answered(self, attempt: Attempt, times: tuple[float, float, float, float] | None = None, error: str = "") -> None:
        """Add the spans of an attempt that has ended, unless the call has ended before.

        Args:
            attempt: that has ended.
            times: when the instance began with it, when the module's code began and ended, and when the answer came; None if unknown.
            error: why it failed; "" if it did not.
        """
        if self.attempt is not attempt:
            return
        self.attempt = None
        now, trace = time.monotonic(), self.trace
        given_at = max(attempt.given_at, self._waiting_since)
        begun_at, started_at, ended_at, answered_at = times or (given_at, given_at, now, now)
        trace.add("queue", self._waiting_since, begun_at, {}, parent_id=self.context.span_id)
        parent_id, links = attempt.parent_id, attempt.links
        trace.add(
            "compute", begun_at, answered_at, attempt.attributes, parent_id=parent_id, context=attempt.compute, links=links, error=error
        )
        trace.add("execute", started_at, ended_at, {}, parent_id=attempt.compute.span_id, context=attempt.execute, error=error)
        self._waiting_since = answered_at

    def end(self, error: BaseException | None, *, waited: bool = True) -> None:
        """Add the call's own span, and those of what has not ended before.

        Args:
            error: with which the call ended; None for an answer.
            waited: whether a call that no instance was given has waited for one.
        """
        now, trace, text = time.monotonic(), self.trace, describe(error)
        if self.attempt is not None:
            self.answered(self.attempt, error=text)
        elif waited and self._waiting_since == self._started_at:
            trace.add("queue", self._started_at, now, {}, parent_id=self.context.span_id, error=text)
        if isinstance(error, HubError):
            self._attributes["error.type"] = error.code
        name = f"call {self._attributes['hubserve.module']}"
        trace.add(name, self._started_at, now, self._attributes, parent_id=self._parent_id, context=self.context, error=text)
        trace.answered_at = now

    def __enter__(self) -> "CallTrace":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.end(error, waited=False)


_NOT_TRACED = nullcontext()


def traced_call(module: str, version: str) -> AbstractContextManager[CallTrace | None]:
    """Return a ``with`` block to put around a call of a module that is answered without an instance of its own.

    It gives the trace of the call; None if the request that the current task answers is not traced.
    """
    record = CURRENT.get()
    return CallTrace(record.trace, module, version) if record is not None and record.trace is not None else _NOT_TRACED


def describe(error: BaseException | None) -> str:
    """Return why a call failed, for a span; "" for None."""
    if error is None:
        return ""
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return "cancelled: its answer is no longer waited for"
    return str(error) or type(error).__name__

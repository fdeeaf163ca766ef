"""Spans of the requests that are traced, made once they have ended."""

import time
from collections.abc import Callable, Sequence
from enum import IntEnum
from random import getrandbits
from typing import Any, NamedTuple

from hubserve.telemetry.trace_context import TraceContext

#: characters of an error that a span keeps
_LONGEST = 1000


class SpanKind(IntEnum):
    """Role of a span, as OTLP numbers it."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3


class Span(NamedTuple):
    """A span that has ended.

    Attributes:
        name: of what was done.
        context: its place.
        parent_id: id of the span above it; 0 for none.
        is_remote: whether that is a span of the client.
        start_ns, end_ns: since 1970.
        attributes: name to value; None for one that is left out.
        kind: its role.
        links: further spans that it belongs to.
        error: why it failed; "" if it did not.
        state: of the trace (``tracestate``).
    """

    name: str
    context: TraceContext
    parent_id: int
    is_remote: bool
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    kind: SpanKind
    links: Sequence[TraceContext]
    error: str
    state: str


#: takes each span that has ended; must be quick
Sink = Callable[[Span], None]


def new_span_id() -> int:
    """Return a random id of a span."""
    return getrandbits(64) or 1


class RequestTrace:
    """Hold the trace of one request of a client, and make its spans.

    Args:
        sink: takes the spans.
        trace_id: of the trace.
        parent_id: id of the client's span; 0 if the trace begins here.
        state: the client's ``tracestate``.
        offset_ns: nanoseconds since 1970 when the clock of ``time.monotonic`` was 0.

    Attributes:
        context: of the request's own span.
        parent_id: see above.
        is_remote: whether the parent is a span of the client.
        state: see above.
        links: further spans that the request belongs to.
        received_at: when its body had come, on the clock of ``time.monotonic``; 0 if unknown.
        called_at: when the first module was called; 0 if none was.
        answered_at: when the last called module had answered; 0 if none has.
        responded_at: when the first byte of the response was given to the connection; 0 if none was.
    """

    __slots__ = (
        "_offset_ns",
        "_sink",
        "answered_at",
        "called_at",
        "context",
        "is_remote",
        "links",
        "parent_id",
        "received_at",
        "responded_at",
        "state",
    )

    def __init__(self, sink: Sink, trace_id: int, parent_id: int, state: str, offset_ns: int, *, is_remote: bool = False) -> None:
        self._sink = sink
        self._offset_ns = offset_ns
        self.context = TraceContext(trace_id, new_span_id())
        self.parent_id = parent_id
        self.is_remote = is_remote
        self.state = state
        self.links: Sequence[TraceContext] = ()
        self.received_at = self.called_at = self.answered_at = self.responded_at = 0.0

    @property
    def id(self) -> str:
        """Id of the trace, as collectors show it."""
        return f"{self.context.trace_id:032x}"

    def note_response(self) -> None:
        """Note that a response is encoded; the first one counts."""
        self.responded_at = self.responded_at or time.monotonic()

    def responding(self) -> str:
        """Note that the response begins; return the ``traceparent`` that it has."""
        self.note_response()
        return self.context.header()

    def new_context(self) -> TraceContext:
        """Return the place of a new span."""
        return TraceContext(self.context.trace_id, new_span_id())

    def add(
        self,
        name: str,
        start: float,
        end: float,
        attributes: dict[str, Any],
        *,
        parent_id: int,
        context: TraceContext | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        links: Sequence[TraceContext] = (),
        error: str = "",
        is_remote: bool = False,
    ) -> TraceContext:
        """Add a span that has ended; return its place.

        Args:
            name: of what was done.
            start: on the clock of ``time.monotonic``.
            end: likewise.
            attributes: name to value; None for one that is left out.
            parent_id: id of the span above it; 0 for none.
            context: its place, if that is known already.
            kind: its role.
            links: further spans that it belongs to.
            error: why it failed; "" if it did not.
            is_remote: whether the parent is a span of the client.
        """
        context = context or self.new_context()
        start_ns = int(start * 1e9) + self._offset_ns
        end_ns = max(start_ns, int(end * 1e9) + self._offset_ns)
        self._sink(Span(name, context, parent_id, is_remote, start_ns, end_ns, attributes, kind, links, error[:_LONGEST], self.state))
        return context

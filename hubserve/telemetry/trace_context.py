"""W3C's trace context: the headers that name the trace of a request (https://www.w3.org/TR/trace-context/)."""

import re
from typing import NamedTuple

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACESTATE = re.compile(r"[ -~]{1,512}")
_INVALID_VERSION = "ff"
_SAMPLED = 1


class TraceContext(NamedTuple):
    """Place of a span in a trace.

    Attributes:
        trace_id: 128 bits, not 0.
        span_id: 64 bits, not 0.
        is_sampled: whether its trace is recorded.
    """

    trace_id: int
    span_id: int
    is_sampled: bool = True

    def header(self) -> str:
        """Return the value of ``traceparent``."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.is_sampled):02x}"


def parse_traceparent(value: str) -> TraceContext | None:
    """Return the context that a ``traceparent`` names; None if it is malformed, which counts as absent."""
    found = _TRACEPARENT.fullmatch(value.strip())
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    context = TraceContext(int(trace_id, 16), int(span_id, 16), bool(int(flags, 16) & _SAMPLED))
    if version == _INVALID_VERSION or (version == "00" and more) or not context.trace_id or not context.span_id:
        return None
    return context


def checked_tracestate(value: str) -> str:
    """Return a ``tracestate`` that can be passed on; "" for one that is too long or has other characters than printable ASCII."""
    value = value.strip()
    return value if _TRACESTATE.fullmatch(value) else ""

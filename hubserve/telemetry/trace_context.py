"""W3C's trace context: the headers that name the trace of a request (https://www.w3.org/TR/trace-context/)."""

import re
from typing import NamedTuple

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"

_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_MEMBER = re.compile(r"([a-z][_0-9a-z*/-]{0,255}|[a-z0-9][_0-9a-z*/-]{0,240}@[a-z][_0-9a-z*/-]{0,13})=[ -+\--<>-~]{0,255}[!-+\--<>-~]")
_MOST_MEMBERS = 32
_LONGEST_STATE = 512
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
    """Return a ``tracestate`` that can be passed on; "" for one that is malformed or too long, which counts as absent."""
    members = [member for each in value.split(",") if (member := each.strip(" \t"))] if len(value) <= _LONGEST_STATE else []
    keys = {each.partition("=")[0] for each in members}
    if len(members) > _MOST_MEMBERS or len(keys) < len(members) or not all(map(_MEMBER.fullmatch, members)):
        return ""
    return ",".join(members)

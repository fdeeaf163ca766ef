"""Join the traces that a module's own OpenTelemetry instrumentation makes to those of the requests that it computes."""

import sys
from typing import Any, Optional

_API = "opentelemetry"
#: set while a context of ours is attached
_token: Optional[Any] = None


def join_trace(traceparent: str) -> None:
    """Make the span of a ``traceparent`` OpenTelemetry's current one in this thread, if the module has imported OpenTelemetry.

    Args:
        traceparent: of the span that the gateway makes for the module's code; "" for a request that is not traced.
    """
    global _token  # noqa: PLW0603 - an instance computes one frame at a time
    leave_trace()
    if not traceparent or _API not in sys.modules:
        return
    try:
        from opentelemetry import context, trace

        place = trace.SpanContext(int(traceparent[3:35], 16), int(traceparent[36:52], 16), True, trace.TraceFlags(1))
        _token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(place)))
    except Exception:  # whatever version the module's environment has, it must not fail requests
        _token = None


def leave_trace() -> None:
    """Undo :func:`join_trace`."""
    global _token
    if _token is not None:
        from opentelemetry import context

        token, _token = _token, None
        context.detach(token)


def own_trace() -> str:
    """Return the ``traceparent`` of OpenTelemetry's current span in this thread or task; "" for none."""
    if _API not in sys.modules:
        return ""
    try:
        from opentelemetry import trace

        place = trace.get_current_span().get_span_context()
    except Exception:  # as above
        return ""
    return f"00-{place.trace_id:032x}-{place.span_id:016x}-01" if place.is_valid and place.trace_flags.sampled else ""

"""Traces of requests, as models of Triton's Python backend see them."""

import json
from typing import Any, Optional


class InferenceTrace:
    """Trace of a request, to pass on to the requests that a model sends for it.

    Args:
        traceparent: of the span in which the request is computed; anything else is a request that is not traced.
    """

    def __init__(self, traceparent: Any = "", *_: Any, **__: Any) -> None:
        self.traceparent = traceparent if isinstance(traceparent, str) else ""

    def get_context(self) -> Optional[str]:
        """Return the JSON of the headers by which OpenTelemetry's propagators take the trace up; None if the request is not traced."""
        return json.dumps({"traceparent": self.traceparent}) if self.traceparent else None

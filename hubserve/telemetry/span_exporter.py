"""Send spans to an OTLP endpoint with OpenTelemetry's SDK, off the way of the requests.

The SDK's own tracers choose ids and times themselves, when a span begins. Here spans are known once they have ended, with ids that were
sent to instances before. So this makes the SDK's finished spans, and has its processor and exporters do the rest.
"""

import logging
import threading
import time
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, TraceFlags, TraceState
from opentelemetry.trace import SpanKind as OtelSpanKind
from opentelemetry.trace.status import Status, StatusCode

from hubserve.telemetry.spans import Span, SpanKind
from hubserve.telemetry.trace_context import TraceContext

log = logging.getLogger("hubserve")

_KINDS = {SpanKind.INTERNAL: OtelSpanKind.INTERNAL, SpanKind.SERVER: OtelSpanKind.SERVER, SpanKind.CLIENT: OtelSpanKind.CLIENT}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_FAILED = StatusCode.ERROR
_UNSET = Status(StatusCode.UNSET)
#: between two lines of the log about spans that were not sent
_LOG_EVERY_S = 60.0
#: loggers of the SDK that write about each failure; their lines become the reason of ours
_SDK_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.sdk._shared_internal",
)
_LONGEST_REASON = 500
#: how long the end of the server waits for the last spans
_CLOSE_S = 3.0


class _Quiet(logging.Filter):
    """Filter that keeps back what the SDK logs in a thread while it works for us, but remembers it.

    An application in whose process this runs may use the SDK, too; its lines stay.
    """

    def __init__(self) -> None:
        super().__init__()
        self._local = threading.local()

    def __enter__(self) -> "_Quiet":
        self._local.lines = []
        return self

    def __exit__(self, *_: object) -> None:
        self._local.lines = None

    def reason(self) -> str:
        """Return the first and the last line that were kept back: why it failed, and how it ended; "" for none."""
        lines = self._local.lines
        return "; ".join(dict.fromkeys(each.strip().rstrip(".") for each in (*lines[:1], *lines[-1:])))

    def filter(self, record: logging.LogRecord) -> bool:
        """Return False for a line that is kept back."""
        lines = getattr(self._local, "lines", None)
        if lines is None:
            return True
        lines.append(record.getMessage())
        return False


class _CountingExporter(SpanExporter):
    """Exporter that counts spans by their fate, and reports failures once in a while.

    Args:
        inner: sends the spans.
        quiet: keeps back what the SDK logs.
        place: the endpoint, for the log.
        secrets: texts that must not appear in the log.
    """

    def __init__(self, inner: SpanExporter, quiet: _Quiet, place: str, secrets: Sequence[str]) -> None:
        self.taken = self.exported = self.failed = 0
        self._inner = inner
        self._quiet = quiet
        self._place = place
        self._secrets = secrets
        self._logged_at = 0.0
        self._unreported = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; called in the processor's thread."""
        self.taken += len(spans)
        with self._quiet as quiet:
            try:
                result, reason = self._inner.export(spans), quiet.reason()
            except Exception as error:  # such as headers that the transport refuses
                result, reason = SpanExportResult.FAILURE, f"{type(error).__name__}: {error}"
        if result is SpanExportResult.SUCCESS:
            self.exported += len(spans)
            return result
        self.failed += len(spans)
        self.report(len(spans), reason)
        return result

    def report(self, lost: int, reason: str) -> None:
        """Log that spans were lost, at most once in a while."""
        self._unreported += lost
        now = time.monotonic()
        if self._logged_at and now - self._logged_at < _LOG_EVERY_S:
            return
        self._logged_at = now
        for secret in self._secrets:
            reason = reason.replace(secret, "***")
        count, self._unreported = self._unreported, 0
        log.warning(
            "%d spans could not be sent to %s and are lost: %s. Requests are answered as before; check trace_endpoint and trace_protocol.",
            count,
            self._place,
            " ".join(reason.split())[:_LONGEST_REASON] or "no reason was given",
        )

    def shutdown(self) -> None:
        """Close the connection."""
        self._inner.shutdown()


class SpanSender:
    """Queue of spans to an endpoint, which drops the oldest ones if they cannot be sent.

    Args:
        exporter: the SDK's, for the endpoint.
        resource: attributes of this server.
        version: of hubserve.
        place: the endpoint, for the log.
        secrets: texts that must not appear in the log.
        max_waiting: spans that may wait.

    Attributes:
        dropped: number of spans that were dropped because too many waited.
    """

    def __init__(
        self, exporter: SpanExporter, resource: dict[str, str], version: str, place: str, secrets: Sequence[str], max_waiting: int
    ) -> None:
        self.dropped = 0
        self._quiet = _Quiet()
        for name in _SDK_LOGGERS:
            logging.getLogger(name).addFilter(self._quiet)
        self._resource = Resource.create(resource)
        self._scope = InstrumentationScope("hubserve", version)
        self._exporter = _CountingExporter(exporter, self._quiet, place, secrets)
        self._max_waiting = max_waiting
        self._given = 0
        self._processor = BatchSpanProcessor(self._exporter, max_queue_size=max_waiting)

    @property
    def counts(self) -> dict[str, int]:
        """Number of spans by their fate: ``exported``, ``failed``, ``dropped``."""
        return {"exported": self._exporter.exported, "failed": self._exporter.failed, "dropped": self.dropped}

    def __call__(self, span: Span) -> None:
        """Queue a span."""
        if self._given - self._exporter.taken - self.dropped >= self._max_waiting:  # the processor drops its oldest
            self.dropped += 1
            self._exporter.report(1, "it answers too slowly, so that the oldest ones were dropped")
        self._given += 1
        with self._quiet:
            self._processor.on_end(self._converted(span))

    def _converted(self, span: Span) -> ReadableSpan:
        state = TraceState.from_header([span.state]) if span.state else None
        parent = None
        if span.parent_id:
            parent = SpanContext(span.context.trace_id, span.parent_id, span.is_remote, _SAMPLED, state)
        return ReadableSpan(
            _encodable(span.name),
            SpanContext(span.context.trace_id, span.context.span_id, False, _SAMPLED, state),
            parent,
            self._resource,
            {name: _encodable(value) for name, value in span.attributes.items() if value is not None},
            (),
            [Link(_context(each)) for each in span.links],
            _KINDS[span.kind],
            None,
            Status(_FAILED, _encodable(span.error)) if span.error else _UNSET,
            span.start_ns,
            span.end_ns,
            self._scope,
        )

    def flush(self) -> None:
        """Send what waits; blocks until it is sent or given up."""
        self._processor.force_flush()

    def close(self) -> None:
        """Send what waits, for at most a few seconds."""
        thread = threading.Thread(target=self._close, name="hubserve-traces", daemon=True)
        thread.start()
        thread.join(_CLOSE_S)
        for name in _SDK_LOGGERS:
            logging.getLogger(name).removeFilter(self._quiet)

    def _close(self) -> None:
        with self._quiet:
            self._processor.shutdown()  # type: ignore[no-untyped-call]  # the SDK's


def _encodable(value: Any) -> Any:
    """Return a text that is valid Unicode, as one that is not would fail all spans that are sent with it; other values as they are."""
    if not isinstance(value, str) or value.isascii():
        return value
    return value.encode("utf-8", "replace").decode()


def _context(place: TraceContext) -> Any:
    return SpanContext(place.trace_id, place.span_id, False, _SAMPLED)

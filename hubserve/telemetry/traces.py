"""Choose the requests that are traced, and make the spans of their stages."""

import math
import time
from collections.abc import Mapping
from random import getrandbits, random, randrange

from hubserve.telemetry.request_record import RequestRecord
from hubserve.telemetry.spans import RequestTrace, Sink, SpanKind
from hubserve.telemetry.trace_context import checked_tracestate, parse_traceparent

_TRACEPARENT, _TRACESTATE = b"traceparent", b"tracestate"
_HALF_BITS = 64
_HALF = 1 << _HALF_BITS
_SERVER_ERROR = 500
#: gRPC's statuses that are failures of the server, as OpenTelemetry's conventions have them
_GRPC_FAILURES = ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")
#: codes of errors that clients cause, which PaddleHub's clients are answered with 200
_CLIENTS_ERRORS = (
    "invalid_input",
    "wrong_arguments",
    "too_large",
    "not_json",
    "unsupported_face",
    "module_not_found",
    "too_slow",
    "unknown_encoding",
    "forbidden",
)
#: characters of a path that a span keeps
_LONGEST_PATH = 512
#: the protocol of modules' pages
_PAGES = "gradio"
_GRPC = "grpc"
#: method of a stream of requests
_STREAM = "STREAM"


class Traces:
    """Sampler of requests at their beginning, and maker of the spans of those that have ended.

    Args:
        ratio: share of the requests that are traced, from 0 to 1. It counts for those whose client says nothing; a client's
            ``traceparent`` decides otherwise.
        sink: takes the spans.
    """

    def __init__(self, ratio: float, sink: Sink) -> None:
        self._bound = round(ratio * _HALF)
        self._sink = sink
        self._left = self._next_gap()  # requests that are not chosen before the next one that is

    def begin(self, record: RequestRecord, traceparent: str | None, tracestate: str | None = None) -> None:
        """Trace a request if it is chosen.

        Args:
            record: of the request.
            traceparent: that its client sent; None for none.
            tracestate: likewise.
        """
        parent = parse_traceparent(traceparent) if traceparent is not None else None
        if parent is None:
            self._sample(record)
            return
        record.trace_is_decided = True
        if parent.is_sampled:
            state = checked_tracestate(tracestate or "")
            self._trace(record, RequestTrace(self._sink, parent.trace_id, parent.span_id, state, _offset_ns(), is_remote=True))

    def begin_http(self, record: RequestRecord, headers: Mapping[bytes, bytes]) -> None:
        """Trace an HTTP request if it is chosen.

        Args:
            record: of the request.
            headers: of the request, by their names in lower case.
        """
        sent = headers.get(_TRACEPARENT)
        if sent is None:
            self._sample(record)
        else:
            self.begin(record, sent.decode("latin-1"), headers.get(_TRACESTATE, b"").decode("latin-1"))

    def _sample(self, record: RequestRecord) -> None:
        """Trace a request if it is chosen; most of them cost one subtraction instead of a random number."""
        if self._left > 0:
            self._left -= 1
            return
        self._left = self._next_gap()
        # samplers elsewhere, with the same ratio, choose by these bits, and agree
        low = randrange(self._bound)  # noqa: S311 - an id, and no secret
        self._trace(record, RequestTrace(self._sink, getrandbits(_HALF_BITS) << _HALF_BITS | low or 1, 0, "", _offset_ns()))

    def _next_gap(self) -> float:
        """Return how many requests come before the next chosen one, at random, as if each were chosen by itself."""
        share = self._bound / _HALF
        if not 0 < share < 1:
            return 0 if share else math.inf
        return math.floor(math.log(1 - random()) / math.log1p(-share))  # noqa: S311 - as above

    def begin_within(self, record: RequestRecord, stream: RequestRecord) -> None:
        """Trace one request of a stream of requests if it is chosen.

        It is part of the stream's trace if the stream's client has begun that, else of one of its own, as a stream may last for days.

        Args:
            record: of the request.
            stream: of the stream.
        """
        whole = stream.trace
        if not stream.trace_is_decided:
            self._sample(record)
            if record.trace is not None and whole is not None:
                record.trace.links = (whole.context,)
        elif whole is not None:
            self._trace(record, RequestTrace(self._sink, whole.context.trace_id, whole.context.span_id, whole.state, _offset_ns()))

    def force(self, record: RequestRecord) -> None:
        """Trace a request that has begun, whether or not it was chosen."""
        if record.trace is None:
            self._trace(record, RequestTrace(self._sink, getrandbits(2 * _HALF_BITS) or 1, 0, "", _offset_ns()))

    def _trace(self, record: RequestRecord, trace: RequestTrace) -> None:
        record.trace = trace
        record.identify()  # instances get the id together with the trace

    def end(self, record: RequestRecord) -> None:
        """Make the spans of a request that has ended.

        Requests that ask no module, such as those of probes, leave none unless they fail or their clients trace them.
        """
        trace = record.trace
        is_stream = record.method == _STREAM
        if trace is None or not (is_stream or record.module or record.error or trace.parent_id or trace.called_at):
            return
        if not is_stream:
            _add_stages(record, trace)
        trace.add(
            _name(record),
            record.started_at,
            record.ended_at,
            _attributes(record),
            parent_id=trace.parent_id,
            context=trace.context,
            kind=SpanKind.SERVER,
            links=trace.links,
            error=_failure(record),
            is_remote=trace.is_remote,
        )


def _offset_ns() -> int:
    return time.time_ns() - time.monotonic_ns()


def _add_stages(record: RequestRecord, trace: RequestTrace) -> None:
    """Add the spans of receiving, decoding, encoding and sending."""
    end, parent_id = record.ended_at, trace.context.span_id
    received_at = trace.received_at or (record.started_at if trace.called_at or trace.responded_at else end)
    if trace.received_at or received_at == end:
        trace.add("receive", record.started_at, received_at, {"hubserve.bytes": record.received_bytes}, parent_id=parent_id)
    decoded_at = trace.called_at or trace.responded_at or end
    if received_at < end:
        trace.add("decode", received_at, decoded_at, {}, parent_id=parent_id, error="" if trace.called_at else record.message)
    if 0 < trace.answered_at <= trace.responded_at:  # responses of a stream are encoded while its module computes
        trace.add("encode", trace.answered_at, trace.responded_at, {}, parent_id=parent_id)
    if trace.responded_at:
        trace.add("send", trace.responded_at, end, {"hubserve.bytes": record.sent_bytes}, parent_id=parent_id)


def _name(record: RequestRecord) -> str:
    """Return a name of which there are few: none has texts that only a client chooses."""
    if record.protocol == _GRPC:
        return record.path.lstrip("/")
    if not record.module:
        return record.method
    before, found, after = record.path.partition(f"/{record.module}")
    # pages have any number of paths, so that these cannot name a kind of request
    return f"{record.method} {before}{found}{'' if record.protocol == _PAGES else after}"[:_LONGEST_PATH]


def _attributes(record: RequestRecord) -> dict[str, object]:
    is_grpc = record.protocol == _GRPC
    attributes: dict[str, object] = {
        "hubserve.protocol": record.protocol or None,
        "hubserve.module": record.module or None,
        "hubserve.version": record.version or None,
        "hubserve.request_id": record.identify(),
        "client.address": record.peer or None,
        "error.type": record.error or None,
    }
    if is_grpc:
        attributes |= {"rpc.system": "grpc", "rpc.method": record.path.lstrip("/"), "rpc.response.status_code": str(record.status) or None}
    else:
        path = record.path.partition("?")[0][:_LONGEST_PATH]
        attributes |= {"http.request.method": record.method, "url.path": path, "http.response.status_code": record.status or None}
    return attributes


def _failure(record: RequestRecord) -> str:
    """Return why a request failed by a fault of the server; "" for others."""
    status = record.status
    if not status:
        return record.message or "the client left before it was answered"
    if isinstance(status, str):
        failed = status in _GRPC_FAILURES
    else:
        failed = status >= _SERVER_ERROR or (bool(record.error) and record.error not in _CLIENTS_ERRORS)
    return (record.message or str(status)) if failed else ""

"""Sampling, and the spans of a request's stages."""

from random import seed

import pytest

from hubserve.telemetry.request_record import RequestRecord
from hubserve.telemetry.spans import Span, SpanKind
from hubserve.telemetry.traces import Traces

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"


def record_of(traces: Traces, traceparent: "str | None" = None, **facts: object) -> RequestRecord:
    record = RequestRecord(10.0)
    record.ended_at, record.method, record.path, record.protocol = 11.0, "POST", "/predict/shout", "paddlehub"
    record.module, record.status = "shout", 200
    for name, value in facts.items():
        setattr(record, name, value)
    traces.begin(record, traceparent)
    return record


def ended(**facts: object) -> Span:
    spans: list[Span] = []
    traces = Traces(1, spans.append)
    traces.end(record_of(traces, **facts))
    return spans[-1]


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_the_ratio_is_a_share_of_the_requests_and_follows_from_the_trace(ratio: float) -> None:
    seed(4)
    traces = Traces(ratio, lambda _: None)
    chosen = [trace for _ in range(4000) if (trace := record_of(traces).trace) is not None]
    assert abs(len(chosen) / 4000 - ratio) < 0.03
    # as OpenTelemetry's samplers by ratio decide it, so that another program with the same ratio decides likewise
    assert all(trace.context.trace_id & (1 << 64) - 1 < ratio * (1 << 64) for trace in chosen)


@pytest.mark.parametrize(("ratio", "flag", "is_traced"), [(0.0, 1, True), (1.0, 0, False)])
def test_the_clients_decision_comes_before_the_ratio(ratio: float, flag: int, is_traced: bool) -> None:
    record = record_of(Traces(ratio, lambda _: None), f"{PARENT}{flag}")
    assert (record.trace is not None) == is_traced
    assert record.trace_is_decided


def test_requests_of_a_stream_are_chosen_one_by_one_unless_its_client_decides() -> None:
    traces = Traces(1, lambda _: None)
    for flag in (0, 1):
        stream, part = record_of(traces, f"{PARENT}{flag}"), RequestRecord(10.5)
        traces.begin_within(part, stream)
        if flag:
            assert stream.trace is not None
            assert part.trace is not None
            assert part.trace.context.trace_id == stream.trace.context.trace_id
            assert part.trace.parent_id == stream.trace.context.span_id
        else:
            assert part.trace is None
    stream, part = record_of(traces), RequestRecord(10.5)
    traces.begin_within(part, stream)
    assert stream.trace is not None
    assert part.trace is not None
    assert part.trace.context.trace_id != stream.trace.context.trace_id
    assert (part.trace.parent_id, part.trace.links) == (0, (stream.trace.context,))


@pytest.mark.parametrize(
    ("facts", "error"),
    [
        ({"status": 200}, ""),
        ({"status": 200, "error": "module_failed", "message": "it broke"}, "it broke"),
        ({"status": 200, "error": "invalid_input", "message": "no text"}, ""),
        ({"status": 404, "error": "module_not_found", "message": "absent"}, ""),
        ({"status": 503}, "503"),
        ({"status": 0}, "the client left before it was answered"),
        ({"status": "OK", "protocol": "grpc"}, ""),
        ({"status": "INVALID_ARGUMENT", "protocol": "grpc", "error": "invalid_input", "message": "no"}, ""),
        ({"status": "UNAVAILABLE", "protocol": "grpc", "error": "unavailable", "message": "busy"}, "busy"),
    ],
)
def test_failures_of_the_server_are_errors_and_those_of_clients_are_not(facts: dict[str, object], error: str) -> None:
    assert ended(**facts).error == error


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({}, "POST /predict/shout"),
        ({"module": "", "error": "module_not_found", "path": "/predict/anything"}, "POST"),
        ({"path": "/gradio/shout/file=1/2", "protocol": "gradio", "method": "GET"}, "GET /gradio/shout"),
        ({"path": "/v2/models/shout/infer", "protocol": "v2"}, "POST /v2/models/shout/infer"),
        ({"path": "/inference.Service/Call", "protocol": "grpc", "method": "CALL"}, "inference.Service/Call"),
    ],
)
def test_names_have_no_texts_that_only_clients_choose(facts: dict[str, object], name: str) -> None:
    span = ended(**facts)
    assert (span.name, span.kind, span.end_ns - span.start_ns) == (name, SpanKind.SERVER, 10**9)

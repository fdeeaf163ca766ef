"""Spans on their way to an endpoint."""

import logging

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from hubserve.telemetry.span_exporter import SpanSender
from hubserve.telemetry.spans import Span, SpanKind
from hubserve.telemetry.trace_context import TraceContext
from tests.otlp import Collector, http_collector
from tests.ports import free_port


def span(name: str = "work", **more: object) -> Span:
    fields = {
        "context": TraceContext(7, 9),
        "parent_id": 8,
        "is_remote": True,
        "start_ns": 10**18,
        "end_ns": 10**18 + 5,
        "attributes": {"text": "a", "count": 3, "share": 0.5, "yes": True, "none": None},
        "kind": SpanKind.CLIENT,
        "links": [TraceContext(5, 6)],
        "error": "",
        "state": "a=1",
    }
    return Span(name, **{**fields, **more})  # type: ignore[arg-type]


def sender_to(url: str, timeout_s: float = 1, **more: object) -> SpanSender:
    given = {"secrets": [], "max_waiting": 600, **more}
    return SpanSender(OTLPSpanExporter(url, timeout=timeout_s), {"service.name": "s"}, "1", url, **given)  # type: ignore[arg-type]


def sent(collector: Collector, *spans: Span) -> list:
    sender = sender_to(f"{collector.url}/v1/traces", 60)
    for each in spans:
        sender(each)
    sender.flush()
    sender.close()
    assert sender.counts == {"exported": len(spans), "failed": 0, "dropped": 0}
    return collector.spans


def test_every_field_arrives() -> None:
    with http_collector() as collector:
        (found,) = sent(collector, span(error="it broke"))
    assert (found.trace_id, found.span_id, found.parent_id) == (f"{7:032x}", f"{9:016x}", f"{8:016x}")
    assert (found.start_ns, found.end_ns, found.kind) == (10**18, 10**18 + 5, SpanKind.CLIENT)
    assert found.attributes == {"text": "a", "count": 3, "share": 0.5, "yes": True}
    assert found.links == [(f"{5:032x}", f"{6:016x}")]
    assert (found.status, found.message, found.state, found.resource["service.name"]) == (2, "it broke", "a=1", "s")


def test_texts_that_are_not_unicode_fail_no_other_spans() -> None:
    with http_collector() as collector:
        found = sent(collector, span("x\udc80"), span(error="\udcff"), span(attributes={"path": "/\ud800"}))
    assert [each.name for each in found] == ["x?", "work", "work"]
    assert found[2].attributes == {"path": "/?"}


def test_failures_are_logged_once_without_secrets_and_the_lines_of_others_stay(caplog: pytest.LogCaptureFixture) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1/traces?key=my-secret-key"
    sender = sender_to(url, secrets=["my-secret-key"])
    with caplog.at_level(logging.DEBUG):
        for _ in range(2):
            sender(span())
            sender.flush()
        logging.getLogger("opentelemetry.exporter.otlp.proto.http.trace_exporter").error("of the application itself")
    sender.close()
    assert sender.counts == {"exported": 0, "failed": 2, "dropped": 0}
    ours = [each for each in caplog.records if each.name == "hubserve"]
    assert len(ours) == 1
    assert "1 spans could not be sent" in ours[0].getMessage()
    others = [each.getMessage() for each in caplog.records if each.name.startswith("opentelemetry")]
    assert others == ["of the application itself"]
    assert "my-secret-key" not in ours[0].getMessage().replace(url, "")


def test_the_oldest_spans_are_dropped_and_counted_while_the_endpoint_does_not_answer() -> None:
    with http_collector() as collector:
        collector.released.clear()
        sender = SpanSender(OTLPSpanExporter(f"{collector.url}/v1/traces", timeout=60), {}, "1", "", [], 600)
        for number in range(2000):
            sender(span(str(number)))
        assert sender.dropped >= 2000 - 600 - 512
        collector.released.set()
        sender.flush()
        sender.close()
        assert sender.counts["exported"] == len(collector.spans) == 2000 - sender.dropped
        assert {each.name for each in collector.spans} >= {str(number) for number in range(1400, 2000)}

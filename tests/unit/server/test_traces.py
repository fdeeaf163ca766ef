"""Setting up traces from settings and OpenTelemetry's variables."""

import logging
import sys
from typing import Any

import pytest

from hubserve.errors import ConfigError
from hubserve.gateway.dataplane import DataPlane
from hubserve.protocols.base import Context
from hubserve.server.traces import set_up_traces, traces_address
from hubserve.settings import parse_settings
from hubserve.telemetry.request_record import RequestRecord

ENDPOINT = {"trace_endpoint": "http://localhost:4318"}


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"):
        monkeypatch.delenv(name, raising=False)


def context_with(**settings: Any) -> Context:
    context = Context(DataPlane([]), parse_settings({"modules_info": {"shout": {}}, **settings}, "test"))
    try:
        set_up_traces(context)
    finally:
        context.close()
    return context


def share_of(context: Context, requests: int = 400) -> float:
    assert context.telemetry.traces is not None
    chosen = 0
    for _ in range(requests):
        record = RequestRecord(0.0)
        context.telemetry.traces.begin(record, None)
        chosen += record.trace is not None
    return chosen / requests


def test_nothing_is_set_up_without_an_endpoint() -> None:
    context = context_with(trace_ratio=1)
    assert context.telemetry.traces is None
    assert not context.telemetry.end_listeners
    assert context.telemetry.span_counts() == {}


def test_without_the_packages_a_setting_is_refused_and_a_variable_is_warned_about(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delitem(sys.modules, "hubserve.telemetry.span_exporter", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match=r"pip install 'hubserve\[tracing\]'"):
        context_with(**ENDPOINT)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")
    with caplog.at_level(logging.WARNING):
        assert context_with().telemetry.traces is None
    assert "hubserve[tracing]" in caplog.text


@pytest.mark.parametrize(
    ("variables", "settings", "share"),
    [
        ({}, {}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, {}, 0.0),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, {"trace_ratio": 1}, 1.0),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, {}, 0.0),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, {}, 1.0),
    ],
)
def test_the_ratio_comes_from_the_settings_or_the_variables(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], settings: dict[str, Any], share: float
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert share_of(context_with(**ENDPOINT, **settings)) == share


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "much"}, "OTEL_TRACES_SAMPLER_ARG is 'much'"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, "OTEL_EXPORTER_OTLP_PROTOCOL is 'http/json'"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "100", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "200"}, "traces cannot be sent"),
    ],
)
def test_variables_that_cannot_be_used_are_refused(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], message: str) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=message):
        context_with(**ENDPOINT)


@pytest.mark.parametrize("variables", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_variables_turn_off_what_variables_turn_on(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4318", **variables}.items():
        monkeypatch.setenv(name, value)
    assert context_with().telemetry.traces is None
    assert context_with(**ENDPOINT).telemetry.traces is not None


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("http://localhost:4318", "http://localhost:4318/v1/traces"),
        ("http://localhost:4318/", "http://localhost:4318/v1/traces"),
        ("https://example.com/otlp?key=1", "https://example.com/otlp/v1/traces?key=1"),
        ("https://example.com/v1/traces", "https://example.com/v1/traces"),
    ],
)
def test_the_path_of_traces_is_added_once(endpoint: str, address: str) -> None:
    assert traces_address(endpoint) == address

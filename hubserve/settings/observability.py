"""Settings of metrics, logs, traces and statuses."""

from typing import Annotated, Literal

import msgspec

from hubserve.settings.module import Count

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


class ObservabilitySettings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Metrics, logs, traces and statuses."""

    metrics: bool = True
    """Serve the server's metrics in Prometheus' format at ``/metrics``."""
    metrics_port: Port | None = None
    """Port that serves ``/metrics`` and nothing else, such as Triton's 8002; 0 for any free one. Not set: ``/metrics`` is served on
    ``port``."""
    latency_summaries: bool = False
    """Have Triton's summaries in ``/metrics``: quantiles of the latencies of the last minute, for each module."""
    access_log: Literal["off", "text", "json"] = "off"
    """Write one line for each request: module, status, times, bytes, client and request id."""
    access_log_file: str = ""
    """File of the access log; a relative path is resolved beside the configuration file. Not set: the log."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level of the log."""
    log_format: Literal["text", "json"] = "text"
    """``json``: every line of the log is a JSON object."""
    log_file: str = ""
    """File of the log; a relative path is resolved beside the configuration file. Not set: standard error."""
    log_file_max_mb: Count = 100
    """Size at which a log file is rotated."""
    log_files_kept: Annotated[int, msgspec.Meta(ge=0)] = 5
    """Number of rotated files that are kept of each log file."""
    status_codes: Literal["paddlehub", "http"] = "paddlehub"
    """HTTP status of failures at ``/predict``. ``paddlehub``: 200 for most, as PaddleHub's clients expect, with the failure in
    ``status``. ``http``: 404 for unknown modules, 400 for wrong input, 500 for failures of modules, 503 for modules that cannot be
    loaded, so that load balancers and ``curl -f`` see them."""
    trace_dir: str = ""
    """Folder for request traces that clients may turn on. Not set: tracing to files is not allowed."""
    trace_endpoint: str = ""
    """Address of an OpenTelemetry collector that gets the spans of requests (OTLP), such as ``http://localhost:4318``, or
    ``http://localhost:4317`` with ``trace_protocol`` ``grpc``. Not set: that of ``OTEL_EXPORTER_OTLP_ENDPOINT``; without either, none
    are made."""
    trace_protocol: Literal["http", "grpc"] | None = None
    """Protocol of that endpoint. Default: that of ``OTEL_EXPORTER_OTLP_PROTOCOL``, or else ``http``."""
    trace_ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    """Share of the requests that are traced, from 0 to 1, for those whose clients do not decide it by a ``traceparent``. Default: that of
    ``OTEL_TRACES_SAMPLER``, or else 1."""
    trace_service_name: str = ""
    """Name of this server in its traces. Default: that of ``OTEL_SERVICE_NAME``, or else ``hubserve``."""
    trace_headers: dict[str, str] = {}
    """Headers for the endpoint, such as ``{"authorization": "Bearer ..."}``; they are never logged."""

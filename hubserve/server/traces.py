"""Set up the traces that the settings, or OpenTelemetry's environment variables, ask for."""

import logging
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from hubserve import __version__
from hubserve.errors import ConfigError
from hubserve.protocols.base import Context
from hubserve.settings import ServerSettings
from hubserve.telemetry.traces import Traces

if TYPE_CHECKING:
    from hubserve.telemetry.span_exporter import SpanSender

log = logging.getLogger("hubserve")

_PATH = "/v1/traces"
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_HEADERS = ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS")
_MOST_WAITING = 2048
#: shorter values of headers are not secrets, and replacing them would garble the log
_SECRET_LENGTH = 6


def set_up_traces(context: Context) -> None:
    """Trace requests if the settings ask for it.

    Raises:
        ConfigError: the packages for it are missing, or a variable has a value that cannot be used.
    """
    settings = context.settings
    endpoint = settings.trace_endpoint or _first(_ENDPOINTS)
    if not endpoint or (not settings.trace_endpoint and _is_off()):
        return
    try:
        sender = _sender(settings, endpoint)
    except ImportError as error:
        message = f"traces cannot be sent ({error}). Run: pip install 'hubserve[tracing]'"
        if settings.trace_endpoint:
            raise ConfigError(f"trace_endpoint is set, but {message}") from None
        log.warning("OTEL_EXPORTER_OTLP_ENDPOINT is set, but %s", message)
        return
    context.telemetry.traces = Traces(_ratio(settings), sender)
    context.telemetry.span_counts = lambda: sender.counts
    context.on_close.append(sender.close)


def _is_off() -> bool:
    """Return True if the environment, which names an endpoint, turns traces off again."""
    return _first(("OTEL_SDK_DISABLED",)).lower() == "true" or _first(("OTEL_TRACES_EXPORTER",)).lower() == "none"


def _first(variables: tuple[str, ...]) -> str:
    return next((value for each in variables if (value := os.environ.get(each, "").strip())), "")


def _sender(settings: ServerSettings, endpoint: str) -> "SpanSender":
    from hubserve.telemetry.span_exporter import SpanSender

    name = settings.trace_service_name or _first(("OTEL_SERVICE_NAME",))
    resource = {"service.version": __version__}
    if name or "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        resource["service.name"] = name or "hubserve"
    most = _first(("OTEL_BSP_MAX_QUEUE_SIZE",))
    max_waiting = int(most) if most.isdecimal() and int(most) else _MOST_WAITING
    try:
        return SpanSender(_exporter(settings), resource, __version__, _shown(endpoint), _secrets(settings), max_waiting)
    except (OSError, ValueError) as error:  # such as a certificate that cannot be read
        raise ConfigError(f"traces cannot be sent: {error}; check trace_endpoint and OpenTelemetry's variables (OTEL_...)") from None


def _exporter(settings: ServerSettings) -> Any:
    """Return the SDK's exporter; what the settings leave open it takes from the environment."""
    headers = {name.lower(): value for name, value in settings.trace_headers.items()}
    if _protocol(settings) == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter

        return GrpcExporter(settings.trace_endpoint or None, headers=tuple(headers.items()) or None)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter

    return HttpExporter(traces_address(settings.trace_endpoint) or None, headers=headers or None)


def _protocol(settings: ServerSettings) -> str:
    if settings.trace_protocol:
        return settings.trace_protocol
    named = _first(_PROTOCOLS)
    if named not in ("", "grpc", "http/protobuf"):
        raise ConfigError(f"OTEL_EXPORTER_OTLP_PROTOCOL is '{named}'; hubserve sends traces by 'grpc' or 'http/protobuf'")
    return "grpc" if named == "grpc" else "http"


def _ratio(settings: ServerSettings) -> float:
    if settings.trace_ratio is not None:
        return settings.trace_ratio
    sampler, argument = _first(("OTEL_TRACES_SAMPLER",)).removeprefix("parentbased_"), _first(("OTEL_TRACES_SAMPLER_ARG",))
    if sampler == "always_off":
        return 0.0
    if sampler != "traceidratio" or not argument:
        return 1.0
    try:
        ratio = float(argument)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ConfigError(f"OTEL_TRACES_SAMPLER_ARG is '{argument}'; give a share from 0 to 1, or set trace_ratio")
    return ratio


def traces_address(endpoint: str) -> str:
    """Return the address that spans are sent to over HTTP: that of a collector gets the path of OTLP."""
    if not endpoint:
        return ""
    parts = urlsplit(endpoint)
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=path if path.endswith(_PATH) else path + _PATH))


def _shown(endpoint: str) -> str:
    """Return an endpoint without what may be secret."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _secrets(settings: ServerSettings) -> list[str]:
    """Return the texts that must not appear in the log."""
    given = [pair.partition("=")[2].strip() for pair in _first(_HEADERS).split(",")]
    sent = [*settings.trace_headers.values(), *given, *map(unquote, given)]
    query = urlsplit(settings.trace_endpoint).query
    return [each for each in (*sent, *(word for value in sent for word in value.split()), query) if len(each) >= _SECRET_LENGTH]

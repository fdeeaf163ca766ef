"""Read a server's state as families of metrics, in Prometheus' terms; see docs/metrics.md.

Names that begin with ``nv_`` are Triton's, with its labels and units
(https://github.com/triton-inference-server/server/blob/main/docs/user_guide/metrics.md), so that its dashboards work.
"""

import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from prometheus_client.core import Metric

from hubserve import __version__
from hubserve.gateway.dataplane import ServedModule
from hubserve.gateway.first_responses import FAMILY
from hubserve.gateway.latency_summaries import LatencySummaries
from hubserve.gateway.statistics import ModuleStatistics
from hubserve.protocols.base import Context
from hubserve.telemetry.histogram import Histogram
from hubserve.telemetry.request_counts import RequestCounts
from hubserve.telemetry.summary import Summary

_MODEL = ("model", "version")
_MODULE = ("module", "version")

#: Triton's counters: name, help, value
_TRITON: tuple[tuple[str, str, Callable[[ModuleStatistics], float]], ...] = (
    ("nv_inference_request_success", "Number of successful inference requests", lambda each: each.success.count),
    ("nv_inference_count", "Number of inferences performed (items; cached ones are left out)", lambda each: each.inference_count),
    ("nv_inference_exec_count", "Number of model executions (batches)", lambda each: each.execution_count),
    ("nv_inference_request_duration_us", "Cumulative duration of requests in microseconds", lambda each: each.success.seconds * 1e6),
    ("nv_inference_queue_duration_us", "Cumulative queuing duration in microseconds", lambda each: each.queue.seconds * 1e6),
    ("nv_inference_compute_input_duration_us", "Cumulative duration of preparing inputs", lambda each: each.computed.input_s * 1e6),
    ("nv_inference_compute_infer_duration_us", "Cumulative duration of computing", lambda each: each.computed.infer_s * 1e6),
    ("nv_inference_compute_output_duration_us", "Cumulative duration of taking outputs", lambda each: each.computed.output_s * 1e6),
    ("nv_cache_num_hits_per_model", "Number of response cache hits", lambda each: each.cache_hit.count),
    ("nv_cache_num_misses_per_model", "Number of response cache misses", lambda each: each.cache_miss.count),
    ("nv_cache_hit_duration_per_model", "Cumulative duration of response cache hits", lambda each: each.cache_hit.seconds * 1e6),
    ("nv_cache_miss_duration_per_model", "Cumulative duration of response cache misses", lambda each: each.cache_miss.seconds * 1e6),
)
_REASONS = ("REJECTED", "CANCELED", "BACKEND", "OTHER")
#: of Metric: name in the text format, which gets the suffix _total there
_COUNTER, _GAUGE, _HISTOGRAM = "counter", "gauge", "histogram"


def families(context: Context, counts: RequestCounts) -> Iterator[Metric]:
    """Yield all families of a server, but those of its machine.

    Args:
        context: of its protocols.
        counts: of its requests.
    """
    modules = list(context.all_models)
    yield from _triton(modules)
    yield from _first_responses(modules)
    if context.settings.latency_summaries:
        yield from _summaries(modules)
    yield from _requests(counts)
    yield from _modules(modules)
    yield from _instances(modules)
    yield from _server(context)


def _triton(modules: list[ServedModule]) -> Iterator[Metric]:
    for name, text, value in _TRITON:
        family = Metric(name, text, _COUNTER)
        for module in modules:
            family.add_sample(name, _labels(_MODEL, module), value(module.statistics))
        yield family
    failed = Metric("nv_inference_request_failure", "Number of failed inference requests, by reason", _COUNTER)
    pending = Metric("nv_inference_pending_request_count", "Number of requests that wait for an instance", _GAUGE)
    for module in modules:
        labels = _labels(_MODEL, module)
        for reason in _REASONS:
            failed.add_sample(failed.name, {**labels, "reason": reason}, module.statistics.failed[reason])
        pending.add_sample(pending.name, labels, len(module.batcher))
    yield failed
    yield pending


def _first_responses(modules: list[ServedModule]) -> Iterator[Metric]:
    family = Metric(FAMILY, "Time until the first response to a request of a decoupled model in milliseconds", _HISTOGRAM)
    for module in modules:
        if module.statistics.first_responses is not None:
            _add_histogram(family, _labels(_MODEL, module), module.statistics.first_responses)
    yield family


#: Triton's summaries: name, help, value
_SUMMARIES: tuple[tuple[str, str, Callable[[LatencySummaries], Summary]], ...] = (
    ("nv_inference_request_summary_us", "Duration of requests in microseconds", lambda each: each.request),
    ("nv_inference_queue_summary_us", "Queuing duration in microseconds", lambda each: each.queue),
    ("nv_inference_compute_input_summary_us", "Duration of preparing inputs in microseconds", lambda each: each.compute_input),
    ("nv_inference_compute_infer_summary_us", "Duration of computing in microseconds", lambda each: each.compute_infer),
    ("nv_inference_compute_output_summary_us", "Duration of taking outputs in microseconds", lambda each: each.compute_output),
)


def _summaries(modules: list[ServedModule]) -> Iterator[Metric]:
    now = time.monotonic()
    for name, text, of in _SUMMARIES:
        family = Metric(name, text, "summary")
        for module in modules:
            if module.statistics.summaries is None:
                continue
            labels, summary = _labels(_MODEL, module), of(module.statistics.summaries)
            for quantile, value in summary.quantiles(now):
                family.add_sample(name, {**labels, "quantile": f"{quantile:g}"}, value * 1e6)
            family.add_sample(f"{name}_sum", labels, summary.total * 1e6)
            family.add_sample(f"{name}_count", labels, summary.count)
        yield family


def _requests(counts: RequestCounts) -> Iterator[Metric]:
    requests = Metric("hubserve_requests", "Requests that have ended", _COUNTER)
    for (module, version, protocol, status, error), count in counts.requests():
        labels = {"module": module, "version": version, "protocol": protocol, "status": str(status), "error": error}
        requests.add_sample("hubserve_requests_total", labels, count)
    yield requests
    by_key = Metric("hubserve_key_requests", "Requests that have ended, by the client that the key is of", _COUNTER)
    for (key, module), count in counts.by_key():
        by_key.add_sample("hubserve_key_requests_total", {"key": key, "module": module}, count)
    yield by_key
    durations = Metric("hubserve_request_duration_seconds", "Time from a request's head to the end of its response", _HISTOGRAM)
    received = Metric("hubserve_received_bytes", "Bytes of request bodies", _COUNTER)
    sent = Metric("hubserve_sent_bytes", "Bytes of response bodies", _COUNTER)
    for (module, protocol), place in list(counts.places.items()):
        labels = {"module": module, "protocol": protocol}
        _add_histogram(durations, labels, place.durations)
        received.add_sample("hubserve_received_bytes_total", labels, place.received_bytes)
        sent.add_sample("hubserve_sent_bytes_total", labels, place.sent_bytes)
    yield durations
    yield received
    yield sent
    streams = Metric("hubserve_streams", "Streams of requests over gRPC that have ended, by status", _COUNTER)
    for status, count in list(counts.streams.items()):
        streams.add_sample("hubserve_streams_total", {"status": status}, count)
    yield streams


def _modules(modules: list[ServedModule]) -> Iterator[Metric]:
    histograms: tuple[tuple[str, str, Callable[[ModuleStatistics], Histogram]], ...] = (
        ("hubserve_queue_seconds", "Waiting of requests for an instance", lambda each: each.queue_times),
        ("hubserve_compute_seconds", "Duration of calls of the module", lambda each: each.compute_times),
        ("hubserve_batch_size", "Items in calls of the module", lambda each: each.batch_sizes),
    )
    for name, text, histogram in histograms:
        family = Metric(name, text, _HISTOGRAM)
        for module in modules:
            _add_histogram(family, _labels(_MODULE, module), histogram(module.statistics))
        yield family
    ready = Metric("hubserve_module_ready", "1 if an instance answers", _GAUGE)
    limit = Metric("hubserve_max_batch_size", "Most items in one call", _GAUGE)
    info = Metric("hubserve_module_info", "Kind, engine and interpreter of a module", _GAUGE)
    for module in modules:
        labels = _labels(_MODULE, module)
        ready.add_sample(ready.name, labels, float(module.ready))
        limit.add_sample(limit.name, labels, module.description.max_batch_size)
        engine = (module.description.engine or {}).get("name", "")
        python = module.plan.instances[0].python if module.plan.instances else ""
        info.add_sample(info.name, {**labels, "kind": module.plan.info.kind, "engine": str(engine), "python": python}, 1)
    yield ready
    yield limit
    yield info


def _instances(modules: list[ServedModule]) -> Iterator[Metric]:
    instances = Metric("hubserve_instances", "Instances by state: running, starting, or failed to start", _GAUGE)
    restarts = Metric("hubserve_instance_restarts", "Instances that were replaced, by cause", _COUNTER)
    memory = Metric("hubserve_instance_memory_bytes", "Resident memory of an instance", _GAUGE)
    for module in modules:
        labels, states, causes = _labels(_MODULE, module), {"running": 0, "starting": 0, "failed": 0}, dict.fromkeys(("crash", "hung"), 0)
        for index, slot in enumerate(module.pool.slots):
            instance = slot.instance
            states["running" if slot.serves else "failed" if slot.error or module.load_error else "starting"] += 1
            for cause, count in list(slot.restart_causes.items()):
                causes[cause] = causes.get(cause, 0) + count
            if instance is not None and not instance.is_dead:
                memory.add_sample(memory.name, {**labels, "instance": str(index)}, instance.memory_bytes())
        for state, count in states.items():
            instances.add_sample(instances.name, {**labels, "state": state}, count)
        for cause, count in causes.items():
            restarts.add_sample(f"{restarts.name}_total", {**labels, "cause": cause}, count)
    yield instances
    yield restarts
    yield memory


def _server(context: Context) -> Iterator[Metric]:
    admission, connections, telemetry = context.admission, context.connections, context.telemetry
    yield _single("hubserve_requests_in_progress", "Requests that were admitted and have not ended", _GAUGE, admission.requests)
    yield _single("hubserve_pending_bytes", "Bytes of received bodies and unread responses", _GAUGE, admission.bytes)
    yield _single("hubserve_open_streams", "Open streams of requests over gRPC", _GAUGE, telemetry.open_streams)
    refused = Metric("hubserve_refused", "Connections and requests that were refused before they were read, by reason", _COUNTER)
    reasons = dict(telemetry.refused)
    if connections is not None:
        yield _single("hubserve_connections", "Open connections of clients", _GAUGE, len(connections))
        reasons["connection_limit"] = connections.refused
    for reason, count in reasons.items():
        refused.add_sample("hubserve_refused_total", {"reason": reason}, count)
    yield refused
    handshakes = Metric("hubserve_tls_handshakes", "TLS handshakes by result", _COUNTER)
    for result, count in dict(telemetry.handshakes).items():
        handshakes.add_sample("hubserve_tls_handshakes_total", {"result": result}, count)
    yield handshakes
    spans = Metric("hubserve_trace_spans", "Spans by their fate: exported, failed, or dropped because too many waited", _COUNTER)
    for fate, count in telemetry.span_counts().items():
        spans.add_sample("hubserve_trace_spans_total", {"fate": fate}, count)
    yield spans
    build = Metric("hubserve_build_info", "Version of hubserve and of its Python", _GAUGE)
    build.add_sample(build.name, {"version": __version__, "python": sys.version.partition(" ")[0]}, 1)
    yield build


def _single(name: str, text: str, kind: str, value: float) -> Metric:
    family = Metric(name, text, kind)
    family.add_sample(name, {}, value)
    return family


def _labels(names: tuple[str, str], module: ServedModule) -> dict[str, str]:
    return {names[0]: module.plan.info.name, names[1]: module.plan.info.version}


def _add_histogram(family: Any, labels: dict[str, str], histogram: Histogram) -> None:
    count = 0
    for bound, count in histogram.cumulative():
        family.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, count)
    family.add_sample(f"{family.name}_sum", labels, histogram.total)
    family.add_sample(f"{family.name}_count", labels, count)

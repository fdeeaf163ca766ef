"""OTLP endpoints that record the spans they are sent: a real HTTP server, and a real gRPC server."""

import contextlib
import gzip
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from secrets import token_hex
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceServicer, add_TraceServiceServicer_to_server

from tests.conftest import wait_for

#: spans are sent soon after they have ended
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
SERVER, CLIENT, INTERNAL = 2, 3, 1
ERROR = 2


@dataclass
class RecordedSpan:
    """A span as it came."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    status: int
    message: str
    state: str
    resource: dict[str, Any]


@dataclass
class Collector:
    """What came to an endpoint.

    Attributes:
        url: of the endpoint.
        headers: of each request.
        answer: HTTP status of each answer.
        blocked: while it is set, requests are not answered.
    """

    url: str = ""
    spans: list[RecordedSpan] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    answer: int = 200
    released: threading.Event = field(default_factory=threading.Event)

    def take(self, request: ExportTraceServiceRequest) -> None:
        for resource in request.resource_spans:
            about = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.spans += [_recorded(span, about) for scope in resource.scope_spans for span in scope.spans]

    def trace(self, trace_id: str, root: str = "") -> "Trace":
        """The spans of a trace, once that of the request has come: it is the last one."""
        wait_for(lambda: any(each.kind == SERVER and root in each.name for each in self.of(trace_id)))
        return Trace(self.of(trace_id))

    def of(self, trace_id: str) -> list[RecordedSpan]:
        return [each for each in [*self.spans] if each.trace_id == trace_id]

    def roots(self) -> list[RecordedSpan]:
        return [each for each in [*self.spans] if each.kind == SERVER]


class Trace:
    """The spans of one trace."""

    def __init__(self, spans: list[RecordedSpan]) -> None:
        self.spans = spans
        self._by_id = {each.span_id: each for each in spans}

    def paths(self) -> list[str]:
        """The names from the root to each span, in the order in which the spans began."""
        return [self.path(each) for each in sorted(self.spans, key=lambda each: (each.start_ns, -each.end_ns))]

    def path(self, span: RecordedSpan) -> str:
        above = self._by_id.get(span.parent_id)
        return f"{self.path(above)} > {span.name}" if above else span.name

    def one(self, name: str) -> RecordedSpan:
        found = self.all(name)
        assert len(found) == 1, f"{len(found)} spans are called {name!r}: {self.paths()}"
        return found[0]

    def all(self, name: str) -> list[RecordedSpan]:
        return sorted((each for each in self.spans if each.name == name), key=lambda each: each.start_ns)

    def parent(self, span: RecordedSpan) -> RecordedSpan:
        return self._by_id[span.parent_id]


def new_trace() -> tuple[str, dict[str, str]]:
    """The id of a new trace, and the header with which a client begins it."""
    trace_id = token_hex(16)
    return trace_id, {"traceparent": f"00-{trace_id}-{token_hex(8)}-01"}


def _recorded(span: Any, resource: dict[str, Any]) -> RecordedSpan:
    attributes = {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}
    links = [(each.trace_id.hex(), each.span_id.hex()) for each in span.links]
    ids = (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
    times = (span.start_time_unix_nano, span.end_time_unix_nano)
    return RecordedSpan(
        span.name, *ids, span.kind, *times, attributes, links, span.status.code, span.status.message, span.trace_state, resource
    )


@contextlib.contextmanager
def http_collector(tls: ssl.SSLContext | None = None) -> Iterator[Collector]:
    """An endpoint of OTLP over HTTP, encrypted if a context is given."""
    recorded = Collector()
    recorded.released.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            recorded.headers.append({name.lower(): value for name, value in self.headers.items()})
            recorded.paths.append(self.path)
            recorded.released.wait(60)
            if recorded.answer == 200:
                recorded.take(
                    ExportTraceServiceRequest.FromString(gzip.decompress(body) if self.headers["content-encoding"] == "gzip" else body)
                )
            answer = ExportTraceServiceResponse().SerializeToString()
            with contextlib.suppress(OSError):
                self.send_response(recorded.answer)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        recorded.url = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield recorded
        finally:
            recorded.released.set()
            server.shutdown()
            thread.join()


@contextlib.contextmanager
def grpc_collector() -> Iterator[Collector]:
    """An endpoint of OTLP over gRPC."""
    recorded = Collector()

    class Service(TraceServiceServicer):
        def Export(self, request: ExportTraceServiceRequest, context: grpc.ServicerContext) -> ExportTraceServiceResponse:
            recorded.headers.append({name: str(value) for name, value in context.invocation_metadata()})
            recorded.take(request)
            return ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(Service(), server)
    recorded.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield recorded
    finally:
        server.stop(None).wait()

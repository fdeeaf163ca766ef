"""An OTLP endpoint over HTTP that counts the spans it is sent, in a process of its own so that it takes no time from the load.

``GET /`` returns their number.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import urlopen


class _Sink(ThreadingHTTPServer):
    daemon_threads = True
    spans = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Sink

    def do_POST(self) -> None:
        import gzip

        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        body = self.rfile.read(int(self.headers["content-length"]))
        found = ExportTraceServiceRequest.FromString(gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body)
        self.server.spans += sum(len(scope.spans) for resource in found.resource_spans for scope in resource.scope_spans)
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(b"%d" % self.server.spans)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class OtlpSink:
    """A running endpoint.

    Attributes:
        url: for the setting ``trace_endpoint``.
    """

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def spans(self) -> int:
        """Return the number of spans that have come."""
        with urlopen(self.url) as answer:
            return int(answer.read())


@contextmanager
def running_sink() -> Iterator[OtlpSink]:
    """Start an endpoint, and end it afterwards."""
    process = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        yield OtlpSink(int(process.stdout.readline()))
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    sink = _Sink(("127.0.0.1", 0), _Handler)
    print(sink.server_port, flush=True)
    sink.serve_forever()

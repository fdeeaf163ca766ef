"""``GET /metrics``: the server's state for Prometheus, in its text format."""

import asyncio
import gzip
import logging
import re
from collections.abc import Iterator
from itertools import chain

from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry
from starlette.types import Receive, Scope, Send

from hubserve.access.keys import Need
from hubserve.net.asgi import respond, respond_options
from hubserve.net.headers import header
from hubserve.protocols.base import Context, Protocol
from hubserve.protocols.machine_metrics import MachineMetrics
from hubserve.protocols.metric_families import families
from hubserve.protocols.model_metrics import ModelFamilies, refresh
from hubserve.protocols.openapi.document import TEXT, Document, answer, operation
from hubserve.telemetry.request_counts import RequestCounts

log = logging.getLogger("hubserve")

#: the library adds a suffix to the names of all counters, and those of Triton and of its models have none
_COUNTER = re.compile(rb"^# HELP ((?!hubserve_|process_)[\w:]+)_total (.*)\n# TYPE \1_total counter$", re.MULTILINE)
_OFF = b"this server serves no metrics here: 'metrics' is false, or 'metrics_port' has another port for them\n"


class MetricsProtocol(Protocol):
    """Handler of ``/metrics``."""

    prefixes = ("/metrics",)
    is_for_modules = False

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        # an application that mounts the protocols has no other port for them
        self._is_on = context.settings.metrics and (context.settings.metrics_port is None or context.is_mounted)
        self._exposition = context.shared(Exposition) if context.settings.metrics else None

    def describe(self, document: Document) -> None:
        """See the base class."""
        if self._exposition is not None and self._is_on:
            responses = {"200": answer("Prometheus's text format.", {"type": "string"}, TEXT)}
            document.add("get", "/metrics", operation("metrics", "Metrics for Prometheus", "server", responses), Need.METRICS)

    def need_of(self, scope: Scope) -> Need:  # noqa: ARG002 - it has one path
        """Return that the key must permit to read metrics."""
        return Need.METRICS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self._exposition is None or not self._is_on:
            await respond(send, 404, _OFF, content_type="text/plain")
        else:
            await self._exposition(scope, receive, send)


class Exposition:
    """The metrics of a server as an ASGI application for one path.

    Args:
        context: of the server's protocols; its requests are counted from now on.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._counts = RequestCounts()
        self._of_models = ModelFamilies()
        self._machine = MachineMetrics()
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        context.telemetry.end_listeners.append(self._counts.add)
        context.telemetry.stream_listeners.append(self._counts.add_stream)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - it reads no body
        """Answer one request."""
        if scope["method"] == "OPTIONS":
            await respond_options(send, "GET, HEAD, OPTIONS")
            return
        if scope["method"] not in ("GET", "HEAD"):
            await respond(send, 405, b"/metrics takes GET\n", content_type="text/plain", allow="GET, HEAD, OPTIONS")
            return
        await refresh(self._context.all_models)
        accepts_gzip = "gzip" in header(scope, b"accept-encoding")
        body = await asyncio.to_thread(self._text, accepts_gzip)  # a thousand models are a megabyte of text
        encoding = {"content_encoding": "gzip"} if accepts_gzip else {}
        await respond(send, 200, body, content_type=CONTENT_TYPE_PLAIN_0_0_4, **encoding)

    def _text(self, compress: bool) -> bytes:
        found = chain(families(self._context, self._counts), self._machine.families())
        text = generate_latest(_Collected(found)) + generate_latest(self._process)
        try:
            text += generate_latest(_Collected(self._of_models.families(self._context.all_models)))
        except Exception:  # what modules publish is checked before; nothing of it may hide the server's own state
            log.exception("the metrics that modules publish cannot be shown")
        text = _COUNTER.sub(rb"# HELP \1 \2\n# TYPE \1 counter", text)
        return gzip.compress(text, 1) if compress else text


class _Collected(Collector):
    """Families of one moment."""

    def __init__(self, found: Iterator[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterator[Metric]:
        """Yield them."""
        return self._found

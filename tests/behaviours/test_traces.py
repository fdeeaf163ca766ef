"""Traces of requests, as a collector gets them."""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import Server, Start, servers, toy, wait_for
from tests.ports import free_port

pytest.importorskip("opentelemetry.sdk")

from tests.behaviours.certificates import Authority
from tests.otlp import ERROR, SERVER, SOON, Collector, Trace, grpc_collector, http_collector, new_trace

SHOUT = "POST /predict/shout"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with http_collector() as recorded:
        yield recorded


@pytest.fixture(scope="module")
def traced(collector: Collector, shared_home, tmp_path_factory) -> Iterator[Server]:
    """A server that traces only what its clients trace."""
    with servers(shared_home, tmp_path_factory.mktemp("traced")) as start:
        modules = {name: {**toy(name), "workers": 1} for name in ("shout", "doubler", "faulty")}
        yield start(modules, grpc_port=free_port(), environ=SOON, trace_endpoint=collector.url, trace_ratio=0, status_codes="http")


def spans_of_a_call(root: str, module: str) -> list[str]:
    call = f"{root} > call {module}"
    batch = f"{call} > batch"
    inside = [f"{call} > queue", batch, f"{batch} > compute", f"{batch} > compute > execute"]
    return [root, f"{root} > receive", f"{root} > decode", call, *inside, f"{root} > encode", f"{root} > send"]


def test_a_request_has_a_span_of_each_of_its_stages_below_that_of_its_client(traced: Server, collector: Collector) -> None:
    trace_id, headers = new_trace()
    answer = traced.predict("shout", json={"text": "hi"}, headers={**headers, "tracestate": "vendor=1", "X-Request-Id": "mine-7"})
    assert answer.json()["results"] == "HI!"
    trace = collector.trace(trace_id)
    assert sorted(trace.paths()) == sorted(spans_of_a_call(SHOUT, "shout"))
    root = trace.one(SHOUT)
    assert (root.kind, root.parent_id) == (SERVER, headers["traceparent"].split("-")[2])
    assert answer.headers["traceparent"] == f"00-{trace_id}-{root.span_id}-01"
    assert root.attributes == {
        "hubserve.protocol": "paddlehub",
        "hubserve.module": "shout",
        "hubserve.version": "1.0.0",
        "hubserve.request_id": "mine-7",
        "client.address": "127.0.0.1",
        "http.request.method": "POST",
        "url.path": "/predict/shout",
        "http.response.status_code": 200,
    }
    assert {each.state for each in trace.spans} == {"vendor=1"}
    assert all(root.start_ns <= each.start_ns <= each.end_ns <= root.end_ns for each in trace.spans)
    assert root.resource["service.name"] == "hubserve"
    compute = trace.one("compute")
    assert (compute.attributes["hubserve.batch.items"], compute.attributes["hubserve.batch.requests"]) == (1, 1)
    assert (compute.attributes["hubserve.instance"], compute.attributes["process.pid"]) == ("0", traced.instance_pids("shout")[0])
    assert collector.paths[0] == "/v1/traces"


def test_v2_requests_have_the_same_spans(traced: Server, collector: Collector) -> None:
    trace_id, headers = new_trace()
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    answer = requests.post(f"{traced.url}/v2/models/doubler/infer", json={"inputs": [tensor]}, headers=headers, timeout=30)
    assert answer.json()["outputs"][0]["data"] == [2, 4]
    trace = collector.trace(trace_id)
    assert sorted(trace.paths()) == sorted(spans_of_a_call("POST /v2/models/doubler/infer", "doubler"))
    assert trace.one("POST /v2/models/doubler/infer").attributes["hubserve.protocol"] == "v2"


@pytest.mark.parametrize("sent", ["00-{0}-00f067aa0ba902b7-00", "00-{0}-00f067aa0ba902b7-02"])
def test_requests_whose_clients_do_not_record_them_are_not_traced(traced: Server, collector: Collector, sent: str) -> None:
    trace_id, _ = new_trace()
    answer = traced.predict("shout", json={"text": "hi"}, headers={"traceparent": sent.format(trace_id)})
    assert "traceparent" not in answer.headers
    later, headers = new_trace()
    traced.predict("shout", json={"text": "hi"}, headers=headers)
    collector.trace(later)
    assert not collector.of(trace_id)


@pytest.mark.parametrize(
    "sent", ["", "nonsense", "00-{0}-0000000000000000-01", "ff-{0}-00f067aa0ba902b7-01", "00-{0}-00f067aa0ba902b7-01-more"]
)
def test_malformed_headers_count_as_absent(traced: Server, collector: Collector, sent: str) -> None:
    trace_id, _ = new_trace()
    answer = traced.predict("shout", json={"text": "hi"}, headers={"traceparent": sent.format(trace_id)})
    assert answer.json()["results"] == "HI!"
    assert "traceparent" not in answer.headers, "the ratio is 0"
    assert not collector.of(trace_id)


def failed(traced: Server, collector: Collector, module: str, **sent: object) -> Trace:
    trace_id, headers = new_trace()
    traced.predict(module, headers=headers, **sent)
    return collector.trace(trace_id)


def test_failures_of_modules_are_errors_of_all_spans_around_them(traced: Server, collector: Collector) -> None:
    trace = failed(traced, collector, "faulty", json={"how": "raise", "text": "over and out"})
    for name in ("execute", "compute", "call faulty", "POST /predict/faulty"):
        span = trace.one(name)
        assert span.status == ERROR
        assert "over and out" in span.message
    assert trace.one("batch").status != ERROR
    root = trace.one("POST /predict/faulty")
    assert (root.attributes["error.type"], root.attributes["http.response.status_code"]) == ("module_failed", 500)
    assert trace.one("call faulty").attributes["error.type"] == "module_failed"


def test_mistakes_of_clients_are_no_errors_of_the_server(traced: Server, collector: Collector) -> None:
    trace = failed(traced, collector, "absent", json={})
    root = trace.one("POST")
    assert (root.status, root.attributes["error.type"], root.attributes["http.response.status_code"]) == (0, "module_not_found", 404)


def test_a_request_whose_instance_dies_has_a_span_of_each_attempt(traced: Server, collector: Collector) -> None:
    trace = failed(traced, collector, "faulty", json={"how": "kill"})
    attempts = trace.all("compute")
    assert len(attempts) == 2
    assert {each.status for each in attempts} == {ERROR}
    assert len({each.attributes["process.pid"] for each in attempts}) == 2
    assert len(trace.all("queue")) == len(trace.all("batch")) == 2
    root = trace.one("POST /predict/faulty")
    assert (root.status, root.attributes["error.type"]) == (ERROR, "instance_died")


def test_a_request_whose_client_leaves_ends_with_an_error(traced: Server, collector: Collector, tmp_path: Path) -> None:
    traced.results("faulty")  # its instance runs again
    trace_id, headers = new_trace()
    body = json.dumps({"how": "until", "text": str(tmp_path / "go on")})
    with socket.create_connection(("127.0.0.1", traced.port)) as client:
        head = f"POST /predict/faulty HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        client.sendall(f"{head}traceparent: {headers['traceparent']}\r\n\r\n{body}".encode())
        wait_for(lambda: traced.computing("faulty"))
    trace = collector.trace(trace_id)
    root = trace.one("POST /predict/faulty")
    assert (root.status, "left" in root.message) == (ERROR, True)
    assert "http.response.status_code" not in root.attributes
    assert "cancelled" in trace.one("call faulty").message
    assert trace.one("compute").status == ERROR
    (tmp_path / "go on").touch()


def test_a_request_that_never_came_completely_has_the_span_of_receiving_only(traced: Server, collector: Collector) -> None:
    trace_id, headers = new_trace()
    with socket.create_connection(("127.0.0.1", traced.port)) as sock:
        sock.sendall(
            f"POST /predict/shout HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
            f"traceparent: {headers['traceparent']}\r\n\r\n{{".encode()
        )
        wait_for(lambda: json.loads(requests.get(f"{traced.url}/status", timeout=10).text))
    trace = collector.trace(trace_id)
    assert sorted(each.name for each in trace.spans) == [SHOUT, "receive"]


def test_batches_are_linked_to_all_of_their_members(start: Start, collector: Collector) -> None:
    doubler = {**toy("doubler"), "workers": 1, "max_queue_delay_ms": 1000, "preferred_batch_sizes": [8]}
    server = start({"doubler": doubler}, environ=SOON, trace_endpoint=collector.url, trace_ratio=0)
    traces = [new_trace() for _ in range(4)]
    tensor = {"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [1, 2, 3, 4]}

    def ask(headers: dict[str, str]) -> None:
        assert requests.post(f"{server.url}/v2/models/doubler/infer", json={"inputs": [tensor]}, headers=headers, timeout=30).ok

    threads = [threading.Thread(target=ask, args=(headers,)) for _, headers in traces]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spans = {trace_id: collector.trace(trace_id) for trace_id, _ in traces}
    batches = [batch for trace in spans.values() for batch in trace.all("batch")]
    together = max(batches, key=lambda each: each.attributes["hubserve.batch.requests"])
    size = together.attributes["hubserve.batch.requests"]
    assert size >= 2
    assert together.attributes["hubserve.batch.items"] == 2 * size
    linked = {(trace_id, spans[trace_id].one("call doubler").span_id) for trace_id, _ in together.links}
    assert set(together.links) == linked
    assert len(linked) == size
    for trace_id, _ in linked:
        compute = spans[trace_id].one("compute")
        if trace_id == together.trace_id:
            assert compute.parent_id == together.span_id
        else:
            assert compute.links == [(together.trace_id, together.span_id)]
            assert spans[trace_id].parent(compute).name == "call doubler"


def test_the_ratio_chooses_among_requests_without_a_trace(start: Start, collector: Collector) -> None:
    server = start({"shout": toy("shout")}, environ=SOON, trace_endpoint=collector.url, trace_ratio=0.5, trace_service_name="halves")
    with requests.Session() as session:
        sent = [session.post(f"{server.url}/predict/shout", json={"text": "hi"}, timeout=30) for _ in range(200)]
    named = {each.headers["traceparent"].split("-")[1] for each in sent if "traceparent" in each.headers}
    assert 50 < len(named) < 150
    wait_for(lambda: {each.trace_id for each in collector.roots() if each.resource["service.name"] == "halves"} == named)
    assert not any(each.parent_id for each in collector.roots() if each.resource["service.name"] == "halves")


def test_probes_and_pages_leave_no_traces(start: Start, collector: Collector) -> None:
    server = start({"shout": toy("shout")}, environ=SOON, trace_endpoint=collector.url, trace_service_name="probed")
    for path in ("/health/ready", "/metrics", "/v2/health/live", "/"):
        assert requests.get(server.url + path, timeout=30).ok
    server.results("shout", text="hi")
    wait_for(lambda: any(each.name == SHOUT and each.resource["service.name"] == "probed" for each in collector.roots()))
    assert {each.name for each in collector.roots() if each.resource["service.name"] == "probed"} == {SHOUT}


def test_spans_go_to_an_endpoint_of_grpc_with_its_headers_which_are_not_logged(start: Start) -> None:
    with grpc_collector() as collector:
        server = start(
            {"shout": toy("shout")},
            environ=SOON,
            trace_endpoint=collector.url,
            trace_protocol="grpc",
            trace_headers={"X-Token": "very-secret-token"},
        )
        trace_id, headers = new_trace()
        server.predict("shout", json={"text": "hi"}, headers=headers)
        trace = collector.trace(trace_id)
        assert sorted(trace.paths()) == sorted(spans_of_a_call(SHOUT, "shout"))
        assert collector.headers[0]["x-token"] == "very-secret-token"
        assert server.stop() == 0
        assert "very-secret-token" not in server.log.read_text()


def test_opentelemetrys_variables_turn_traces_on(start: Start, collector: Collector) -> None:
    environ = {
        **SOON,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_SERVICE_NAME": "by-variable",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=from-the-environment",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
    }
    server = start({"shout": toy("shout")}, environ=environ)
    server.results("shout", text="hi")
    root = wait_for(lambda: next((each for each in collector.roots() if each.resource["service.name"] == "by-variable"), None))
    assert root.resource["deployment.environment.name"] == "test"
    assert any(each.get("x-key") == "from-the-environment" and each["content-encoding"] == "gzip" for each in collector.headers)


def test_a_collector_with_tls_is_checked_by_the_authority_of_the_variables(start: Start, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.write(tmp_path, "collector"))
    with http_collector(context) as collector:
        usual = {**SOON, "REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": "", "OTEL_EXPORTER_OTLP_TIMEOUT": "2"}  # those would come first
        server = start({"shout": toy("shout")}, environ=usual, trace_endpoint=collector.url)
        server.results("shout", text="hi")
        wait_for(lambda: fates(server)["failed"])
        assert "certificate" in server.log.read_text().lower()
        trusting = {**usual, "OTEL_EXPORTER_OTLP_TIMEOUT": "60", "OTEL_EXPORTER_OTLP_CERTIFICATE": str(authority.file)}
        server = start({"shout": toy("shout")}, environ=trusting, trace_endpoint=collector.url)
        trace_id, headers = new_trace()
        server.predict("shout", json={"text": "hi"}, headers=headers)
        assert len(collector.trace(trace_id).spans) == len(spans_of_a_call(SHOUT, "shout"))


def fates(server: Server) -> dict[str, float]:
    text = requests.get(f"{server.url}/metrics", timeout=30).text
    lines = [line for line in text.splitlines() if line.startswith("hubserve_trace_spans_total{")]
    return {line.split('"')[1]: float(line.split()[-1]) for line in lines}


def test_spans_for_a_dead_endpoint_are_counted_and_logged_once(start: Start) -> None:
    address = f"http://127.0.0.1:{free_port()}"
    environ = {**SOON, "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    server = start(
        {"shout": toy("shout")}, environ=environ, trace_endpoint=address, trace_headers={"authorization": "Bearer secret-of-mine"}
    )
    for _ in range(5):
        server.results("shout", text="hi")
    wait_for(lambda: fates(server)["failed"] >= 10)
    for _ in range(5):
        server.results("shout", text="hi")
    wait_for(lambda: fates(server)["failed"] >= 60)
    lines = [line for line in server.log.read_text().splitlines() if "spans" in line]
    assert len(lines) == 1, server.log.read_text()
    assert address in lines[0]
    assert "Traceback" not in server.log.read_text()
    assert "secret-of-mine" not in server.log.read_text()
    assert server.stop() == 0


def test_a_wrong_endpoint_is_named_in_the_log(start: Start) -> None:
    with http_collector() as collector:
        collector.answer = 404
        server = start({"shout": toy("shout")}, environ=SOON, trace_endpoint=f"{collector.url}/elsewhere/")
        server.results("shout", text="hi")
        wait_for(lambda: fates(server)["failed"])
        assert "404" in wait_for(lambda: [line for line in server.log.read_text().splitlines() if "spans" in line])[0]
        assert collector.paths[0] == "/elsewhere/v1/traces"


def test_an_endpoint_that_does_not_answer_holds_up_nothing_and_the_oldest_spans_are_dropped(start: Start) -> None:
    with http_collector() as collector:
        collector.released.clear()
        environ = {**SOON, "OTEL_BSP_MAX_QUEUE_SIZE": "64", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "16", "OTEL_EXPORTER_OTLP_TIMEOUT": "60"}
        server = start({"shout": toy("shout")}, environ=environ, trace_endpoint=collector.url)
        last = ""
        for _ in range(30):
            last = server.predict("shout", json={"text": "hi"}).headers["traceparent"].split("-")[1]
        assert fates(server)["dropped"] > 100
        assert "dropped" in server.log.read_text()
        collector.released.set()
        collector.trace(last)
        counted = fates(server)
        assert wait_for(lambda: sum(fates(server).values()) == counted["dropped"] + len(collector.spans))
        assert not counted["failed"]


def test_settings_that_cannot_be_used_are_refused(start: Start) -> None:
    for settings, text in (
        ({"trace_endpoint": "localhost:4318"}, "must be the address of a collector"),
        ({"trace_endpoint": "http://user:word@localhost:4318"}, "password"),
        ({"trace_endpoint": "http://localhost:4318", "trace_headers": {"a b": "secret\n"}}, "cannot be sent"),
        ({"trace_endpoint": "http://localhost:4318", "trace_ratio": 1.5}, "trace_ratio"),
    ):
        server = start({"shout": toy("shout")}, wait=False, **settings)
        assert server.process.wait(60)
        assert text in server.log.read_text()
        assert "word@" not in server.log.read_text()


def test_a_server_that_stops_sends_the_last_spans(start: Start, collector: Collector) -> None:
    server = start({"shout": toy("shout")}, environ={"OTEL_BSP_SCHEDULE_DELAY": "600000"}, trace_endpoint=collector.url)
    trace_id, headers = new_trace()
    server.predict("shout", json={"text": "hi"}, headers=headers)
    assert not collector.of(trace_id)
    assert server.stop() == 0
    assert len(collector.of(trace_id)) == len(spans_of_a_call(SHOUT, "shout"))


def test_json_lines_about_a_traced_request_have_its_trace_id(start: Start, collector: Collector) -> None:
    endpoint = {"trace_endpoint": collector.url, "trace_ratio": 0}
    server = start({"faulty": toy("faulty")}, environ=SOON, access_log="json", log_format="json", **endpoint)
    trace_id, headers = new_trace()
    server.predict("faulty", json={"how": "raise"}, headers=headers)
    server.predict("faulty", json={"how": "raise"})

    def lines() -> list[dict]:
        complete = server.log.read_text().rpartition("\n")[0]
        found = [json.loads(line) for line in complete.splitlines() if line.startswith("{")]
        counted = [
            sum(each.get("path") == "/predict/faulty" for each in found),
            sum("Traceback" in each.get("message", "") for each in found),
        ]
        return found if counted == [2, 2] else []

    concerned = [each for each in wait_for(lines) if "request_id" in each]
    traced = [each for each in concerned if each.get("trace_id") == trace_id]
    assert any("bytes_in" in each for each in traced)
    assert any("Traceback" in each.get("message", "") for each in traced)
    assert len({each["request_id"] for each in traced}) == 1
    assert not [each for each in concerned if each not in traced and "trace_id" in each]


def test_texts_of_clients_cannot_spoil_the_spans_of_others(traced: Server, collector: Collector) -> None:
    odd_id, odd = new_trace()
    with socket.create_connection(("127.0.0.1", traced.port)) as sock:
        head = f"POST /predict/%ff%00%0a{{trace}} HTTP/1.1\r\nHost: x\r\ntraceparent: {odd['traceparent']}\r\ntracestate: broken\r\n"
        sock.sendall(f"{head}Content-Length: 2\r\n\r\n{{}}".encode("latin-1"))
        sock.recv(1000)
    trace_id, headers = new_trace()
    traced.predict("shout", json={"text": "hi"}, headers=headers)
    collector.trace(trace_id)
    assert [each.state for each in collector.trace(odd_id).spans if each.kind == SERVER] == [""]

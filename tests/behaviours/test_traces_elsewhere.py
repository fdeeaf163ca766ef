"""Traces over gRPC, in Flask, through calls between models, and inside instances."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import flask
import numpy as np
import pytest
import requests

import hubserve.flask
from hubserve.client import Client
from tests.conftest import MODULES, ROOT, Server, Start, servers, toy, wait_for
from tests.ports import free_port

pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("tritonclient.grpc")

import grpc
import tritonclient.grpc as triton

from tests.behaviours.grpc_clients import Answers, tensor, texts
from tests.behaviours.test_remote import listener
from tests.behaviours.test_traces import spans_of_a_call
from tests.otlp import CLIENT, ERROR, INTERNAL, SERVER, SOON, Collector, Trace, http_collector, new_trace
from tests.triton_models import SCALE, write_scale
from tests.triton_models import tensor as tensor_config

INFER = "inference.GRPCInferenceService/ModelInfer"
STREAM = "inference.GRPCInferenceService/ModelStreamInfer"

#: a module with spans of its own
OWN_SPANS = """
from hubserve.module import current_trace, moduleinfo, serving
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

tracer = TracerProvider().get_tracer("own")

@moduleinfo(name="own_spans", version="1.0.0", summary="Makes spans of its own")
class OwnSpans:
    @serving
    def spans(self):
        before = current_trace()
        with tracer.start_as_current_span("own") as span:
            context, parent = span.get_span_context(), span.parent
            inside = current_trace()
        return {
            "before": before,
            "inside": inside,
            "own": [format(context.trace_id, "032x"), format(context.span_id, "016x")],
            "parent": parent and format(parent.span_id, "016x"),
        }
"""

#: a model that passes on the trace of each of its requests, and returns what it sees of it
CALLING = """
import json
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            sent = pb_utils.Tensor("x", pb_utils.get_input_tensor_by_name(request, "x").as_numpy())
            if sent.as_numpy()[0, 0] < 0:
                raise ValueError("no negative numbers")
            inner = pb_utils.InferenceRequest(model_name="scale", requested_output_names=["y"], inputs=[sent], trace=request.trace())
            answer = inner.exec()
            if answer.has_error():
                raise pb_utils.TritonModelException(answer.error().message())
            seen = np.array([[request.trace().get_context() or ""]] * sent.shape()[0], dtype=np.object_)
            answers.append(pb_utils.InferenceResponse([answer.output_tensors()[0], pb_utils.Tensor("seen", seen)]))
        return answers
"""


#: a model that answers each request when it gets it for the second time
TWICE = """
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def initialize(self, args):
        self.seen = 0

    def execute(self, requests):
        self.seen += 1
        if self.seen % 2:
            for request in requests:
                request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            return [None] * len(requests)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", each.inputs()[0].as_numpy())]) for each in requests]
"""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with http_collector() as recorded:
        yield recorded


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that are called by an ensemble, and by another model."""
    folder = tmp_path_factory.mktemp("store")
    write_scale(folder, "scale")
    write_scale(folder, "twice", factor=4.0)
    (folder / "calling" / "1").mkdir(parents=True)
    (folder / "calling" / "1" / "model.py").write_text(CALLING)
    config = f"max_batch_size: 8 input [ {tensor_config('x', [4])} ]"
    outputs = f"output [ {tensor_config('y', [4])}, {tensor_config('seen', [1], 'TYPE_STRING')} ]"
    (folder / "calling" / "config.pbtxt").write_text(f'backend: "python" {config} {outputs}')
    steps = [
        "{ model_name: 'calling' model_version: -1 input_map { key: 'x' value: 'in' } output_map { key: 'y' value: 'between' } }",
        "{ model_name: 'twice' model_version: -1 input_map { key: 'x' value: 'between' } output_map { key: 'y' value: 'out' } }",
    ]
    (folder / "both" / "1").mkdir(parents=True)
    head = f"platform: 'ensemble' max_batch_size: 8 input [ {tensor_config('in', [4])} ] output [ {tensor_config('out', [4])} ]"
    (folder / "both" / "config.pbtxt").write_text(f"{head} ensemble_scheduling {{ step [ {', '.join(steps)} ] }}")
    for name in ("pb_repeat", "pb_bls", "pb_sum"):
        shutil.copytree(MODULES / "triton" / name, folder / name)
    (folder / "pb_twice" / "1").mkdir(parents=True)
    (folder / "pb_twice" / "1" / "model.py").write_text(TWICE)
    (folder / "pb_twice" / "config.pbtxt").write_text(f'backend: "python" {SCALE}')
    return folder


@pytest.fixture(scope="module")
def own_spans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("modules") / "own_spans"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "module.py").write_text(OWN_SPANS)
    return {"init_args": {"directory": str(folder)}, "workers": 1}


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def traced(
    collector: Collector,
    store: Path,
    own_spans: dict[str, object],
    grpc_port: int,
    shared_home: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    with servers(shared_home, tmp_path_factory.mktemp("traced")) as start:
        modules = {**{name: {**toy(name), "workers": 1} for name in ("shout", "doubler", "faulty", "paged")}, "own_spans": own_spans}
        yield start(
            modules, model_store=[str(store)], grpc_port=grpc_port, environ=SOON, trace_endpoint=collector.url, trace_ratio=0, workers=1
        )


def infer(traced: Server, model: str, name: str = "x") -> tuple[str, dict]:
    trace_id, headers = new_trace()
    sent = {"name": name, "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    answer = requests.post(f"{traced.url}/v2/models/{model}/infer", json={"inputs": [sent]}, headers=headers, timeout=60)
    assert answer.ok, answer.text
    return trace_id, answer.json()


# --- gRPC ---


@pytest.fixture(scope="module")
def client(traced: Server, grpc_port: int) -> Iterator["triton.InferenceServerClient"]:
    with triton.InferenceServerClient(f"127.0.0.1:{grpc_port}") as client:
        yield client


def test_unary_calls_have_the_same_spans_and_answers_carry_the_trace(
    traced: Server, collector: Collector, client: object, grpc_port: int
) -> None:
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    trace_id, headers = new_trace()
    request = service_pb2.ModelInferRequest(model_name="doubler")
    request.inputs.add(name="x", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([1, 2])
    with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        _, call = stub.ModelInfer.with_call(request, metadata=[*headers.items(), ("tracestate", "vendor=2")])
    trace = collector.trace(trace_id)
    assert sorted(trace.paths()) == sorted(spans_of_a_call(INFER, "doubler"))
    root = trace.one(INFER)
    assert (root.kind, root.parent_id) == (SERVER, headers["traceparent"].split("-")[2])
    assert dict(call.initial_metadata())["traceparent"] == f"00-{trace_id}-{root.span_id}-01"
    expected = {"hubserve.protocol": "grpc", "rpc.system": "grpc", "rpc.method": INFER, "rpc.response.status_code": "OK"}
    assert expected.items() <= root.attributes.items()
    assert {each.state for each in trace.spans} == {"vendor=2"}


def test_a_failed_call_has_its_status(traced: Server, collector: Collector, client: "triton.InferenceServerClient") -> None:
    trace_id, headers = new_trace()
    with pytest.raises(triton.InferenceServerException):
        client.infer("faulty", [tensor("arguments", texts(b'{"how": "raise", "text": "not today"}'), "BYTES")], headers=headers)
    root = collector.trace(trace_id).one(INFER)
    assert (root.status, root.attributes["rpc.response.status_code"]) == (ERROR, "INTERNAL")
    assert "not today" in root.message


def test_a_cancelled_call_ends_with_an_error(
    traced: Server, collector: Collector, client: "triton.InferenceServerClient", tmp_path: Path
) -> None:
    trace_id, headers = new_trace()
    until = json.dumps({"how": "until", "text": str(tmp_path / "go on")}).encode()
    sent = [tensor("arguments", texts(until), "BYTES")]
    running = client.async_infer("faulty", sent, callback=lambda result, error: None, headers=headers)
    wait_for(lambda: traced.computing("faulty"))
    running.cancel()
    trace = collector.trace(trace_id)
    assert trace.one(INFER).status == ERROR
    assert "cancelled" in trace.one("call faulty").message
    (tmp_path / "go on").touch()


def test_each_request_of_a_stream_has_a_span_below_that_of_the_stream(traced: Server, collector: Collector, grpc_port: int) -> None:
    trace_id, headers = new_trace()
    answers = Answers()
    with triton.InferenceServerClient(f"127.0.0.1:{grpc_port}") as client:
        client.start_stream(answers, headers=headers)
        for number in range(3):
            client.async_stream_infer("doubler", [tensor("x", np.full((1, 2), number, np.float32))], request_id=str(number))
        assert [answers.next().as_numpy("y").ravel().tolist() for _ in range(3)] == [[0, 0], [2, 2], [4, 4]]
        client.async_stream_infer("pb_repeat", [tensor("COUNT", np.array([4], np.int32), "INT32")])
        assert [answers.next().as_numpy("OUT") is not None for _ in range(4)] == [True] * 4
        client.stop_stream()
    stream = wait_for(
        lambda: next((each for each in collector.of(trace_id) if each.parent_id == headers["traceparent"].split("-")[2]), None)
    )
    trace = Trace(collector.of(trace_id))
    requests_of_it = [each for each in trace.spans if each.parent_id == stream.span_id]
    assert (stream.name, stream.kind) == (STREAM, SERVER)
    assert sorted((each.name, each.attributes["hubserve.module"]) for each in requests_of_it) == [(STREAM, "doubler")] * 3 + [
        (STREAM, "pb_repeat")
    ]
    call = f"{STREAM} > {STREAM} > call doubler"
    assert trace.paths().count(f"{call} > batch > compute > execute") >= 1
    assert len(trace.all("call doubler")) == 3
    assert len(trace.all("call pb_repeat")) == 1
    assert all(each.kind == INTERNAL for each in trace.all("compute"))


# --- calls between models ---


def test_steps_of_ensembles_and_calls_of_models_are_below_what_calls_them(traced: Server, collector: Collector) -> None:
    trace_id, answer = infer(traced, "both", "in")
    assert answer["outputs"][0]["data"] == [8, 16, 24, 32]
    trace = collector.trace(trace_id)
    root = "POST /v2/models/both/infer > call both"
    paths = trace.paths()
    assert f"{root} > call calling > batch > compute > execute > call scale > batch > compute > execute" in paths
    assert f"{root} > call twice > batch > compute > execute" in paths
    assert trace.one("call twice").start_ns >= trace.one("call calling").end_ns
    assert len(paths) == 1 + 4 + 1 + 3 * 5  # the request, its stages, the ensemble, and three models


def test_a_model_sees_its_trace_as_opentelemetrys_propagators_read_it(traced: Server, collector: Collector) -> None:
    trace_id, answer = infer(traced, "calling")
    seen = json.loads(next(each["data"][0] for each in answer["outputs"] if each["name"] == "seen"))
    trace = collector.trace(trace_id)
    execute = trace.parent(trace.one("call scale"))
    assert seen == {"traceparent": f"00-{trace_id}-{execute.span_id}-01"}
    assert trace.parent(trace.parent(trace.parent(execute))).name == "call calling"


def test_calls_of_coroutines_are_below_the_model_that_makes_them(traced: Server, collector: Collector) -> None:
    trace_id, headers = new_trace()
    plan = json.dumps({"async": [{"call": "sum", "values": [1, 2]}, {"call": "pb_bls", "plan": {"call": "sum", "values": [3]}}]})
    sent = {"name": "PLAN", "datatype": "BYTES", "shape": [1], "data": [plan]}
    answer = requests.post(f"{traced.url}/v2/models/pb_bls/infer", json={"inputs": [sent]}, headers=headers, timeout=60)
    assert answer.ok, answer.text
    trace = collector.trace(trace_id)
    outer = "POST /v2/models/pb_bls/infer > call pb_bls"
    inside = "batch > compute > execute"
    paths = trace.paths()
    assert f"{outer} > {inside} > call pb_sum > {inside}" in paths
    assert f"{outer} > {inside} > call pb_bls > {inside} > call pb_sum > {inside}" in paths
    first = trace.all("call pb_bls")[0]
    compute = next(each for each in trace.all("compute") if trace.parent(trace.parent(each)) is first)
    assert all(compute.start_ns <= each.start_ns <= each.end_ns <= compute.end_ns for each in trace.all("call pb_sum"))


def test_the_step_of_an_ensemble_that_fails_is_marked_and_so_is_the_ensemble(traced: Server, collector: Collector) -> None:
    trace_id, headers = new_trace()
    sent = {"name": "in", "datatype": "FP32", "shape": [1, 4], "data": [-1, 2, 3, 4]}
    assert requests.post(f"{traced.url}/v2/models/both/infer", json={"inputs": [sent]}, headers=headers, timeout=60).status_code == 500
    trace = collector.trace(trace_id)
    failed = sorted(each.name for each in trace.spans if each.status == ERROR)
    assert failed == ["POST /v2/models/both/infer", "call both", "call calling", "compute", "execute"]
    assert not trace.all("call twice")


def test_a_request_that_a_model_wants_once_more_has_both_of_its_attempts(traced: Server, collector: Collector) -> None:
    trace_id, headers = new_trace()
    sent = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    answer = requests.post(f"{traced.url}/v2/models/pb_twice/infer", json={"inputs": [sent]}, headers=headers, timeout=60)
    assert answer.ok, answer.text
    trace = collector.trace(trace_id)
    assert [len(trace.all(name)) for name in ("call pb_twice", "queue", "batch", "compute")] == [1, 2, 2, 2]
    assert not [each for each in trace.spans if each.status == ERROR]


def test_answers_from_the_cache_are_marked(start: Start, collector: Collector) -> None:
    server = start({"doubler": {**toy("doubler"), "response_cache": True, "workers": 1}}, environ=SOON, trace_endpoint=collector.url)
    marks = []
    for _ in range(2):
        trace_id, headers = new_trace()
        sent = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
        assert requests.post(f"{server.url}/v2/models/doubler/infer", json={"inputs": [sent]}, headers=headers, timeout=60).ok
        trace = collector.trace(trace_id)
        marks.append((trace.one("call doubler").attributes.get("hubserve.cache_hit"), len(trace.all("compute"))))
    assert marks == [(None, 1), (True, 0)]


def test_what_is_not_traced_has_no_context_in_models(traced: Server) -> None:
    sent = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    answer = requests.post(f"{traced.url}/v2/models/calling/infer", json={"inputs": [sent]}, timeout=60).json()
    assert next(each["data"] for each in answer["outputs"] if each["name"] == "seen") == [""]
    assert traced.results("own_spans")["before"] == ""


# --- inside instances ---


def test_spans_of_a_modules_own_are_below_that_of_its_code(traced: Server, collector: Collector) -> None:
    trace_id, headers = new_trace()
    seen = traced.predict("own_spans", json={}, headers=headers).json()["results"]
    execute = collector.trace(trace_id).one("execute")
    assert seen["before"] == f"00-{trace_id}-{execute.span_id}-01"
    assert (seen["own"][0], seen["parent"]) == (trace_id, execute.span_id)
    assert seen["inside"] == f"00-{trace_id}-{seen['own'][1]}-01"
    after = traced.results("own_spans")
    assert (after["before"], after["parent"]) == ("", None), "the context is gone with its request"


def test_traces_reach_instances_on_other_machines(start: Start, collector: Collector, own_spans: dict[str, object], tmp_path: Path) -> None:
    with listener(tmp_path) as found:
        modules = {"own_spans": {**own_spans, "addresses": [found.address], "token_file": str(found.token_file)}}
        server = start(modules, environ=SOON, trace_endpoint=collector.url)
        trace_id, headers = new_trace()
        seen = server.predict("own_spans", json={}, headers=headers).json()["results"]
        trace = collector.trace(trace_id)
        assert seen["before"] == f"00-{trace_id}-{trace.one('execute').span_id}-01"
        assert seen["parent"] == trace.one("execute").span_id
        assert trace.one("compute").attributes["hubserve.instance.address"] == found.address
        server.stop()


# --- Flask, pages ---


def test_a_flask_application_makes_the_same_spans_below_its_own(home: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    from opentelemetry.sdk.trace import TracerProvider

    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    config = {"modules_info": {"shout": toy("shout")}, "trace_endpoint": collector.url, "trace_ratio": 0}
    mounted = hubserve.flask.blueprint(config=config)
    app = flask.Flask("host")
    app.register_blueprint(mounted)
    mounted.start()
    try:
        client = app.test_client()
        trace_id, headers = new_trace()
        answer = client.post("/predict/shout", json={"text": "hi"}, headers=headers)
        trace = collector.trace(trace_id)
        assert sorted(trace.paths()) == sorted(spans_of_a_call("POST /predict/shout", "shout"))
        assert answer.headers["traceparent"] == f"00-{trace_id}-{trace.one('POST /predict/shout').span_id}-01"
        with TracerProvider().get_tracer("application").start_as_current_span("view") as view:
            client.post("/predict/shout", json={"text": "hi"})
        context = view.get_span_context()
        root = collector.trace(format(context.trace_id, "032x")).one("POST /predict/shout")
        assert root.parent_id == format(context.span_id, "016x")
    finally:
        mounted.close()


def test_the_python_client_sends_the_span_of_its_program(traced: Server, collector: Collector) -> None:
    from opentelemetry.sdk.trace import TracerProvider

    with Client(f"{traced.url}/predict/shout") as client:
        with TracerProvider().get_tracer("program").start_as_current_span("work") as span:
            assert client.call(text="hi") == "HI!"
        assert client.call(text="hi") == "HI!"
    context = span.get_span_context()
    assert collector.trace(format(context.trace_id, "032x")).one("POST /predict/shout").parent_id == format(context.span_id, "016x")


def test_pages_of_modules_get_the_trace(traced: Server, collector: Collector) -> None:
    trace_id, headers = new_trace()
    seen = requests.get(f"{traced.url}/gradio/paged/headers", headers={**headers, "tracestate": "vendor=3"}, timeout=60).json()
    trace = collector.trace(trace_id)
    forward = trace.one("forward")
    assert seen["traceparent"] == f"00-{trace_id}-{forward.span_id}-01"
    assert seen["tracestate"] == "vendor=3"
    assert forward.kind == CLIENT
    assert trace.parent(forward).name == "GET"


# --- Triton's trace settings ---


def test_tritons_trace_settings_trace_every_nth_request_of_a_model(
    traced: Server, collector: Collector, client: "triton.InferenceServerClient"
) -> None:
    assert client.get_trace_settings(as_json=True)["settings"]["trace_mode"]["value"] == ["opentelemetry"]
    client.update_trace_settings("doubler", {"trace_level": ["TIMESTAMPS"], "trace_rate": "2", "trace_count": "2"})
    sent = [tensor("x", np.ones((1, 2), np.float32))]
    before = len(collector.roots())
    for _ in range(8):
        client.infer("doubler", sent)
    http = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    client.update_trace_settings("doubler", {"trace_rate": "1", "trace_count": "1"})
    answer = requests.post(f"{traced.url}/v2/models/doubler/infer", json={"inputs": [http]}, timeout=60)
    trace = collector.trace(answer.headers["traceparent"].split("-")[1])
    assert "POST /v2/models/doubler/infer > call doubler > batch > compute > execute" in trace.paths()
    found = [each for each in collector.roots()[before:] if not each.parent_id]
    assert sorted(each.name for each in found) == ["POST /v2/models/doubler/infer", INFER, INFER]
    client.update_trace_settings("doubler", {"trace_level": None, "trace_rate": None, "trace_count": None})


def test_the_page_lists_every_attribute_and_span(traced: Server, collector: Collector) -> None:
    for model, name in (("both", "in"), ("calling", "x")):
        collector.trace(infer(traced, model, name)[0])
    page = (ROOT / "docs" / "tracing.md").read_text("utf-8")
    listed = set(re.findall(r"`([a-z_.]+)`", page))
    assert {attribute for each in collector.spans for attribute in each.attributes} <= listed
    inner = {each.name.partition(" ")[0] for each in collector.spans if each.kind != SERVER}
    assert {"queue", "batch", "compute", "execute", "call"} <= inner
    assert all(re.search(rf"(── |`){each}\b", page) for each in inner - {STREAM})

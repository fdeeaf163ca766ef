"""Request ids over gRPC and in a Flask application."""

import flask
import pytest

import hubserve.flask
from tests.conftest import MODULES, Start, toy
from tests.ports import free_port

grpc = pytest.importorskip("grpc")


def test_grpc_errors_and_answers_name_the_request(start: Start) -> None:
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    port = free_port()
    start({"faulty": toy("faulty")}, grpc_port=port)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        _, call = stub.ServerLive.with_call(service_pb2.ServerLiveRequest(), metadata=[("x-request-id", "mine")])
        assert dict(call.initial_metadata())["x-request-id"] == "mine"
        _, call = stub.ServerLive.with_call(service_pb2.ServerLiveRequest())
        assert "x-request-id" not in dict(call.initial_metadata())
        request = service_pb2.ModelInferRequest(model_name="faulty")
        tensor = request.inputs.add(name="arguments", datatype="BYTES", shape=[1])
        tensor.contents.bytes_contents.append(b'{"how": "raise"}')
        with pytest.raises(grpc.RpcError) as failed:
            stub.ModelInfer(request)
        named = {**dict(failed.value.initial_metadata() or ()), **dict(failed.value.trailing_metadata() or ())}
        assert failed.value.code() == grpc.StatusCode.INTERNAL, failed.value
        assert named["x-request-id"]


def test_flask_answers_name_the_request_and_have_true_statuses(home: object) -> None:
    modules = {name: {"init_args": {"directory": str(MODULES / name)}} for name in ("shout", "faulty")}
    mounted = hubserve.flask.blueprint(config={"modules_info": modules, "status_codes": "http"})
    app = flask.Flask("host")
    app.register_blueprint(mounted)
    mounted.start()
    try:
        client = app.test_client()
        answer = client.post("/predict/shout", json={"text": "hi"}, headers={"X-Request-Id": "mine"})
        assert (answer.status_code, answer.headers["X-Request-Id"]) == (200, "mine")
        assert "X-Request-Id" not in client.post("/predict/shout", json={"text": "hi"}).headers
        failed = client.post("/predict/faulty", json={"how": "raise"})
        assert failed.status_code == 500
        assert failed.headers["X-Request-Id"]
        assert client.post("/predict/absent", json={}).status_code == 404
    finally:
        mounted.close()

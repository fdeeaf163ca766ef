"""Requests of tools and load balancers to a gRPC server: list its services, and watch whether it is ready."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.conftest import Server, free_port

SLOW = """import os
import time
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        while not os.path.exists(GO_ON):
            time.sleep(0.05)

    def execute(self, requests):
        return [pb_utils.InferenceResponse([]) for _ in requests]
"""
CONFIG = (
    'backend: "python" input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ] output [ { name: "y" data_type: TYPE_FP32 dims: [ 1 ] } ]'
)
STATUS = health_pb2.HealthCheckResponse


@pytest.fixture(scope="module")
def server(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("tools")
    (folder / "store" / "slow" / "1").mkdir(parents=True)
    (folder / "store" / "slow" / "1" / "model.py").write_text(SLOW.replace("GO_ON", repr(str(folder / "go on"))))
    (folder / "store" / "slow" / "config.pbtxt").write_text(CONFIG)
    port = free_port()
    arguments = ["--model-store", str(folder / "store"), "--port", str(port), "--grpc-port", str(port)]
    running = Server(arguments, port, shared_home, folder / "server.log")
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait(60)


@pytest.fixture(scope="module")
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as opened:
        grpc.channel_ready_future(opened).result(120)
        yield opened


def go_on(server: Server) -> None:
    """Let the model be loaded."""
    (server.log.parent / "go on").touch()


@pytest.fixture
def loaded(server: Server, channel: grpc.Channel) -> None:
    """The model is loaded."""
    go_on(server)
    server.wait_until_ready()


def watch(channel: grpc.Channel, service: str = "") -> Any:
    return health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=service), timeout=240)


def test_a_watcher_learns_that_the_models_are_loaded_now(server: Server, channel: grpc.Channel) -> None:
    statuses = watch(channel, "inference.GRPCInferenceService")
    assert next(statuses).status == STATUS.NOT_SERVING
    go_on(server)
    assert next(statuses).status == STATUS.SERVING
    statuses.cancel()


def test_a_service_that_there_is_not_is_watched_as_unknown(channel: grpc.Channel) -> None:
    statuses = watch(channel, "other.Service")
    assert next(statuses).status == STATUS.SERVICE_UNKNOWN
    statuses.cancel()


@pytest.mark.usefixtures("loaded")
def test_so_many_may_watch_and_no_more(channel: grpc.Channel) -> None:
    watching = [watch(channel) for _ in range(100)]
    assert {next(each).status for each in watching} == {STATUS.SERVING}
    with pytest.raises(grpc.RpcError) as raised:
        next(watch(channel))
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "100 calls of Health/Watch" in raised.value.details()
    for each in watching:
        each.cancel()
    assert _watched_again(channel)


def _watched_again(channel: grpc.Channel) -> bool:
    """Return whether a place becomes free; cancellations take time to arrive."""
    for _ in range(100):
        statuses = watch(channel)
        try:
            next(statuses)
        except grpc.RpcError:
            continue
        statuses.cancel()
        return True
    return False


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_the_services_and_describes_them_so_that_they_can_be_called(channel: grpc.Channel, version: str) -> None:
    asked = [b"\x3a\x00", text(4, b"inference.GRPCInferenceService"), text(3, b"model_config.proto"), text(4, b"no.Such"), b""]
    listed, described, by_name, unknown, nothing = converse(channel, version, asked)
    services = [fields(each)[1][0].decode() for each in fields(listed[6][0])[1]]
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health", f"grpc.reflection.{version}.ServerReflection"} <= set(services)
    assert fields(unknown[7][0])[1] == [5]
    assert b"no.Such" in fields(unknown[7][0])[2][0]
    assert fields(nothing[7][0])[1] == [3]
    files = [descriptor_pb2.FileDescriptorProto.FromString(each) for each in fields(described[4][0])[1]]
    assert fields(by_name[4][0])[1] == [each.SerializeToString() for each in files if each.name == "model_config.proto"]
    assert metadata_of(channel, files).name == "triton"


def metadata_of(channel: grpc.Channel, files: "list[descriptor_pb2.FileDescriptorProto]") -> Any:
    """Call a method that is known by its description alone."""
    pool = descriptor_pool.DescriptorPool()
    for each in sorted(files, key=lambda file: len(file.dependency)):
        pool.Add(each)
    method = pool.FindServiceByName("inference.GRPCInferenceService").methods_by_name["ServerMetadata"]
    request, response = map(message_factory.GetMessageClass, (method.input_type, method.output_type))
    call = channel.unary_unary(
        "/inference.GRPCInferenceService/ServerMetadata",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )
    return call(request(), timeout=30)


def test_every_service_of_the_list_can_be_described(channel: grpc.Channel) -> None:
    (listed,) = converse(channel, "v1", [b"\x3a\x00"])
    services = [fields(each)[1][0] for each in fields(listed[6][0])[1]]
    symbols = [
        *services,
        b"inference.GRPCInferenceService.ModelInfer",
        b"inference.ModelInferRequest.InferInputTensor",
        b"inference.DataType",
    ]
    answers = converse(channel, "v1", [text(4, each) for each in symbols])
    assert [list(each)[-1] for each in answers] == [4] * len(symbols)


def test_bytes_that_are_not_a_request_end_the_call_with_a_reason(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as raised:
        converse(channel, "v1", [b"\xff\xff"])
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.usefixtures("loaded")
def test_stopping_tells_those_who_watch_and_ends_what_is_open(server: Server, channel: grpc.Channel) -> None:
    statuses = watch(channel)
    assert next(statuses).status == STATUS.SERVING
    is_over = threading.Event()
    talking = reflection(channel, "v1")(kept_open(is_over), timeout=60)
    next(talking)
    server.process.terminate()
    assert next(statuses).status == STATUS.NOT_SERVING
    for each in (statuses, talking):
        with pytest.raises(grpc.RpcError) as raised:
            next(each)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "being stopped" in raised.value.details()
    is_over.set()
    assert server.process.wait(60) == 0


def kept_open(is_over: threading.Event) -> Iterator[bytes]:
    """Ask once, and keep the call open."""
    yield b"\x3a\x00"
    is_over.wait(60)


def reflection(channel: grpc.Channel, version: str) -> Any:
    return channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")


def converse(channel: grpc.Channel, version: str, messages: "list[bytes]") -> "list[dict[int, list[Any]]]":
    return [fields(answer) for answer in reflection(channel, version)(iter(messages), timeout=30)]


def text(number: int, content: bytes) -> bytes:
    """A message with one field, as protobuf writes it."""
    return bytes([number << 3 | 2, len(content)]) + content


def fields(message: bytes) -> "dict[int, list[Any]]":
    """A message's fields by number, read without its schema."""
    found: dict[int, list[Any]] = {}
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = number()
        value: Any = number()
        if key & 7 == 2:
            value, at = message[at : at + value], at + value
        found.setdefault(key >> 3, []).append(value)
    return found

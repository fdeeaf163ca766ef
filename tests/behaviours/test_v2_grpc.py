"""The Open Inference Protocol over gRPC, as unmodified Triton clients see it."""

import asyncio
import contextlib
import json
import socket
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random
from typing import Any

import grpc
import numpy as np
import pytest
import requests
import tritonclient.grpc as triton
import tritonclient.grpc.aio
from grpc_health.v1 import health_pb2
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException
from tritonclient.utils import shared_memory as system_memory

from tests.behaviours.grpc_clients import SERVICE, Answers, final, raw_call, start_with_grpc, tensor, texts
from tests.conftest import Server, servers, toy, wait_for
from tests.v2_mutations import mutated_message

ONES = np.ones((2, 3), np.float32)


@pytest.fixture(scope="module")
def served(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    with servers(shared_home, tmp_path_factory.mktemp("v2_grpc")) as start:
        yield start_with_grpc(start, "doubler", "shout", "tensors", "faulty", max_body_bytes=4 << 20, shared_memory=True)


@pytest.fixture(scope="module")
def address(served: tuple[Server, str]) -> str:
    return served[1]


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(address) as client:
        yield client


def refused(call: Any, *arguments: Any, **options: Any) -> InferenceServerException:
    with pytest.raises(InferenceServerException) as caught:
        call(*arguments, **options)
    return caught.value


# --- what the server and its models say of themselves ---


def test_the_server_says_that_it_lives_is_ready_and_what_it_is(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata()
    assert metadata.name == "triton"
    assert "binary_tensor_data" in metadata.extensions
    assert client.get_server_metadata(as_json=True)["name"] == "triton"


def test_models_say_what_they_take_and_give(client: triton.InferenceServerClient) -> None:
    assert client.is_model_ready("doubler")
    assert client.is_model_ready("doubler", "1.0.0")
    assert not client.is_model_ready("doubler", "7")
    assert not client.is_model_ready("nobody")
    metadata = client.get_model_metadata("doubler")
    assert [(each.name, each.datatype, list(each.shape)) for each in metadata.inputs] == [("x", "FP32", [-1, -1])]
    config = client.get_model_config("doubler").config
    assert (config.name, config.max_batch_size, list(config.input[0].dims)) == ("doubler", 16, [-1])


def test_both_protocols_say_the_same_of_every_model(served: tuple[Server, str], client: triton.InferenceServerClient) -> None:
    for name in ("doubler", "shout", "tensors", "faulty"):
        over_http = requests.get(f"{served[0].url}/v2/models/{name}", timeout=10).json()
        over_grpc = client.get_model_metadata(name, as_json=True)
        for side in ("inputs", "outputs"):  # the client writes whole numbers as texts
            assert [(each["name"], each["datatype"], [int(length) for length in each["shape"]]) for each in over_grpc[side]] == [
                (each["name"], each["datatype"], each["shape"]) for each in over_http[side]
            ]


def test_statistics_count_what_was_answered(client: triton.InferenceServerClient) -> None:
    def count() -> int:
        return int(client.get_inference_statistics("tensors").model_stats[0].inference_count)

    before, numbers = count(), np.ones((2, 2), np.int32)
    client.infer("tensors", [tensor("a", numbers, "INT32"), tensor("b", numbers, "INT32")])
    assert count() == before + 2
    assert {each.name for each in client.get_inference_statistics().model_stats} >= {"doubler", "shout"}


def test_grpcs_own_health_service_answers(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        for service in ("", "inference.GRPCInferenceService"):
            assert check(health_pb2.HealthCheckRequest(service=service)).status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            check(health_pb2.HealthCheckRequest(service="other"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


# --- inference ---


@pytest.mark.parametrize("compression", [None, "gzip", "deflate"])
def test_tensors_are_computed_and_the_id_is_given_back(client: triton.InferenceServerClient, compression: str | None) -> None:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    result = client.infer("doubler", [tensor("x", x)], request_id="seven", compression_algorithm=compression)
    assert result.as_numpy("y").tolist() == (x * 2).tolist()
    assert (result.get_response().id, result.get_response().model_name, result.get_response().model_version) == (
        "seven",
        "doubler",
        "1.0.0",
    )


@pytest.mark.parametrize("field", ["raw", "fp32_contents"])
def test_raw_and_typed_contents_mean_the_same(address: str, field: str) -> None:
    request = service_pb2.ModelInferRequest(model_name="doubler")
    sent = request.inputs.add(name="x", datatype="FP32", shape=[1, 2])
    if field == "raw":
        request.raw_input_contents.append(np.array([1, 2], np.float32).tobytes())
    else:
        sent.contents.fp32_contents.extend([1, 2])
    with grpc.insecure_channel(address) as channel:
        answer = channel.unary_unary(SERVICE + "ModelInfer")(request.SerializeToString(), timeout=30)
    response = service_pb2.ModelInferResponse.FromString(answer)
    assert np.frombuffer(response.raw_output_contents[0], np.float32).tolist() == [2, 4]


def test_a_module_that_takes_json_is_reached_by_one_bytes_tensor(client: triton.InferenceServerClient) -> None:
    arguments = json.dumps({"text": "a"}).encode()
    result = client.infer("faulty", [tensor("arguments", texts(arguments), "BYTES")])
    assert json.loads(result.as_numpy("results")[0])["text"] == "a"


def test_only_the_outputs_that_are_asked_for_come_with_their_classes(client: triton.InferenceServerClient) -> None:
    a, b = np.ones((1, 2), np.int32), np.array([[3, 5]], np.int32)
    asked = [triton.InferRequestedOutput("b_again", class_count=1)]
    result = client.infer("tensors", [tensor("a", a, "INT32"), tensor("b", b, "INT32")], outputs=asked)
    assert [each.name for each in result.get_response().outputs] == ["b_again"]
    assert result.as_numpy("b_again").tolist() == [[b"5.000000:1:right"]]


def test_every_datatype_goes_there_and_back(start: Any) -> None:
    datatypes = {"bool": "BOOL", "uint8": "UINT8", "int64": "INT64", "float16": "FP16", "float64": "FP64", "bytes": "BYTES"}
    for dtype, datatype in datatypes.items():
        _, address = start_with_grpc(start, modules={"tensors": {**toy("tensors", dtype=dtype), "workers": 1}})
        numbers = np.array([[0, 1]]).astype(dtype) if dtype != "bytes" else texts(b"\xff\x00", b"").reshape(1, 2)
        with triton.InferenceServerClient(address) as client:
            result = client.infer("tensors", [tensor("a", numbers, datatype), tensor("b", numbers, datatype)])
            assert result.as_numpy("a_again").tolist() == numbers.tolist(), datatype


def test_inputs_and_outputs_may_be_in_shared_memory(client: triton.InferenceServerClient) -> None:
    names = [f"hub-{uuid.uuid4().hex[:8]}-{each}" for each in ("in", "out")]
    regions = [system_memory.create_shared_memory_region(name, f"/{name}", ONES.nbytes) for name in names]
    try:
        system_memory.set_shared_memory_region(regions[0], [ONES])
        for name in names:
            client.register_system_shared_memory(name, f"/{name}", ONES.nbytes)
        assert set(client.get_system_shared_memory_status().regions) >= set(names)
        assert client.get_system_shared_memory_status(names[0]).regions[names[0]].byte_size == ONES.nbytes
        sent = triton.InferInput("x", [2, 3], "FP32")
        sent.set_shared_memory(names[0], ONES.nbytes)
        asked = triton.InferRequestedOutput("y")
        asked.set_shared_memory(names[1], ONES.nbytes)
        result = client.infer("doubler", [sent], outputs=[asked])
        output = result.get_output("y")
        assert output.parameters["shared_memory_region"].string_param == names[1]
        assert result.get_response().raw_output_contents[0] == b""
        assert system_memory.get_contents_as_numpy(regions[1], np.float32, [2, 3]).tolist() == (ONES * 2).tolist()
        client.unregister_system_shared_memory(names[0])
        assert "unable to find shared memory region" in refused(client.infer, "doubler", [sent]).message().lower()
        client.unregister_system_shared_memory()
        assert not client.get_system_shared_memory_status().regions
        assert refused(client.get_system_shared_memory_status, names[0]).status() == "StatusCode.NOT_FOUND"
    finally:
        for region in regions:
            system_memory.destroy_shared_memory_region(region)


def test_memory_of_gpus_is_refused_by_name_and_listed_as_none(client: triton.InferenceServerClient) -> None:
    assert not client.get_cuda_shared_memory_status().regions
    error = refused(client.register_cuda_shared_memory, "gpu", b"", 0, 16)
    assert error.status() == "StatusCode.UNIMPLEMENTED"
    assert "failed to register CUDA shared memory region: 'gpu'" in error.message()
    client.unregister_cuda_shared_memory()


def test_models_are_computed_for_asyncio_clients(address: str) -> None:
    async def calls() -> None:
        async with tritonclient.grpc.aio.InferenceServerClient(address) as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("doubler")
            assert (await client.get_server_metadata()).name == "triton"
            assert (await client.get_model_metadata("doubler")).name == "doubler"
            assert (await client.get_model_config("doubler")).config.name == "doubler"
            assert (await client.get_inference_statistics("doubler")).model_stats[0].name == "doubler"
            assert not (await client.get_cuda_shared_memory_status()).regions
            await client.get_system_shared_memory_status()
            await client.unregister_system_shared_memory("nothing")
            results = await asyncio.gather(*(client.infer("doubler", [tensor("x", ONES * each)]) for each in range(40)))
            assert [float(each.as_numpy("y")[0, 0]) for each in results] == [2.0 * each for each in range(40)]

            async def ask() -> AsyncIterator[dict[str, Any]]:
                for each in range(5):
                    yield {"model_name": "doubler", "inputs": [tensor("x", ONES * each)], "request_id": str(each)}

            given = [(result.get_response().id, result.as_numpy("y")[0, 0]) async for result, _ in client.stream_infer(ask())]
            assert given == [(str(each), 2.0 * each) for each in range(5)]

    asyncio.run(calls())


# --- streams ---


def test_a_stream_answers_in_order_and_says_that_each_answer_is_the_last(client: triton.InferenceServerClient) -> None:
    answers = Answers()
    client.start_stream(answers)
    try:
        for each in range(100):
            client.async_stream_infer("doubler", [tensor("x", ONES * each)], request_id=str(each))
        given = [answers.next() for _ in range(100)]
    finally:
        client.stop_stream()
    assert [each.get_response().id for each in given] == [str(each) for each in range(100)]
    assert [float(each.as_numpy("y")[0, 0]) for each in given] == [2.0 * each for each in range(100)]
    assert all(final(each) for each in given)


def test_errors_in_a_stream_come_in_their_place_and_the_stream_goes_on(client: triton.InferenceServerClient) -> None:
    answers = Answers()
    client.start_stream(answers)
    try:
        client.async_stream_infer("doubler", [tensor("x", ONES)], request_id="a")
        client.async_stream_infer("nobody", [tensor("x", ONES)], request_id="b")
        client.async_stream_infer("doubler", [tensor("x", ONES * np.nan)], request_id="c")
        client.async_stream_infer("doubler", [tensor("x", ONES)], request_id="d")
        first, unknown, failed, last = (answers.next() for _ in range(4))
    finally:
        client.stop_stream()
    assert (first.get_response().id, last.get_response().id) == ("a", "d")
    assert "Request for unknown model: 'nobody' is not found" in unknown.message()
    assert "not a number among the numbers" in failed.message()


def test_a_client_may_ask_that_an_error_ends_its_stream_with_a_status(client: triton.InferenceServerClient) -> None:
    answers = Answers()
    client.start_stream(answers, headers={"triton_grpc_error": "true"})
    try:
        client.async_stream_infer("nobody", [tensor("x", ONES)])
        told = [answers.next(), answers.next()]
    finally:
        client.stop_stream()
    assert [each.status() for each in told if each.status()] == ["StatusCode.NOT_FOUND"]


def test_streams_that_clients_leave_in_the_middle_leave_nothing_behind(served: tuple[Server, str]) -> None:
    server, address = served
    for _ in range(5):
        with triton.InferenceServerClient(address) as client:
            client.start_stream(Answers())
            for _ in range(20):
                client.async_stream_infer("faulty", [tensor("arguments", texts(b'{"how": "sleep", "text": "0.3"}'), "BYTES")])
            client.stop_stream(cancel_requests=True)
    wait_for(lambda: server.status("faulty")["queue"] == 0)
    assert "unexpected error" not in server.log.read_text()


# --- what goes wrong ---


def test_errors_have_the_status_of_their_kind_and_say_what_was_expected(client: triton.InferenceServerClient) -> None:
    x = tensor("x", ONES)
    unknown = refused(client.infer, "nobody", [x])
    assert (unknown.status(), unknown.message()[:52]) == ("StatusCode.NOT_FOUND", "Request for unknown model: 'nobody' is not found: mo")
    assert refused(client.infer, "doubler", [x], model_version="7").status() == "StatusCode.NOT_FOUND"
    assert refused(client.get_model_metadata, "nobody").status() == "StatusCode.NOT_FOUND"
    assert refused(client.get_inference_statistics, "nobody").status() == "StatusCode.NOT_FOUND"
    assert refused(client.infer, "doubler", []).status() == "StatusCode.INVALID_ARGUMENT"
    assert "data-type is 'INT32'" in refused(client.infer, "doubler", [tensor("x", ONES.astype(np.int32), "INT32")]).message()
    assert "unexpected shape" in refused(client.infer, "doubler", [tensor("x", ONES.reshape(1, 2, 3))]).message()
    failed = refused(client.infer, "doubler", [tensor("x", ONES * np.nan)])
    assert (failed.status(), "not a number among the numbers" in failed.message()) == ("StatusCode.INTERNAL", True)


def test_a_long_text_of_an_error_is_cut_so_that_clients_can_read_it(client: triton.InferenceServerClient) -> None:
    arguments = json.dumps({"how": "raise", "text": "ä" * 20_000}).encode()
    error = refused(client.infer, "faulty", [tensor("arguments", texts(arguments), "BYTES")])
    assert error.status() == "StatusCode.INTERNAL"
    assert "ää" in error.message()


def test_a_message_over_the_limit_is_refused_and_the_connection_lives(client: triton.InferenceServerClient) -> None:
    large = np.zeros((1, 2 << 20), np.float32)
    error = refused(client.infer, "doubler", [tensor("x", large)])
    assert error.status() == "StatusCode.RESOURCE_EXHAUSTED"
    assert "4194304" in error.message()
    bomb = refused(client.infer, "doubler", [tensor("x", large)], compression_algorithm="gzip")
    assert bomb.status() == "StatusCode.RESOURCE_EXHAUSTED", "what is small before it is unpacked counts as it is"
    assert client.is_server_live()


def test_bytes_that_are_no_message_are_an_invalid_argument_for_every_call(address: str) -> None:
    for method in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods:
        if method.input_type.fields and not method.client_streaming:
            assert raw_call(address, method.name, b"\xff" * 9)[0] == grpc.StatusCode.INVALID_ARGUMENT, method.name
    assert raw_call(address, "Nothing", b"")[0] == grpc.StatusCode.UNIMPLEMENTED


def test_mutated_messages_are_answered_without_internal_errors(served: tuple[Server, str]) -> None:
    server, address = served
    random = Random(7)
    bodies = [mutated_message(random, "tensors") for _ in range(1000)]
    allowed = {
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,  # a parameter that became "timeout"
    }
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(SERVICE + "ModelInfer")
        assert {status_of(call, body) for body in bodies} <= allowed
        stream = channel.stream_stream(SERVICE + "ModelStreamInfer")
        answers = [service_pb2.ModelStreamInferResponse.FromString(each) for each in stream(iter(bodies), timeout=120)]
    assert len(answers) == len(bodies)
    assert {bool(each.error_message) for each in answers} == {True, False}
    assert server.process.poll() is None
    assert "unexpected error" not in server.log.read_text()


def status_of(call: Any, body: bytes) -> grpc.StatusCode:
    try:
        call(body, timeout=30)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_bytes_that_are_no_grpc_are_cut_off_and_the_server_goes_on(
    served: tuple[Server, str], client: triton.InferenceServerClient
) -> None:
    server, address = served
    host, _, port = address.partition(":")
    random, preface = np.random.default_rng(7), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
    for number in range(200):
        start = (b"", preface, preface + b"\0\0\0\4\0\0\0\0\0", b"GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n")[number % 4]
        with socket.create_connection((host, int(port))) as connection, contextlib.suppress(OSError):
            connection.sendall(start + random.bytes(200))
    assert client.infer("doubler", [tensor("x", ONES)]).as_numpy("y").tolist() == (ONES * 2).tolist()
    assert "unexpected error" not in server.log.read_text()

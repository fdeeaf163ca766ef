"""Each request of a gRPC stream is recorded as a request of its own: metrics and access log of a real server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.behaviours.grpc_clients import Answers, start_with_grpc, tensor, texts
from tests.behaviours.test_metrics import Samples, scrape, total
from tests.conftest import Server, servers, wait_for

ONES = np.ones((1, 4), np.float32)
STREAM = "/inference.GRPCInferenceService/ModelStreamInfer"


class Recorded:
    """A server, and what it has recorded since the last call of :meth:`begin`."""

    def __init__(self, server: Server, address: str) -> None:
        self.server, self.address = server, address
        self.before: Samples = {}
        self._log_bytes = 0

    def begin(self) -> None:
        self.before, self._log_bytes = scrape(self.server.url), len(self.server.log.read_bytes())

    def more(self, name: str, **labels: str) -> float:
        return total(scrape(self.server.url), name, **labels) - total(self.before, name, **labels)

    def lines(self, number: int) -> list[dict[str, Any]]:
        def found() -> list[dict[str, Any]]:
            text = self.server.log.read_bytes()[self._log_bytes :].rpartition(b"\n")[0].decode()
            lines = [json.loads(line) for line in text.splitlines() if line.startswith("{") and "bytes_in" in line]
            return [each for each in lines if each["path"] == STREAM]

        wait_for(lambda: len(found()) >= number)
        return found()


@pytest.fixture(scope="module")
def _server(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    with servers(shared_home, tmp_path_factory.mktemp("stream_records")) as start:
        yield Recorded(*start_with_grpc(start, "doubler", "faulty", "triton/pb_repeat", access_log="json"))


@pytest.fixture
def recorded(_server: Recorded) -> Recorded:
    _server.begin()
    return _server


def arguments(text: bytes) -> list[triton.InferInput]:
    return [tensor("arguments", texts(text), "BYTES")]


def test_each_request_of_a_stream_counts_as_a_call_does_and_has_a_line_and_an_id_of_its_own(recorded: Recorded) -> None:
    answers = Answers()
    with triton.InferenceServerClient(recorded.address) as client:
        client.start_stream(answers, headers={"x-request-id": "order-17"})
        for model, inputs in (
            ("doubler", [tensor("x", ONES)]),
            ("nobody", [tensor("x", ONES)]),
            ("faulty", arguments(b'{"how": "raise"}')),
            ("doubler", [tensor("x", ONES)]),
        ):
            client.async_stream_infer(model, inputs)
        _, unknown, failed, _ = (answers.next() for _ in range(4))
        assert total(scrape(recorded.server.url), "hubserve_open_streams") == 1
        assert recorded.more("hubserve_streams_total") == 0
        client.stop_stream()
    assert "nobody" in unknown.message()
    assert "it was asked to" in failed.message()
    wait_for(lambda: recorded.more("hubserve_streams_total", status="OK") == 1)
    assert total(scrape(recorded.server.url), "hubserve_open_streams") == 0
    assert recorded.more("hubserve_requests_total", protocol="grpc") == 4
    assert recorded.more("hubserve_requests_total", module="doubler", version="1.0.0", protocol="grpc", status="OK", error="") == 2
    assert recorded.more("hubserve_requests_total", module="", protocol="grpc", status="NOT_FOUND", error="module_not_found") == 1
    assert recorded.more("hubserve_requests_total", module="faulty", protocol="grpc", status="INTERNAL", error="module_failed") == 1
    assert recorded.more("hubserve_request_duration_seconds_count", module="doubler", protocol="grpc") == 2
    assert recorded.more("hubserve_received_bytes_total", module="doubler", protocol="grpc") >= 2 * ONES.nbytes

    *requests, stream = recorded.lines(5)
    by_id = {each["request_id"]: each for each in requests}
    assert {key: each["module"] for key, each in by_id.items()} == {
        "order-17.1": "doubler",
        "order-17.2": "",
        "order-17.3": "faulty",
        "order-17.4": "doubler",
    }
    assert [by_id[f"order-17.{number}"]["status"] for number in (1, 2, 3, 4)] == ["OK", "NOT_FOUND", "INTERNAL", "OK"]
    assert by_id["order-17.1"]["compute_ms"] is not None
    assert {each["method"] for each in requests} == {"CALL"}
    assert (stream["method"], stream["request_id"], stream["module"], stream["status"]) == ("STREAM", "order-17", "", "OK")
    assert all(min(each["bytes_in"], each["bytes_out"]) > ONES.nbytes for key, each in by_id.items() if each["module"] == "doubler")
    assert sum(each["bytes_in"] for each in requests) <= stream["bytes_in"]
    assert sum(each["bytes_out"] for each in requests) == stream["bytes_out"]


def test_an_error_of_the_server_in_a_stream_names_its_request(recorded: Recorded) -> None:
    import grpc
    from tritonclient.grpc import service_pb2, service_pb2_grpc

    request = service_pb2.ModelInferRequest(model_name="faulty", id="mine")
    request.inputs.add(name="arguments", datatype="BYTES", shape=[1]).contents.bytes_contents.append(b'{"how": "raise"}')
    missing = service_pb2.ModelInferRequest(model_name="nobody")
    with grpc.insecure_channel(recorded.address) as channel:
        failed, unknown = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(iter([request, missing]), timeout=30)
    named = failed.infer_response.parameters["request_id"].string_param
    (line,) = (each for each in recorded.lines(3) if each["module"] == "faulty")
    assert named == line["request_id"]
    assert failed.infer_response.id == "mine"
    assert "request_id" not in unknown.infer_response.parameters


def test_a_request_is_one_whatever_the_number_of_its_responses(recorded: Recorded) -> None:
    answers = Answers()
    with triton.InferenceServerClient(recorded.address) as client:
        client.start_stream(answers)
        for number in (5, 0, 3):
            client.async_stream_infer(
                "pb_repeat", [tensor("COUNT", np.array([number], np.int32), "INT32")], enable_empty_final_response=True
            )
        for _ in range(5 + 0 + 3 + 3):
            answers.next()
        client.stop_stream()
    lines = recorded.lines(4)
    assert [(each["method"], each["module"], each["status"]) for each in lines] == [("CALL", "pb_repeat", "OK")] * 3 + [
        ("STREAM", "", "OK")
    ]
    assert recorded.more("hubserve_requests_total", module="pb_repeat", protocol="grpc", status="OK") == 3
    assert recorded.more("hubserve_requests_total", protocol="grpc") == 3
    first = "nv_inference_first_response_histogram_ms"
    assert recorded.more(f"{first}_count", model="pb_repeat", version="1") == recorded.more(f"{first}_bucket", le="+Inf") == 2
    assert recorded.more(f"{first}_bucket", le="60000.0") == 2  # its configuration asks for this bucket
    assert recorded.more(f"{first}_sum", model="pb_repeat") > 0
    assert not any(name.startswith(first) and ("model", "doubler") in labels for name, labels in scrape(recorded.server.url))


def test_a_call_whose_client_leaves_ends_without_a_status(recorded: Recorded) -> None:
    with triton.InferenceServerClient(recorded.address) as client, pytest.raises(InferenceServerException, match="DEADLINE_EXCEEDED"):
        client.infer("faulty", arguments(b'{"how": "sleep", "text": "5"}'), client_timeout=1)
    wait_for(lambda: recorded.more("hubserve_requests_total", module="faulty", protocol="grpc") == 1)
    (label,) = (
        dict(labels)["status"]
        for (name, labels), value in scrape(recorded.server.url).items()
        if name == "hubserve_requests_total" and ("module", "faulty") in labels and value > recorded.before.get((name, labels), 0)
    )
    assert label in ("0", "DEADLINE_EXCEEDED")  # whichever of both came first, the client's reset or its deadline


def test_requests_whose_client_leaves_end_without_a_status_and_those_of_a_failed_stream_with_its_own(recorded: Recorded) -> None:
    with triton.InferenceServerClient(recorded.address) as client:
        client.start_stream(Answers())
        for _ in range(3):
            client.async_stream_infer("faulty", arguments(b'{"how": "sleep", "text": "5"}'))
        wait_for(lambda: total(scrape(recorded.server.url), "hubserve_requests_in_progress") >= 3)
        client.stop_stream(cancel_requests=True)
    lines = recorded.lines(4)
    assert {(each["method"], each["module"], each["status"]) for each in lines} == {("CALL", "faulty", 0), ("STREAM", "", 0)}
    assert recorded.more("hubserve_streams_total", status="0") == 1

    recorded.begin()
    answers = Answers()
    with triton.InferenceServerClient(recorded.address) as client:
        client.start_stream(answers, headers={"triton_grpc_error": "true"})
        client.async_stream_infer("faulty", arguments(b'{"how": "sleep", "text": "5"}'))
        client.async_stream_infer("nobody", [tensor("x", ONES)])
        answers.next()
        client.stop_stream()
    lines = recorded.lines(3)
    assert {(each["method"], each["module"], each["status"], each["error"]) for each in lines} == {
        ("CALL", "faulty", "NOT_FOUND", "module_not_found"),
        ("CALL", "", "NOT_FOUND", "module_not_found"),
        ("STREAM", "", "NOT_FOUND", "module_not_found"),
    }

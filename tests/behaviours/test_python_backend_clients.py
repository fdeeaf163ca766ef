"""Models of Triton's Python backend, as unmodified Triton clients see them."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.conftest import MODULES, Server, free_port, servers, toy, wait_for

MODELS = MODULES / "triton"
LABELLER = """
import json
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        wanted = json.loads(pb_utils.get_input_tensor_by_name(request, "PLAN").as_numpy()[0])
        try:
            if "load" in wanted:
                pb_utils.load_model(wanted["load"])
                return self.text(pb_utils.is_model_ready(wanted["load"]))
            if "unload" in wanted:
                pb_utils.unload_model(wanted["unload"])
                return self.text(pb_utils.is_model_ready(wanted["unload"]))
            arguments = np.array([json.dumps({"text": wanted["shout"]})], dtype=np.object_)
            call = pb_utils.InferenceRequest(
                model_name="shout", requested_output_names=["results"], inputs=[pb_utils.Tensor("arguments", arguments)]
            )
            response = call.exec()
            if response.has_error():
                return pb_utils.InferenceResponse(error=response.error())
            return pb_utils.InferenceResponse([pb_utils.Tensor("RESULT", response.output_tensors()[0].as_numpy())])
        except pb_utils.TritonModelException as error:
            return self.text(str(error))

    def text(self, value):
        return pb_utils.InferenceResponse([pb_utils.Tensor("RESULT", np.array([json.dumps(value)], dtype=np.object_))])
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    for name in ("pb_sum", "pb_repeat", "pb_completed", "pb_bls"):
        shutil.copytree(MODELS / name, folder / name)
    shutil.copytree(MODELS / "pb_bls", folder / "asker")
    (folder / "asker" / "config.pbtxt").write_text((MODELS / "pb_bls" / "config.pbtxt").read_text().replace("pb_bls", "asker"))
    (folder / "asker" / "1" / "model.py").write_text(LABELLER)
    return folder


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def server(shared_home: Path, store: Path, grpc_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers(shared_home, tmp_path_factory.mktemp("python_backend")) as start:
        models = ["pb_sum", "pb_repeat", "pb_bls", "asker"]
        yield start({"shout": toy("shout")}, model_store=[str(store)], model_control="explicit", load_model=models, grpc_port=grpc_port)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        yield client


def tensor(module: Any, name: str, array: np.ndarray, datatype: str) -> Any:
    sent = module.InferInput(name, list(array.shape), datatype)
    sent.set_data_from_numpy(array)
    return sent


def test_a_request_with_its_id_parameters_and_outputs_comes_back_with_those_of_the_response(client: triton.InferenceServerClient) -> None:
    a, b = np.ones((2, 3), np.float32), np.array([[1], [2]], np.float32)
    inputs = [tensor(triton, "A", a, "FP32"), tensor(triton, "B", b, "FP32")]
    answer = client.infer("pb_sum", inputs, request_id="nine", parameters={"colour": "red"}, sequence_id=4, sequence_start=True)
    assert answer.as_numpy("SUM").tolist() == [[4.0], [5.0]]
    seen = json.loads(answer.as_numpy("SEEN")[0, 0])
    assert (seen["id"], seen["parameters"], seen["correlation_id"], seen["flags"]) == ("nine", {"colour": "red"}, 4, 1)
    assert answer.get_response()["parameters"] == {"count": 6}
    only = client.infer("pb_sum", inputs[:1], outputs=[triton.InferRequestedOutput("SUM")])
    assert [each["name"] for each in only.get_response()["outputs"]] == ["SUM"]


def test_errors_of_the_model_have_its_status_and_its_text(server: Server, client: triton.InferenceServerClient, grpc_port: int) -> None:
    bad = np.full((1, 1), -1, np.float32)
    with pytest.raises(InferenceServerException, match=r"\[400\] below 0"):
        client.infer("pb_sum", [tensor(triton, "A", bad, "FP32")])
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{grpc_port}") as grpc, pytest.raises(InferenceServerException) as caught:
        grpc.infer("pb_sum", [tensor(triton_grpc, "A", bad, "FP32")])
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert caught.value.message() == "below 0"


def test_a_decoupled_model_is_refused_by_plain_requests_and_streamed_by_generate(
    server: Server, client: triton.InferenceServerClient
) -> None:
    with pytest.raises(InferenceServerException, match=r"\[501\].*decoupled transaction policy"):
        client.infer("pb_repeat", [tensor(triton, "COUNT", np.array([2], np.int32), "INT32")])
    url = f"{server.url}/v2/models/pb_repeat"
    lines = requests.post(f"{url}/generate_stream", json={"COUNT": 3}, timeout=30).text.split("\n\n")
    assert [json.loads(line.removeprefix("data: "))["OUT"] for line in lines if line] == [0, 1, 2]
    assert requests.post(f"{url}/generate", json={"COUNT": 1}, timeout=30).json()["OUT"] == 0


def test_a_decoupled_model_streams_over_grpc_and_its_last_response_says_so(server: Server, grpc_port: int) -> None:
    answers: Queue[tuple[Any, Any]] = Queue()
    with triton_grpc.InferenceServerClient(f"127.0.0.1:{grpc_port}") as grpc:
        grpc.start_stream(lambda result, error: answers.put((result, error)))
        inputs = [tensor(triton_grpc, "COUNT", np.array([3], np.int32), "INT32")]
        grpc.async_stream_infer("pb_repeat", inputs, request_id="one", enable_empty_final_response=True)
        got = []
        while True:
            result, error = answers.get(timeout=30)
            assert error is None
            if result.get_response().parameters["triton_final_response"].bool_param:
                break
            got.append(int(result.as_numpy("OUT")[0]))
        assert got == [0, 1, 2]
        grpc.async_stream_infer("pb_repeat", inputs, parameters={"how": "final"})
        last = [answers.get(timeout=30)[0] for _ in range(3)][-1]
        assert last.get_response().parameters["triton_final_response"].bool_param
        grpc.async_stream_infer("pb_repeat", inputs, parameters={"how": "error"})
        assert [str(answers.get(timeout=30)[1]) for _ in range(3)] == ["None", "None", "two is too many"]
        grpc.stop_stream()


def test_a_grpc_client_that_cancels_is_noticed_by_the_model(server: Server, grpc_port: int, tmp_path: Path) -> None:
    told = tmp_path / "told"

    async def leave() -> None:
        async with triton_grpc_aio.InferenceServerClient(f"127.0.0.1:{grpc_port}") as grpc:

            async def ask() -> Any:
                inputs = [tensor(triton_grpc, "COUNT", np.array([100_000], np.int32), "INT32")]
                yield {"model_name": "pb_repeat", "inputs": inputs, "parameters": {"how": "slow", "tell": str(told)}}

            stream = grpc.stream_infer(ask())
            await anext(stream)
            stream.cancel()

    asyncio.run(leave())
    wait_for(told.exists)


def planned(client: triton.InferenceServerClient, model: str, **plan: Any) -> Any:
    text = np.array([json.dumps(plan)], object)
    return json.loads(client.infer(model, [tensor(triton, "PLAN", text, "BYTES")]).as_numpy("RESULT")[0])


def test_models_call_decoupled_models_and_modules_of_other_kinds(client: triton.InferenceServerClient) -> None:
    assert planned(client, "pb_bls", all={"call": "repeat", "count": 3}) == [[0], [1], [2]]
    assert planned(client, "pb_bls", **{"async": [{"call": "sum", "values": [each, 1]} for each in range(3)]}) == [[1.0], [2.0], [3.0]]
    assert planned(client, "asker", shout="loud") == "LOUD!"


def test_models_load_and_unload_others(client: triton.InferenceServerClient) -> None:
    assert planned(client, "asker", load="pb_completed") is True
    doubled = client.infer("pb_completed", [tensor(triton, "IN", np.array([[1, 2]]), "INT64")])
    assert doubled.as_numpy("OUT").tolist() == [[2, 4]]
    assert planned(client, "asker", unload="pb_completed") is False
    assert "failed to load 'nobody'" in planned(client, "asker", load="nobody")


def test_the_configuration_that_a_model_completes_is_what_clients_see(client: triton.InferenceServerClient) -> None:
    client.load_model("pb_completed")
    config = client.get_model_config("pb_completed")
    assert (config["max_batch_size"], config["input"][0]["dims"], config["output"][0]["data_type"]) == (4, [2], "TYPE_INT64")
    assert client.get_model_metadata("pb_completed")["inputs"] == [{"name": "IN", "datatype": "INT64", "shape": [-1, 2]}]

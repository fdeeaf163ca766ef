"""The Open Inference Protocol over HTTP, as unmodified Triton clients see it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton

from tests.conftest import Server, servers, toy


@pytest.fixture(scope="module")
def server(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers(shared_home, tmp_path_factory.mktemp("v2")) as start:
        modules = {name: {**toy(name), "workers": 1} for name in ("doubler", "shout", "sizes", "tensors")}
        modules["sizes"]["predict_args"] = {"unit": "px"}
        yield start(modules, max_body_bytes=4 << 20)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        yield client


def tensor(name: str, array: np.ndarray, datatype: str, binary: bool = True) -> triton.InferInput:
    sent = triton.InferInput(name, list(array.shape), datatype)
    sent.set_data_from_numpy(array, binary_data=binary)
    return sent


def texts(*elements: bytes) -> np.ndarray:
    return np.array([*elements, None], object)[:-1]


def test_the_server_says_that_it_lives_is_ready_and_what_it_is(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata()
    assert metadata["name"] == "triton"
    assert {"binary_tensor_data", "classification", "statistics"} <= set(metadata["extensions"])


def test_models_say_what_they_take_and_give(client: triton.InferenceServerClient) -> None:
    assert client.is_model_ready("doubler")
    assert client.is_model_ready("doubler", "1.0.0")
    assert not client.is_model_ready("doubler", "7")
    assert not client.is_model_ready("nobody")
    metadata = client.get_model_metadata("doubler")
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, -1]}]
    assert metadata["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, -1]}]
    config = client.get_model_config("doubler")
    assert (config["max_batch_size"], config["input"][0]["dims"], config["input"][0]["data_type"]) == (16, [-1], "TYPE_FP32")
    assert client.get_model_metadata("shout")["inputs"] == [{"name": "arguments", "datatype": "BYTES", "shape": [1]}]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("binary_answer", [True, False])
@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
def test_tensors_are_computed_in_every_form(
    client: triton.InferenceServerClient, binary: bool, binary_answer: bool, coding: str | None
) -> None:
    x = np.arange(600, dtype=np.float32).reshape(3, 200)
    answer = client.infer(
        "doubler",
        [tensor("x", x, "FP32", binary)],
        outputs=[triton.InferRequestedOutput("y", binary_data=binary_answer)],
        request_id="seven",
        request_compression_algorithm=coding,
        response_compression_algorithm=coding,
    )
    assert np.array_equal(answer.as_numpy("y"), x * 2)
    assert answer.get_response()["id"] == "seven"

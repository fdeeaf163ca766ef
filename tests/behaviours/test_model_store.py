"""Model repositories of Triton's form, served by the command line and asked by its client."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.http as httpclient
from tritonclient.utils import InferenceServerException

from tests.conftest import Server, free_port, hub, wait_for
from tests.triton_models import SCALE, add, tensor, total, write_scale

ENSEMBLE = f"""
platform: "ensemble" max_batch_size: 8
input [ {tensor("in", [4])} ] output [ {tensor("out", [4], more='label_filename: "labels.txt"')} ]
ensemble_scheduling {{ step [
  {{ model_name: "plus" model_version: -1 input_map {{ key: "a" value: "l" }} input_map {{ key: "b" value: "r" }} output_map {{ key: "sum" value: "out" }} }},
  {{ model_name: "one" input_map {{ key: "x" value: "in" }} output_map {{ key: "y" value: "l" }} }},
  {{ model_name: "many" model_version: 2 input_map {{ key: "x" value: "in" }} output_map {{ key: "y" value: "r" }} }}
] }}"""  # noqa: E501 - as people write it


TOTAL = f"""
backend: "onnxruntime" max_batch_size: 4
input [ {tensor("x", [1])} ] output [ {tensor("y", [1])} ]
sequence_batching {{
  oldest {{ max_candidate_sequences: 4 }}
  control_input [ {{ name: "START" control [ {{ kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1 ] }} ] }} ]
  state [ {{ input_name: "SUM" output_name: "NEXT_SUM" data_type: TYPE_FP32 dims: [ 1 ] }} ]
}}"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_scale(folder, "one")
    write_scale(folder, "many", SCALE + " version_policy: { specific: { versions: [ 2, 10 ] } }", versions=(1, 2, 10))
    write_scale(folder, "bad", SCALE + ' model_operations { op_library_filename: "own.so" }')
    write_scale(folder, "plain", None)
    write_scale(folder, "whole", f"input [ {tensor('x', [-1, 4])} ] output [ {tensor('y', [-1, 4])} ]")
    add(folder / "plus" / "1" / "model.onnx")
    total(folder / "total" / "1" / "model.onnx")
    (folder / "total" / "config.pbtxt").write_text(TOTAL)
    (folder / "chain").mkdir()
    (folder / "chain" / "labels.txt").write_text("a\nb\nc\nd\n")
    (folder / "chain" / "config.pbtxt").write_text(ENSEMBLE)
    return folder


@pytest.fixture(scope="module")
def server(store: Path, shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port = free_port()
    arguments = ["--model-store", str(store), "--port", str(port), "-w", "1"]
    running = Server(arguments, port, shared_home, tmp_path_factory.mktemp("log") / "server.log")
    try:
        wait_until_loaded(running)
        yield running
    finally:
        running.process.kill()
        running.process.wait(60)


def wait_until_loaded(server: Server) -> None:
    """Not all are ever ready where one is bad: the log tells when the others are."""
    wait_for(lambda: "loaded in" in server.log.read_text() or server.process.poll() is not None, 240)
    assert server.process.poll() is None, server.log.read_text()


@pytest.fixture
def client(server: Server) -> Iterator[Any]:
    with httpclient.InferenceServerClient(f"127.0.0.1:{server.port}") as opened:
        yield opened


def ask(client: Any, model: str, array: np.ndarray, name: str = "x", version: str = "") -> dict[str, np.ndarray]:
    sent = httpclient.InferInput(name, list(array.shape), "FP32")
    sent.set_data_from_numpy(array)
    answer = client.infer(model, [sent], model_version=version)
    return {each["name"]: answer.as_numpy(each["name"]) for each in answer.get_response()["outputs"]}


X = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize(
    ("model", "version", "factor"),
    [("one", "", 2), ("many", "", 20), ("many", "2", 4), ("many", "10", 20), ("plain", "", 2), ("whole", "", 2)],
)
def test_each_model_answers_in_the_versions_that_its_policy_chooses(client: Any, model: str, version: str, factor: int) -> None:
    np.testing.assert_array_equal(ask(client, model, X, version=version)["y"], X * factor)


def test_a_version_that_the_policy_leaves_out_is_unknown(client: Any) -> None:
    with pytest.raises(InferenceServerException, match=r"Request for unknown model: 'many' version 1 is not found"):
        ask(client, "many", X, version="1")


def test_a_version_that_is_not_a_number_is_reported_in_the_words_that_clients_look_for(client: Any) -> None:
    wanted = r"Request for unknown model: 'many'.*failed to get model version from specified version string 'latest'.*2, 10 is served"
    with pytest.raises(InferenceServerException, match=wanted):
        ask(client, "many", X, version="latest")


def test_an_ensemble_computes_its_steps_in_the_order_of_its_tensors(client: Any) -> None:
    assert list(ask(client, "chain", X, "in")) == ["out"]
    np.testing.assert_array_equal(ask(client, "chain", X, "in")["out"], X * 2 + X * 4)
    sent = httpclient.InferInput("in", [1, 4], "FP32")
    sent.set_data_from_numpy(X[:1])
    best = client.infer("chain", [sent], outputs=[httpclient.InferRequestedOutput("out", class_count=1)]).as_numpy("out")
    assert best.tolist() == [[b"18.000000:3:d"]]


def test_a_bad_model_is_told_with_its_reason_and_does_not_disturb_the_others(server: Server, client: Any) -> None:
    health = requests.get(server.url + "/health/ready", timeout=10).json()
    assert list(health["not_ready"]) == ["bad"]
    assert "model_operations.op_library_filename" in health["not_ready"]["bad"]
    assert "module 'bad' is not served" in server.log.read_text()
    assert not client.is_model_ready("bad")
    assert client.is_model_ready("one")


def test_the_configuration_is_completed_from_the_file(client: Any) -> None:
    config = client.get_model_config("plain")
    assert (config["name"], config["backend"], config["max_batch_size"]) == ("plain", "onnxruntime", 32)
    assert [(each["name"], each["data_type"], [int(length) for length in each["dims"]]) for each in config["input"]] == [
        ("x", "TYPE_FP32", [4])
    ]
    assert client.get_model_metadata("many")["versions"] == ["2", "10"]
    assert client.get_model_metadata("whole")["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]


def test_a_model_without_a_batch_takes_each_request_as_it_is(client: Any) -> None:
    for rows in (1, 7):
        array = np.full((rows, 4), rows, np.float32)
        np.testing.assert_array_equal(ask(client, "whole", array)["y"], array * 2)
    with pytest.raises(InferenceServerException, match="shape"):
        ask(client, "whole", X[0])


def test_sequences_are_added_up_by_a_file_that_is_told_of_them(client: Any) -> None:
    sums = {}
    for number, (start, end) in enumerate([(True, False), (False, False), (False, True)], 1):
        for sequence in (7, 8):
            sent = httpclient.InferInput("x", [1, 1], "FP32")
            sent.set_data_from_numpy(np.full((1, 1), number * sequence, np.float32))
            answer = client.infer("total", [sent], sequence_id=sequence, sequence_start=start, sequence_end=end)
            sums[sequence] = float(answer.as_numpy("y")[0, 0])
            assert [each["name"] for each in answer.get_response()["outputs"]] == ["y"]
    assert sums == {7: 42.0, 8: 48.0}


def test_json_of_any_model_of_files_is_answered(server: Server) -> None:
    assert server.results("one", inputs={"x": [[1, 2, 3, 4]]})["outputs"] == {"y": [[2, 4, 6, 8]]}
    assert server.results("whole", inputs={"x": [[1, 2, 3, 4]] * 2})["outputs"] == {"y": [[2, 4, 6, 8]] * 2}


def test_explicit_control_serves_what_is_named(store: Path, shared_home: Path, tmp_path: Path) -> None:
    port = free_port()
    arguments = ["--model-repository", str(store), "--model-control", "explicit", "--load-model", "many", "--port", str(port), "-w", "1"]
    server = Server(arguments, port, shared_home, tmp_path / "server.log")
    try:
        server.wait_until_ready()
        served = requests.get(server.url + "/status", timeout=10).json()["modules"]
        assert [(each["name"], each["version"]) for each in served] == [("many", "2"), ("many", "10")]
    finally:
        assert server.stop() == 0


def test_a_model_is_installed_and_served_by_its_name(store: Path, home: Path, tmp_path: Path) -> None:
    for model, version in (("many", "10"), ("plain", "1")):
        done = hub("install", store / model, home=home)
        assert done.returncode == 0, done.stderr
        shown = json.loads(hub("list", "--json", home=home).stdout)
        assert (model, version) in [(each["name"], each["version"]) for each in shown["modules"]]
    ran = hub("run", "many", "--inputs", json.dumps({"x": [[1, 2, 3, 4]]}), home=home)
    assert json.loads(ran.stdout)["outputs"] == {"y": [[20, 40, 60, 80]]}, ran.stderr
    port = free_port()
    server = Server(["-m", "many", str(store / "one"), "-p", str(port), "-w", "1"], port, home, tmp_path / "server.log")
    try:
        server.wait_until_ready()
        with httpclient.InferenceServerClient(f"127.0.0.1:{port}") as client:
            np.testing.assert_array_equal(ask(client, "many", X, version="2")["y"], X * 4)
            np.testing.assert_array_equal(ask(client, "one", X)["y"], X * 2)
    finally:
        assert server.stop() == 0


def test_what_is_no_store_is_told_before_anything_starts(tmp_path: Path, home: Path) -> None:
    done = hub("serving", "start", "--model-store", tmp_path / "nowhere", "-p", free_port(), home=home)
    assert done.returncode == 1
    assert "the model store" in done.stderr
    assert "is not a folder" in done.stderr

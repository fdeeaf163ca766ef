"""Models' own files, served and installed as they are."""

import ast
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton

from hubserve.errors import HubError, ModuleNotFound
from hubserve.registry.installer import Installer
from hubserve.registry.resolve import resolve
from tests import value_models
from tests.behaviours.grpc_clients import tensor, texts
from tests.conftest import Server, Start, free_port, hub
from tests.triton_models import scale
from tests.v2 import binary_request


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Several models in a folder, with what lies beside models as a rule."""
    made = tmp_path_factory.mktemp("several")
    for write in ("spam", "flower", "constant", "split", "pieces", "maybe", "widened"):
        getattr(value_models, write)(made / f"{write}.onnx")
    value_models.echo(made / "echo any-rank v1.5.onnx", value_models.FLOAT, None)
    value_models.echo(made / "rows.onnx", value_models.FLOAT, ("n", 4))
    (made / "labels.json").write_text("{}")
    (made / "notes.txt").write_text("no model")
    return made


@pytest.fixture(scope="module")
def server(folder: Path, shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of the folder, and of one more file under a name of its own."""
    tmp = tmp_path_factory.mktemp("models")
    more = scale(tmp / "model.onnx", 3.0)
    port = free_port()
    flags = ["-m", str(folder), f"triple={more}", "-p", str(port), "--grpc-port", str(port), "-w", "1"]
    running = Server(flags, port, shared_home, tmp / "log")
    try:
        yield running.wait_until_ready()
    finally:
        running.process.kill()
        running.process.wait(60)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    with triton.InferenceServerClient(server.url.partition("//")[2]) as made:
        yield made


@pytest.fixture(scope="module")
def grpc_client(server: Server) -> Iterator[Any]:
    with triton_grpc.InferenceServerClient(server.url.partition("//")[2]) as made:
        yield made


def given(name: str, array: np.ndarray, datatype: str = "FP32") -> Any:
    sent = triton.InferInput(name, list(array.shape), datatype)
    sent.set_data_from_numpy(array)
    return sent


def values(server: Server, model: str, **inputs: Any) -> Any:
    return server.results(model, inputs=inputs)["outputs"]


def test_each_model_of_a_folder_is_served_under_its_file_s_name(client: Any) -> None:
    served = {each["name"] for each in client.get_model_repository_index()}
    assert served == {"spam", "flower", "constant", "split", "pieces", "maybe", "widened", "echo_any-rank_v1_5", "rows", "triple"}


def test_a_file_with_an_open_batch_is_batched_and_described(client: Any, server: Server) -> None:
    about = client.get_model_metadata("triple")
    assert (about["platform"], about["versions"]) == ("onnxruntime_onnx", ["1"])
    assert about["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    config = client.get_model_config("triple")
    assert (config["max_batch_size"], config["dynamic_batching"], config["input"][0]["dims"]) == (32, {}, [4])
    answer = client.infer("triple", [given("x", np.ones((2, 4), np.float32))])
    np.testing.assert_array_equal(answer.as_numpy("y"), np.full((2, 4), 3))
    assert values(server, "triple", x=[[1, 2, 3, 4]]) == {"y": [[3, 6, 9, 12]]}


def test_the_same_is_answered_over_grpc(grpc_client: Any) -> None:
    answer = grpc_client.infer("triple", [tensor("x", np.ones((1, 4), np.float32))])
    np.testing.assert_array_equal(answer.as_numpy("y"), np.full((1, 4), 3))
    answer = grpc_client.infer("spam", [tensor("text", texts(b"win").reshape(1, 1), "BYTES")])
    assert answer.as_numpy("label").ravel().tolist() == [b"spam"]


def test_texts_are_tensors_and_json(client: Any, server: Server) -> None:
    answer = client.infer("spam", [given("text", texts(b"WIN", b"hello").reshape(2, 1), "BYTES")])
    assert answer.as_numpy("label").ravel().tolist() == [b"spam", b"ham"]
    assert answer.as_numpy("probabilities").shape == (2, 2)
    assert values(server, "spam", text=[["hello"], ["win"]])["label"] == [["ham"], ["spam"]]
    wrong = server.predict("spam", json={"inputs": {"text": [[5]]}}).json()
    assert "input 'text' must be nested lists of texts" in wrong["msg"]


def test_requests_with_texts_are_merged_and_each_gets_its_own_answer(server: Server) -> None:
    def labels(number: int) -> set[bytes]:
        text = ("win", "hello")[number % 2]
        with triton.InferenceServerClient(server.url.partition("//")[2]) as client:
            answers = [client.infer("spam", [given("text", texts(text.encode()).reshape(1, 1), "BYTES")]) for _ in range(5)]
        return {each.as_numpy("label").item() for each in answers}

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(labels, range(8))) == [{b"spam"}, {b"ham"}] * 4


def test_the_classes_of_a_table_of_scores_are_its_labels(client: Any) -> None:
    best = triton.InferRequestedOutput("probabilities", class_count=1)
    answer = client.infer("flower", [given("x", np.array([[0, 0, 9]], np.float32))], outputs=[best])
    assert answer.as_numpy("probabilities").item().endswith(b":2:30")
    assert client.get_model_metadata("flower")["outputs"][1] == {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}


def test_a_model_without_inputs_is_asked_with_none(server: Server, grpc_client: Any) -> None:
    np.testing.assert_array_equal(grpc_client.infer("constant", []).as_numpy("y"), [[1, 2, 3], [4, 5, 6]])
    answer = requests.post(server.url + "/v2/models/constant/infer", json={"inputs": []}, timeout=30)
    assert answer.json()["outputs"][0]["data"] == [1, 2, 3, 4, 5, 6]
    assert values(server, "constant") == {"y": [[1, 2, 3], [4, 5, 6]]}


def test_lists_beside_tensors_are_answered_as_json_and_the_tensors_over_v2(client: Any, server: Server) -> None:
    assert [each["name"] for each in client.get_model_metadata("split")["outputs"]] == ["y"]
    answer = client.infer("split", [given("x", np.ones((2, 2), np.float32))])
    np.testing.assert_array_equal(answer.as_numpy("y"), np.full((2, 2), 2))
    assert values(server, "split", x=[[1, 2], [3, 4]]) == {"rows": [[[1, 2]], [[3, 4]]], "y": [[2, 4], [6, 8]]}


def test_a_model_of_lists_alone_takes_json(client: Any, server: Server) -> None:
    assert values(server, "pieces", rows=[[1], [2, 3]], row=[4]) == {"longer": [[1], [2, 3], [4]], "count": 3}
    assert [each["name"] for each in client.get_model_metadata("pieces")["inputs"]] == ["arguments"]
    answer = client.infer("pieces", [given("arguments", texts(b'{"inputs": {"rows": [], "row": [4]}}'), "BYTES")])
    assert json.loads(answer.as_numpy("results").item())["outputs"] == {"longer": [[4]], "count": 1}
    wrong = server.predict("pieces", json={"inputs": {"rows": [[1]]}}).json()
    assert "must be an object with the arrays ['row']" in wrong["msg"]


def test_an_optional_value_may_be_left_out(server: Server) -> None:
    assert values(server, "maybe") == {"y": False}
    assert values(server, "maybe", extra=[1, 2]) == {"y": True}


@pytest.mark.parametrize("shape", [(3,), (2, 1, 2), (0, 2)])
def test_any_rank_is_taken_where_the_file_leaves_it_open(client: Any, shape: "tuple[int, ...]") -> None:
    answer = client.infer("echo_any-rank_v1_5", [given("x", np.ones(shape, np.float32))])
    assert answer.as_numpy("y").shape == shape


def test_bfloat16_is_taken_and_given(server: Server) -> None:
    body, headers = binary_request([("x", "BF16", np.array([[0x3F80, 0x4000]], np.uint16))], parameters={"binary_data_output": True})
    answer = requests.post(server.url + "/v2/models/widened/infer", data=body, headers=headers, timeout=30)
    raw = answer.content[int(answer.headers["Inference-Header-Content-Length"]) :]
    assert np.frombuffer(raw[:8], np.float32).tolist() == [1, 2]
    assert np.frombuffer(raw[8:], np.uint16).tolist() == [0x3F80, 0x4000]


def test_settings_are_those_of_init_args(start: Start, tmp_path: Path) -> None:
    path = scale(tmp_path / "model.onnx")
    settings = {"directory": str(path), "max_batch_size": 0, "engine": "onnxruntime", "intra_op_thread_count": 1, "gpu_mem_limit": "9"}
    server = start({"whole": {"init_args": settings, "workers": 1}})
    with triton.InferenceServerClient(server.url.partition("//")[2]) as client:
        assert client.get_model_config("whole")["max_batch_size"] == 0
        answer = client.infer("whole", [given("x", np.ones((0, 4), np.float32))])
        assert answer.as_numpy("y").shape == (0, 4)
    assert "parameter gpu_mem_limit changes nothing here" in server.log.read_text()


def test_a_file_is_installed_in_versions_and_everything_is_done_with_it(home: Path, tmp_path: Path) -> None:
    path = value_models.outside(tmp_path / "my model.onnx", "weights/w.data")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.data").write_bytes(np.array([5, 7], np.float32).tobytes())
    assert "Installed my_model 1.0.0" in hub("install", path, home=home).stdout
    assert "Installed my_model 1.1" in hub("install", path, "--version", "1.1", home=home).stdout
    path.unlink()
    (tmp_path / "weights" / "w.data").unlink()
    shown = json.loads(hub("show", "my_model", "--json", home=home).stdout)
    assert (set(shown["versions"]), shown["version"], shown["kind"]) == ({"1.0.0", "1.1"}, "1.1", "model")
    bundled = hub("bundle", "my_model", "-o", tmp_path / "my.hub", home=home)
    assert bundled.returncode == 0, bundled.stderr
    assert {each.info.version for each in Installer().uninstall("my_model")} == {"1.0.0", "1.1"}
    assert "Installed my_model 1.1" in hub("install", tmp_path / "my.hub", home=home).stdout
    ran = hub("run", "my_model", "--inputs", '{"x": [[1, 2]]}', home=home)
    assert ast.literal_eval(ran.stdout)["outputs"] == {"y": [[5, 14]]}, ran.stderr


def test_a_folder_of_one_paddle_model_is_installed_and_served(start: Start, home: Path, ocr_dir: Path) -> None:
    shown = json.loads(hub("show", ocr_dir / "cls", "--json", home=home).stdout)
    assert (shown["name"], shown["version"], shown["kind"]) == ("cls", "1", "model")
    installed = hub("install", ocr_dir / "cls", "--name", "angle", home=home)
    assert "Installed angle 1.0.0" in installed.stdout, installed.stderr
    server = start({"angle": {"init_args": {"engine": "openvino"}, "workers": 1}})
    outputs = values(server, "angle", x=np.zeros((1, 3, 48, 192)).tolist())
    assert np.shape(next(iter(outputs.values()))) == (1, 2)


REFUSED = {
    "weights.pdparams": (b"x", "weights that paddle.save wrote"),
    "net.h5": (b"x", "without a model's description, such as save_weights() writes"),
    "net.keras": (b"x", "is damaged or cut short: File is not a zip file"),
    "net.pb": (b"x", "Give the folder of the SavedModel"),
    "net.safetensors": (b"x", "is not a whole safetensors file"),
    "net.pkl": (b"x", "a Python pickle, which is not opened"),
    "pointer.onnx": (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    "page.onnx": (b"<!DOCTYPE html><html>", "a web page in place of the model"),
    "empty.onnx": (b"", "is empty"),
    "damaged.onnx": (b"\x08\x08", "is not an ONNX model, or is damaged"),
    "settings.json": (b"{}", "is JSON, but no model that Paddle 3 wrote"),
    "net.xml": (b"<net/>", "its weights 'net.bin' are missing"),
    "inference.pdmodel": (b"\x0a\x01", "is not a Paddle program, or is damaged"),
    "inference.pdiparams": (b"x", "Give the *.pdmodel or *.json file of the same name"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_served_is_named_for_what_it_is(home: Path, tmp_path: Path, name: str) -> None:
    data, reason = REFUSED[name]
    (tmp_path / name).write_bytes(data)
    with pytest.raises(HubError, match=re.escape(reason)):
        Installer().install(tmp_path / name)
    assert not list((home / "modules").glob("[!.]*"))


def test_a_folder_of_several_is_not_installed_as_one(home: Path, folder: Path) -> None:
    with pytest.raises(HubError, match="holds 9 models: .* Name one of the files"):
        Installer().install(folder)


@pytest.mark.parametrize("reference", ["none.onnx", "./none.onnx"])
def test_a_file_that_is_not_there_is_called_a_file(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reference: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotFound, match=re.escape(f"the file '{tmp_path / 'none.onnx'}' does not exist")):
        resolve(reference)


def test_a_link_to_a_file_keeps_its_name(home: Path, tmp_path: Path) -> None:
    scale(tmp_path / "blob").rename(tmp_path / "1f2e")
    (tmp_path / "net.onnx").symlink_to("1f2e")
    assert resolve(str(tmp_path / "net.onnx")).info.name == "net"
    assert Installer().install(tmp_path / "net.onnx").info.name == "net"
    (tmp_path / "1f2e").unlink()
    assert hub("run", "net", "--inputs", '{"x": [[1, 2, 3, 4]]}', home=home).returncode == 0


def test_the_error_for_two_files_of_one_name_says_how_to_name_them(home: Path, tmp_path: Path) -> None:
    scale(tmp_path / "a" / "model.onnx")
    scale(tmp_path / "b" / "model.onnx")
    answer = hub("serving", "start", "-m", tmp_path / "a" / "model.onnx", tmp_path / "b" / "model.onnx", "-p", free_port(), home=home)
    assert "Give one of the two another name: -m NAME=PATH" in answer.stderr

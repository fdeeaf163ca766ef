"""Model stores as people have them: nothing in them that loads, labels that only a step names, GPUs that are not there."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.http as httpclient

from tests.conftest import Server, free_port, hub, wait_for
from tests.triton_models import SCALE, tensor, write_scale

BROKEN = "raise RuntimeError('no such luck')\n"
NAMED = 'label_filename: "names.txt"'
LABELLED = f"max_batch_size: 8 input [ {tensor('x', [4])} ] output [ {tensor('y', [4], more=NAMED)} ]"
ENSEMBLE = """platform: "ensemble" max_batch_size: 8
input [ {{ name: "in" data_type: TYPE_FP32 dims: [ 4 ] }} ]
output [ {{ name: "out" data_type: TYPE_FP32 dims: [ 4 ] {labels} }} ]
ensemble_scheduling {{ step [
  {{ model_name: "{model}" model_version: -1 input_map {{ key: "{takes}" value: "in" }} output_map {{ key: "{gives}" value: "out" }} }}
] }}"""


def started(store: Path, home: Path, folder: Path, *more: str) -> Server:
    port = free_port()
    server = Server(["--model-store", str(store), "--port", str(port), "-w", "1", *more], port, home, folder / "server.log")
    wait_for(lambda: _has_loaded(server), 240)
    return server


def _has_loaded(server: Server) -> bool:
    text = server.log.read_text()
    return "loaded in" in text or "no model is loaded" in text or server.process.poll() is not None


@pytest.fixture(scope="module")
def hopeless(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hopeless")
    (folder / "store" / "broken" / "1").mkdir(parents=True)
    (folder / "store" / "broken" / "1" / "model.py").write_text(BROKEN)
    (folder / "store" / "docs").mkdir()
    server = started(folder / "store", shared_home, folder, "--model-control", "explicit", "--load-model", "*")
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait(60)


def test_a_server_none_of_whose_stored_models_loads_stays_up_and_says_why(hopeless: Server) -> None:
    assert hopeless.process.poll() is None, hopeless.log.read_text()
    assert requests.get(hopeless.url + "/v2/health/live", timeout=10).json() == {"live": True}
    ready = requests.get(hopeless.url + "/v2/health/ready", timeout=10)
    assert (ready.status_code, ready.json()["ready"]) == (400, False)
    assert "no such luck" in ready.json()["error"]
    (state,) = requests.post(hopeless.url + "/v2/repository/index", json={}, timeout=10).json()
    assert (state["name"], state["state"]) == ("broken", "UNAVAILABLE")
    assert "no such luck" in state["reason"]


def test_the_status_has_a_long_reason_on_a_line_of_its_own(hopeless: Server) -> None:
    lines = hub("serving", "status", "-p", hopeless.port, home=hopeless.home).stdout.splitlines()
    assert any("broken" in line and "not ready" in line for line in lines)
    assert any(line.startswith("broken: ") and "no such luck" in line for line in lines)


def test_a_model_that_comes_later_makes_it_ready(hopeless: Server) -> None:
    store = Path(hopeless.log.parent, "store")
    write_scale(store, "scale")
    with httpclient.InferenceServerClient(f"127.0.0.1:{hopeless.port}") as client:
        client.load_model("scale")
        assert client.is_model_ready("scale")
        client.unload_model("broken")
        assert client.is_server_ready()
        with pytest.raises(Exception, match="failed to load 'docs', .*holds no model"):
            client.load_model("docs")


def test_modules_none_of_which_loads_end_the_server(shared_home: Path, tmp_path: Path) -> None:
    (tmp_path / "broken" / "1").mkdir(parents=True)
    (tmp_path / "broken" / "1" / "model.py").write_text(BROKEN)
    done = hub("serving", "start", "-m", tmp_path / "broken", "-p", free_port(), home=shared_home)
    assert done.returncode == 1
    assert "no such luck" in done.stderr


@pytest.fixture(scope="module")
def labelled(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("labelled")
    store = folder / "store"
    write_scale(store, "scores", LABELLED)
    (store / "scores" / "names.txt").write_text("red\ngreen\nblue\ngrey\n")
    write_scale(store, "on_gpu", SCALE + " instance_group [ { kind: KIND_GPU gpus: [ 0 ] } ]")
    for name, model, tensors, labels in (
        ("whole", "scores", ("x", "y"), ""),
        ("around", "whole", ("in", "out"), ""),
        ("own", "scores", ("x", "y"), 'label_filename: "own.txt"'),
    ):
        (store / name).mkdir()
        config = ENSEMBLE.format(model=model, takes=tensors[0], gives=tensors[1], labels=labels)
        (store / name / "config.pbtxt").write_text(config)
    (store / "own" / "own.txt").write_text("a\nb\nc\nd\n")
    server = started(store, shared_home, folder)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait(60)


@pytest.fixture(scope="module")
def client(labelled: Server) -> Iterator[Any]:
    with httpclient.InferenceServerClient(f"127.0.0.1:{labelled.port}") as opened:
        yield opened


def best_two(client: Any, model: str, takes: str, gives: str) -> list[list[str]]:
    scores = np.float32([[0.1, 0.4, 0.2, 0.3]])
    sent = httpclient.InferInput(takes, [1, 4], "FP32")
    sent.set_data_from_numpy(scores)
    answer = client.infer(model, [sent], outputs=[httpclient.InferRequestedOutput(gives, class_count=2)]).as_numpy(gives)
    return [each.decode().split(":")[1:] for each in answer[0]]


@pytest.mark.parametrize(
    ("model", "takes", "gives", "wanted"),
    [
        ("scores", "x", "y", ["green", "grey"]),
        ("whole", "in", "out", ["green", "grey"]),
        ("around", "in", "out", ["green", "grey"]),
        ("own", "in", "out", ["b", "d"]),
    ],
)
def test_classes_are_called_as_the_model_calls_them_that_gives_the_output(
    client: Any, model: str, takes: str, gives: str, wanted: list[str]
) -> None:
    assert best_two(client, model, takes, gives) == [["1", wanted[0]], ["3", wanted[1]]]


def test_a_gpu_that_is_asked_for_in_vain_is_named_and_the_cpu_computes(labelled: Server, client: Any) -> None:
    assert client.is_model_ready("on_gpu")
    assert "model 'on_gpu': fields of its configuration have no effect here: instance_group[0] asks for a GPU" in labelled.log.read_text()

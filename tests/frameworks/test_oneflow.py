"""OneFlow for real: stored graphs, the guide's repository, batches of any size, damaged files, and killed processes."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.http as httpclient

from tests.conftest import Server, hub
from tests.frameworks.calls import PROTOCOLS, over_grpc, over_http
from tests.frameworks.home import FrameworkHome
from tests.frameworks.servers import command_lines, wait_until_loaded

#: relative to the largest score
TOLERANCE = 2e-5
SAVED = ("attention_1", "attention_4", "recurrent_2", "several_2", "half_1")
GUIDE = """name: "resnet50_oneflow"
backend: "oneflow"

input [
  {
    name: "INPUT_0"
    data_type: TYPE_FP32
    dims: [ 3, 224, 224 ]
  }
]
output [
  {
    name: "OUTPUT_0"
    data_type: TYPE_FP32
    dims: [ 1000 ]
    label_filename: "labels.txt"
  }
]

instance_group [
  {
    count: 1
    kind: KIND_GPU
    gpus: [ 0 ]
  }
]
"""
Asks = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def graphs(frameworks: FrameworkHome) -> Path:
    return frameworks.made("oneflow", "oneflow_graphs")


@pytest.fixture(scope="module")
def tiny(frameworks: FrameworkHome) -> Path:
    return frameworks.made("oneflow", "oneflow_model", "tiny") / "model"


@pytest.fixture(scope="module")
def served(graphs: Path, tiny: Path, frameworks: FrameworkHome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A repository with every kind of graph, without configurations, and the guide's."""
    store = tmp_path_factory.mktemp("store")
    for folder in graphs.iterdir():
        shutil.copytree(folder / "model", store / folder.name / "1" / "model")
    shutil.copytree(tiny, store / "tiny" / "1" / "model")
    resnet = store / "resnet50_oneflow"
    shutil.copytree(frameworks.made("oneflow", "oneflow_model", "resnet50") / "model", resnet / "1" / "model")
    (resnet / "config.pbtxt").write_text(GUIDE)
    (resnet / "labels.txt").write_text("".join(f"CLASS {index}\n" for index in range(1000)))
    fixed = store / "fixed"
    shutil.copytree(graphs / "recurrent_2" / "model", fixed / "1" / "model")
    (fixed / "config.pbtxt").write_text(
        'backend: "oneflow"\nmax_batch_size: 0\ninput { name: "INPUT_0" data_type: TYPE_FP32 dims: [ 2, 3, 4 ] }\n'
    )
    with command_lines(frameworks.folder, tmp_path_factory.mktemp("log")) as start:
        yield start("--model-store", store, "--gpu-fallback", "cpu")


def items_of(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The inputs and the answers that a maker kept."""
    with np.load(folder / "items.npz") as kept:
        # a configuration has at least one dimension beside the batch
        arrays = {name: array[:, None] if array.ndim == 1 else array for name, array in kept.items()}
    return tuple({name: arrays[name] for name in sorted(arrays) if name.startswith(side)} for side in ("INPUT", "OUTPUT"))  # type: ignore[return-value]


def check_close(answer: np.ndarray, wanted: np.ndarray) -> None:
    assert (answer.shape, answer.dtype) == (wanted.shape, wanted.dtype)
    np.testing.assert_allclose(answer, wanted, rtol=0, atol=TOLERANCE * max(1.0, float(np.abs(wanted).max())))


@pytest.mark.parametrize("name", SAVED)
def test_batches_of_any_size_answer_as_single_items(name: str, graphs: Path, served: Server) -> None:
    inputs, wanted = items_of(graphs / name)
    for count in (1, 2, 3, 5, 8):
        answers = over_http(served, name, {key: array[:count] for key, array in inputs.items()})
        assert set(answers) == set(wanted)
        for key, array in wanted.items():
            check_close(answers[key], array[:count])
    shown = served.status(name)
    assert "warnings" not in shown["engine"], shown["engine"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_answers_as_oneflow(protocol: str, served: Server, frameworks: FrameworkHome) -> None:
    images = np.random.default_rng(2).random((1, 3, 224, 224), np.float32)
    folder = frameworks.made("oneflow", "oneflow_model", "resnet50")
    (wanted,) = frameworks.answers("oneflow", folder, {"INPUT_0": images}).values()
    answer = PROTOCOLS[protocol](served, "resnet50_oneflow", {"INPUT_0": images})
    np.testing.assert_allclose(answer["OUTPUT_0"], wanted, rtol=0, atol=TOLERANCE * float(np.abs(wanted).max()))


def test_the_client_of_the_guide_gets_labels(served: Server) -> None:
    image = np.random.default_rng(3).random((1, 3, 224, 224), np.float32)
    assert requests.get(f"{served.url}/v2/health/ready", timeout=10).status_code == 200
    triton_client = httpclient.InferenceServerClient(url=f"127.0.0.1:{served.port}")
    inputs = []
    inputs.append(httpclient.InferInput("INPUT_0", image.shape, "FP32"))
    inputs[0].set_data_from_numpy(image, binary_data=True)
    outputs = []
    outputs.append(httpclient.InferRequestedOutput("OUTPUT_0", binary_data=True, class_count=3))
    results = triton_client.infer("resnet50_oneflow", inputs=inputs, outputs=outputs)
    output_data0 = results.as_numpy("OUTPUT_0")
    scores = over_http(served, "resnet50_oneflow", {"INPUT_0": image})["OUTPUT_0"][0]
    best = np.argsort(-scores)[:3]
    assert output_data0.shape == (1, 3)
    for text, index in zip(output_data0[0], best, strict=True):
        score, number, label = text.decode().split(":")
        assert (int(number), label) == (index, f"CLASS {index}")
        assert float(score) == pytest.approx(scores[index], rel=1e-4)


def test_an_absent_configuration_is_completed(served: Server) -> None:
    config = requests.get(f"{served.url}/v2/models/several_2/config", timeout=10).json()
    assert config["max_batch_size"] > 1
    assert [(each["name"], each["data_type"], each["dims"]) for each in config["input"]] == [
        ("INPUT_0", "TYPE_INT64", [1]),
        ("INPUT_1", "TYPE_FP32", [4]),
    ]
    assert [(each["name"], each["data_type"]) for each in config["output"]] == [
        ("OUTPUT_0", "TYPE_FP32"),
        ("OUTPUT_1", "TYPE_INT64"),
        ("OUTPUT_2", "TYPE_FP64"),
        ("OUTPUT_3", "TYPE_INT64"),
    ]


def test_graphs_that_cannot_be_rewritten_keep_their_own_batch(graphs: Path, served: Server) -> None:
    inputs, wanted = items_of(graphs / "mixing_1")
    (notice,) = served.status("mixing_1")["engine"]["warnings"]
    assert "computes batches of 1 only" in notice
    with ThreadPoolExecutor(8) as threads:
        answers = list(
            threads.map(lambda at: over_http(served, "mixing_1", {"INPUT_0": inputs["INPUT_0"][at : at + 1]})["OUTPUT_0"], range(8))
        )
    check_close(np.concatenate(answers), wanted["OUTPUT_0"])
    assert any("change one another's answers" in each for each in served.status("mixing_3")["engine"]["warnings"])
    config = requests.get(f"{served.url}/v2/models/mixing_3/config", timeout=10).json()
    assert (config["max_batch_size"], config["input"][0]["dims"]) == (0, [3, 4])


def test_max_batch_size_0_means_the_files_own_batch(graphs: Path, served: Server) -> None:
    inputs, wanted = items_of(graphs / "recurrent_2")
    check_close(over_http(served, "fixed", {"INPUT_0": inputs["INPUT_0"][:2]})["OUTPUT_0"], wanted["OUTPUT_0"][:2])


def test_padding_is_not_seen_in_statistics(served: Server) -> None:
    def statistics() -> dict[str, Any]:
        found = requests.get(f"{served.url}/v2/models/tiny/stats", timeout=10).json()["model_stats"][0]
        sizes = {each["batch_size"]: each["compute_infer"]["count"] for each in found["batch_stats"]}
        return {"items": found["inference_count"], "sizes": sizes}

    before = statistics()
    over_http(served, "tiny", {"INPUT_0": np.random.default_rng(1).random((3, 3, 32, 32), np.float32)})
    after = statistics()
    assert after["items"] - before["items"] == 3
    computed = {size: count - before["sizes"].get(size, 0) for size, count in after["sizes"].items()}
    assert sum(size * count for size, count in computed.items()) == 3


def test_concurrent_requests_of_many_sizes_get_their_own_answers(served: Server) -> None:
    images = np.random.default_rng(7).random((64, 3, 32, 32), np.float32)
    single = np.concatenate([over_http(served, "tiny", {"INPUT_0": images[at : at + 1]})["OUTPUT_0"] for at in range(len(images))])

    def ask(number: int) -> None:
        count, start = (1, 2, 3, 8)[number % 4], number * 5 % 56
        answer = (over_http, over_grpc)[number % 2](served, "tiny", {"INPUT_0": images[start : start + count]})
        check_close(answer["OUTPUT_0"], single[start : start + count])

    with ThreadPoolExecutor(16) as threads:
        assert len(list(threads.map(ask, range(300)))) == 300


def test_killed_processes_lose_no_request_and_change_no_answer(tiny: Path, serving: Callable[..., Server], tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "store" / "tiny" / "1" / "model")
    server = serving("--model-store", tmp_path / "store", "--workers", "2")
    images = np.random.default_rng(8).random((32, 3, 32, 32), np.float32)
    wanted = over_http(server, "tiny", {"INPUT_0": images})["OUTPUT_0"]
    stopped = threading.Event()

    def ask(at: int) -> int:
        done = 0
        with httpclient.InferenceServerClient(f"127.0.0.1:{server.port}", network_timeout=120, connection_timeout=120) as client:
            while not stopped.is_set():
                given = httpclient.InferInput("INPUT_0", [1, 3, 32, 32], "FP32")
                given.set_data_from_numpy(images[at : at + 1])
                check_close(client.infer("tiny", [given]).as_numpy("OUTPUT_0"), wanted[at : at + 1])
                done += 1
        return done

    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(ask, at) for at in range(8)]
        try:
            for number in (signal.SIGKILL, signal.SIGABRT, signal.SIGSEGV):
                time.sleep(2)
                pids = server.instance_pids("tiny")
                os.kill(pids[0], number)
                deadline = time.monotonic() + 60
                while len(set(server.instance_pids("tiny")) - {pids[0]}) < 2:
                    assert time.monotonic() < deadline, "the instance was not replaced"
                    time.sleep(0.2)
        finally:
            stopped.set()
        assert sum(each.result() for each in asked) > 500


def damage(model: Path, how: str) -> None:
    weights = sorted(path for path in model.rglob("out") if path.stat().st_size > 8)
    graph = model / "model.mlir"
    text = graph.read_text()
    if how == "cut graph":
        graph.write_text(text[: len(text) // 2])
    elif how == "no graph":
        graph.write_text("hello\n")
    elif how == "cut weights":
        weights[0].write_bytes(weights[0].read_bytes()[:-4])
    elif how == "missing weights":
        shutil.rmtree(weights[-1].parent)
    elif how == "missing mlir":
        graph.unlink()
    elif how == "missing folder":
        shutil.rmtree(model)


DAMAGES = {
    "cut graph": ("OneFlow cannot load", "(line ", "damaged or was cut short"),
    "no graph": ("custom op 'hello' is unknown", "(line 1, column 1)"),
    "cut weights": ("bytes, and float32 of shape", "cut short"),
    "missing weights": ("are missing from", "Copy the whole folder"),
    "missing mlir": ("unable to find", "model.mlir"),
    "missing folder": ("unable to find", "/1/model'", "under that name"),
    "GPU asked for": ("asks for a GPU", "--gpu-fallback cpu", "KIND_CPU"),
    "other name": ("input 'image' is not in its file, which has 'INPUT_0'",),
    "index past the count": ("input 'INPUT_1' is not in its file, which has 'INPUT_0'",),
}


def test_what_cannot_be_loaded_is_refused_in_one_sentence(tiny: Path, serving: Callable[..., Server], tmp_path: Path) -> None:
    names = {how: how.replace(" ", "_") for how in DAMAGES}
    for how, name in names.items():
        folder = tmp_path / "store" / name
        shutil.copytree(tiny, folder / "1" / "model")
        config = 'backend: "oneflow"\n'
        config += "instance_group { count: 1 kind: KIND_GPU gpus: [ 0 ] }\n" if how == "GPU asked for" else ""
        called = {"other name": "image", "index past the count": "INPUT_1"}.get(how)
        config += f'max_batch_size: 4\ninput {{ name: "{called}" data_type: TYPE_FP32 dims: [ 3, 32, 32 ] }}\n' if called else ""
        (folder / "config.pbtxt").write_text(config)
        damage(folder / "1" / "model", how)
    shutil.copytree(tiny, tmp_path / "store" / "fine" / "1" / "model")
    server = wait_until_loaded(serving("--model-store", tmp_path / "store", wait=False))
    index = requests.post(f"{server.url}/v2/repository/index", json={}, timeout=10).json()
    reasons = {each["name"]: each.get("reason", "") for each in index}
    for how, parts in DAMAGES.items():
        assert all(part in reasons[names[how]] for part in parts), (how, reasons[names[how]])


def test_a_graph_that_was_saved_on_a_gpu_is_computed_on_the_cpu(graphs: Path, serving: Callable[..., Server], tmp_path: Path) -> None:
    shutil.copytree(graphs / "attention_1" / "model", tmp_path / "gpu_saved" / "model")
    mlir = tmp_path / "gpu_saved" / "model" / "model.mlir"
    text = mlir.read_text()
    for cpu, gpu in (('device_tag = "cpu"', 'device_tag = "cuda"'), ('"@0:0"', '"@0:3"')):
        assert cpu in text
        text = text.replace(cpu, gpu)
    mlir.write_text(text)
    server = serving("-m", tmp_path / "gpu_saved" / "model")
    inputs, wanted = items_of(graphs / "attention_1")
    check_close(over_http(server, "gpu_saved", inputs)["OUTPUT_0"], wanted["OUTPUT_0"])


def test_a_folder_is_installed_and_served_by_its_name(
    graphs: Path, frameworks: FrameworkHome, serving: Callable[..., Server], tmp_path: Path
) -> None:
    folder = tmp_path / "oneflow_recurrent" / "model"
    shutil.copytree(graphs / "recurrent_2" / "model", folder)
    done = hub("install", folder, home=frameworks.folder, timeout=600)
    assert done.returncode == 0, done.stderr
    try:
        server = serving("-m", "oneflow_recurrent")
        inputs, wanted = items_of(graphs / "recurrent_2")
        for call in PROTOCOLS.values():
            answer = call(server, "oneflow_recurrent", {"INPUT_0": inputs["INPUT_0"][:3]})["OUTPUT_0"]
            np.testing.assert_allclose(answer, wanted["OUTPUT_0"][:3], rtol=0, atol=TOLERANCE)
    finally:
        hub("uninstall", "oneflow_recurrent", home=frameworks.folder)

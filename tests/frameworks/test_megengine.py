"""MegEngine's files, plain and with the preprocessing inside: every protocol, pictures, sizes, faults."""

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests
import tritonclient.grpc as grpcclient
import tritonclient.http as httpclient

from tests.conftest import ROOT, Server, hub, servers, wait_for
from tests.frameworks.calls import over_grpc, over_http
from tests.frameworks.home import ANSWERS, FrameworkHome
from tests.frameworks.servers import wait_until_loaded
from tests.ports import free_port

#: Lite sums in another order where it computes several items
TOLERANCE = 2e-5
PLAIN = {"tiny": (3, 32, 32), "resnet18": (3, 224, 224)}
PICTURES = ("tiny_pictures", "resnet18_pictures")
OUTPUT = "fc.ADD"
TWICE = "instance_group [ { count: 2 } ]"


@pytest.fixture(scope="module")
def dumps(frameworks: FrameworkHome) -> Path:
    tool = hashlib.sha256((ROOT / "tools" / "dump_megengine.py").read_bytes()).hexdigest()
    return frameworks.made("megengine", "megengine_dumps", tool)  # made again where the tool has changed


def put(store: Path, name: str, file: Path, config: str = "") -> Path:
    """Put a model into a store, under a name and with a configuration."""
    folder = store / name / "1"
    folder.mkdir(parents=True)
    shutil.copy(file, folder / "model.mge")
    if config:
        (folder.parent / "config.pbtxt").write_text(config)
    return folder


@pytest.fixture(scope="module")
def server(frameworks: FrameworkHome, dumps: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = tmp_path_factory.mktemp("store")
    for name in (*PLAIN, "resnet18_pictures"):
        put(store, name, dumps / f"{name}.mge")
    put(store, "tiny_pictures", dumps / "tiny_pictures.mge", f'backend: "megengine" max_batch_size: 16 {TWICE}')
    config = 'backend: "megengine" max_batch_size: 8 input [ { name: "INPUT_0" data_type: TYPE_FP32 dims: [ 3, 32, 32 ] } ] '
    put(store, "named", dumps / "tiny.mge", config + 'output [ { name: "OUTPUT_0" data_type: TYPE_FP32 dims: [ 10 ] } ]')
    config = 'backend: "megengine" max_batch_size: 8 input [ { name: "data" data_type: TYPE_FP32 dims: [ 3, -1, -1 ] } ]'
    put(store, "any_size", dumps / "tiny.mge", config)
    config = 'backend: "megengine" max_batch_size: 8 input [ { name: "data" data_type: TYPE_UINT8 dims: [ 20, 30, 3 ] } ]'
    put(store, "fixed_pictures", dumps / "tiny_pictures.mge", config)
    port = free_port()
    with servers(frameworks.folder, tmp_path_factory.mktemp("log")) as start:
        yield wait_until_loaded(start({}, wait=False, port=port, grpc_port=port, model_store=[str(store)], workers=1))


@pytest.fixture(scope="module")
def lite(frameworks: FrameworkHome, dumps: Path) -> Callable[[str, np.ndarray], np.ndarray]:
    """``lite(file, batch)``: what MegEngine Lite answers in a process of its own."""

    def answer(name: str, batch: np.ndarray) -> np.ndarray:
        script = ANSWERS / "megengine_answers.py"
        (scores,) = frameworks.in_process("megengine", script, dumps / f"{name}.mge", arrays={"data": batch}).values()
        return scores

    return answer


def check_close(answer: np.ndarray, wanted: np.ndarray) -> None:
    assert answer.shape == wanted.shape
    np.testing.assert_allclose(answer, wanted, rtol=0, atol=TOLERANCE * float(np.abs(wanted).max()))


def plain_batch(name: str, count: int) -> np.ndarray:
    return np.random.default_rng(count).standard_normal((count, *PLAIN[name])).astype(np.float32)


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture, uint8 (height, width, 3), that PNG and networks both keep apart from others."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


def png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()


@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize("name", PLAIN)
def test_batches_of_any_size_are_answered_as_lite_answers_them(
    name: str, count: int, server: Server, lite: Callable[[str, np.ndarray], np.ndarray]
) -> None:
    batch = plain_batch(name, count)
    wanted = lite(name, batch)
    for call in (over_http, over_grpc):
        check_close(call(server, name, {"data": batch})[OUTPUT], wanted)
    arrays = {"data": {"data": base64.b64encode(batch.tobytes()).decode(), "shape": batch.shape, "dtype": "float32"}}
    check_close(np.array(server.results(name, inputs=arrays)["outputs"][OUTPUT], np.float32), wanted)


def test_a_batch_of_64_items_is_taken_apart(server: Server, lite: Callable[[str, np.ndarray], np.ndarray]) -> None:
    batch = plain_batch("tiny", 64)
    arrays = {"data": batch.tolist()}
    check_close(np.array(server.results("tiny", inputs=arrays)["outputs"][OUTPUT], np.float32), lite("tiny", batch))


def test_v2_takes_tensors_as_json(server: Server, lite: Callable[[str, np.ndarray], np.ndarray]) -> None:
    batch = plain_batch("tiny", 2)
    body = {"inputs": [{"name": "data", "datatype": "FP32", "shape": list(batch.shape), "data": batch.ravel().tolist()}]}
    (output,) = requests.post(f"{server.url}/v2/models/tiny/infer", json=body, timeout=60).json()["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == (OUTPUT, "FP32", [2, 10])
    check_close(np.array(output["data"], np.float32).reshape(2, 10), lite("tiny", batch))


def test_the_configuration_is_completed_from_the_file(server: Server) -> None:
    described = {name: requests.get(f"{server.url}/v2/models/{name}", timeout=10).json() for name in (*PLAIN, *PICTURES)}
    configs = {name: requests.get(f"{server.url}/v2/models/{name}/config", timeout=10).json() for name in described}
    assert described["resnet18"]["inputs"] == [{"name": "data", "datatype": "FP32", "shape": [-1, 3, 224, 224]}]
    assert described["resnet18"]["outputs"] == [{"name": OUTPUT, "datatype": "FP32", "shape": [-1, 1000]}]
    assert described["resnet18_pictures"]["inputs"] == [{"name": "data", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}]
    assert {each["backend"] for each in configs.values()} == {"megengine"}
    assert {name: each["max_batch_size"] for name, each in configs.items()} == {
        "tiny": 32, "resnet18": 32, "tiny_pictures": 16, "resnet18_pictures": 32,
    }  # fmt: skip
    assert len(server.instance_pids("tiny_pictures")) == 2


def test_outputs_without_names_are_bound_by_place(server: Server, lite: Callable[[str, np.ndarray], np.ndarray]) -> None:
    batch = plain_batch("tiny", 2)
    check_close(over_grpc(server, "named", {"INPUT_0": batch})["OUTPUT_0"], lite("tiny", batch))


def test_a_configuration_opens_lengths_that_the_network_takes(server: Server, lite: Callable[[str, np.ndarray], np.ndarray]) -> None:
    batch = np.random.default_rng(0).random((2, 3, 50, 40)).astype(np.float32)
    check_close(over_http(server, "any_size", {"data": batch})[OUTPUT], lite("tiny", batch))


@pytest.mark.parametrize("name", PICTURES)
def test_encoded_pictures_of_any_size_go_straight_in(
    name: str, server: Server, lite: Callable[[str, np.ndarray], np.ndarray], dumps: Path
) -> None:
    for height, width in ((90, 120), (301, 203)):
        picture = smooth(height, width, seed=height)
        wanted = lite(name, picture[None])
        answer = server.predict(name, data=png(picture), headers={"Content-Type": "image/png"}).json()
        assert answer["status"] == "000", answer
        check_close(np.array(answer["results"]["outputs"][OUTPUT], np.float32), wanted)
        (text,) = [base64.b64encode(png(picture)).decode()]
        check_close(np.array(server.results(name, images=[text])["outputs"][OUTPUT], np.float32), wanted)
        for call in (over_http, over_grpc):
            check_close(call(server, name, {"data": np.array([png(picture)], object)})[OUTPUT], wanted)
            check_close(call(server, name, {"data": picture[None]})[OUTPUT], wanted)


def test_pictures_are_resized_as_a_whole_inside_the_network(lite: Callable[[str, np.ndarray], np.ndarray]) -> None:
    picture = smooth(180, 260)
    mean, deviation = np.array([103.530, 116.280, 123.675], np.float32), np.array([57.375, 57.120, 58.395], np.float32)
    prepared = (cv2.resize(picture, (224, 224)).astype(np.float32) - mean) / deviation
    wanted = lite("resnet18", prepared.transpose(2, 0, 1)[None])
    answer = lite("resnet18_pictures", picture[None])
    # both files have the same weights; Lite rounds positions to about 1/32 of a pixel, and OpenCV colours to whole numbers
    assert np.abs(answer - wanted).max() < 0.03 * np.abs(wanted).max()


def test_pictures_of_a_batch_are_answered_each_with_its_own(server: Server, lite: Callable[[str, np.ndarray], np.ndarray]) -> None:
    pictures = [smooth(60, 80, seed) for seed in range(3)]
    wanted = lite("tiny_pictures", np.stack(pictures))
    encoded = np.array([png(each) for each in pictures], object)
    check_close(over_grpc(server, "tiny_pictures", {"data": encoded})[OUTPUT], wanted)
    files = [("images", (f"{number}.png", png(each), "image/png")) for number, each in enumerate(pictures)]
    check_close(np.array(server.predict("tiny_pictures", files=files).json()["results"]["outputs"][OUTPUT], np.float32), wanted)


def test_pictures_of_many_sizes_at_once_get_their_own_answers(server: Server, lite: Callable[[str, np.ndarray], np.ndarray]) -> None:
    pictures = [smooth(30 + 7 * (number % 4), 50, number) for number in range(12)]
    wanted = [lite("tiny_pictures", each[None]) for each in pictures[:4]] + [None] * 8
    with ThreadPoolExecutor(12) as threads:
        given = list(
            threads.map(lambda each: over_http(server, "tiny_pictures", {"data": np.array([png(each)], object)})[OUTPUT], pictures)
        )
    alone = [over_http(server, "tiny_pictures", {"data": each[None]})[OUTPUT] for each in pictures]
    for answer, single, exact in zip(given, alone, wanted, strict=True):
        check_close(answer, single)
        if exact is not None:
            check_close(answer, exact)


def test_pictures_of_two_sizes_in_one_request_are_answered_in_order(server: Server, lite: Callable[[str, np.ndarray], np.ndarray]) -> None:
    pictures = [smooth(60, 80, 1), smooth(61, 80, 2), smooth(60, 80, 3)]
    given = over_http(server, "tiny_pictures", {"data": np.array([png(each) for each in pictures], object)})[OUTPUT]
    check_close(given, np.concatenate([lite("tiny_pictures", each[None]) for each in pictures]))


def test_a_picture_is_resized_to_the_size_that_a_configuration_fixes(server: Server, lite: Callable[[str, np.ndarray], np.ndarray]) -> None:
    picture = smooth(64, 64)
    wanted = lite("tiny_pictures", cv2.resize(picture, (30, 20))[None])
    check_close(over_http(server, "fixed_pictures", {"data": np.array([png(picture)], object)})[OUTPUT], wanted)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((1, 3, 32, 32), np.float64), "data-type is 'FP64'"),
        (np.zeros((1, 3, 32, 31), np.float32), r"Expected \[-1, 3, 32, 32\], got \[1, 3, 32, 31\]"),
        (np.zeros((0, 3, 32, 32), np.float32), "empty|at least one"),
        (np.zeros((33, 3, 32, 32), np.float32), "batch-size must be <= 32"),
    ],
)
def test_what_does_not_fit_is_refused_before_lite_sees_it(array: np.ndarray, text: str, server: Server) -> None:
    pids = server.instance_pids("tiny")
    with pytest.raises(Exception, match=text):
        over_http(server, "tiny", {"data": array})
    assert server.instance_pids("tiny") == pids
    assert over_http(server, "tiny", {"data": plain_batch("tiny", 1)})[OUTPUT].shape == (1, 10)


def test_a_picture_that_cannot_be_read_is_refused(server: Server) -> None:
    answer = server.predict("tiny_pictures", data=png(smooth(60, 80))[:200], headers={"Content-Type": "image/png"}).json()
    assert answer["status"] == "101"
    assert "picture" in answer["msg"]
    answer = server.predict("tiny", data=png(smooth(32, 32)), headers={"Content-Type": "image/png"}).json()
    assert "does not take picture requests" in answer["msg"]


def damaged(model: bytes) -> dict[str, tuple[bytes, str]]:
    """Name -> damaged file, and the words of its reason."""
    gpu = model.replace(b"xpux:0", b"gpux:0")
    assert gpu != model
    return {
        "cut": (model[:-500], f"cut short: it has {len(model) - 500} of {len(model)} bytes"),
        "empty": (b"", "is empty"),
        "noise": (np.random.default_rng(0).bytes(4000), "invalid model format"),
        "zeroed": (model[:-300] + bytes(300), "is damaged|verification failed"),
        "scrambled": (model[:200] + np.random.default_rng(1).bytes(60) + model[260:], "verification failed"),
        "gpu": (gpu, "dumped for a GPU"),
    }


def test_damaged_files_are_refused_with_one_sentence_and_the_rest_is_served(
    frameworks: FrameworkHome, dumps: Path, tmp_path: Path, server: Server
) -> None:
    store = tmp_path / "store"
    put(store, "fine", dumps / "tiny.mge")
    cases = damaged((dumps / "tiny.mge").read_bytes())
    for name, (content, _) in cases.items():
        put(store, name, dumps / "tiny.mge").joinpath("model.mge").write_bytes(content)
    (put(store, "missing", dumps / "tiny.mge", 'backend: "megengine"') / "model.mge").unlink()
    cases["missing"] = (b"", "holds no model: looked for model.mge")
    port = free_port()
    with servers(frameworks.folder, tmp_path) as start:
        other = wait_until_loaded(start({}, wait=False, port=port, grpc_port=port, model_store=[str(store)], workers=1))
        index = requests.post(f"{other.url}/v2/repository/index", timeout=30).json()
        reasons = {each["name"]: each.get("reason", "") for each in index}
        for name, (_, words) in cases.items():
            assert any(word in reasons[name] for word in words.split("|")), (name, reasons[name])
            assert "backtrace" not in reasons[name]
            assert ".cpp" not in reasons[name]
            assert len(reasons[name]) < 600, reasons[name]
        assert over_http(other, "fine", {"data": plain_batch("tiny", 1)})[OUTPUT].shape == (1, 10)


def load(server: Server, stop: threading.Event, batches: list[np.ndarray], answers: list[tuple[int, Any]]) -> None:
    client = grpcclient.InferenceServerClient(f"127.0.0.1:{server.port}")
    number = 0
    while not stop.is_set():
        which = number % len(batches)
        sent = grpcclient.InferInput("data", list(batches[which].shape), "FP32")
        sent.set_data_from_numpy(batches[which])
        try:
            answers.append((which, client.infer("resnet18", [sent], client_timeout=60).as_numpy(OUTPUT)))
        except Exception as error:
            answers.append((which, error))
        number += 1


def test_killed_instances_lose_no_request_and_give_no_wrong_answer(server: Server, lite: Callable[[str, np.ndarray], np.ndarray]) -> None:
    batches = [plain_batch("resnet18", count) for count in (1, 2, 3)]
    wanted = [lite("resnet18", each) for each in batches]
    stop, answers = threading.Event(), []
    threads = [threading.Thread(target=load, args=(server, stop, batches, answers)) for _ in range(3)]
    for each in threads:
        each.start()
    killed = set()
    try:
        while len(killed) < 2:
            before = len(answers)
            while len(answers) < before + 3:
                time.sleep(0.05)
            pids = [pid for pid in server.instance_pids("resnet18") if pid not in killed]
            if pids:
                os.kill(pids[0], signal.SIGKILL)
                killed.add(pids[0])
        before = len(answers)
        while len(answers) < before + 6:
            time.sleep(0.05)
    finally:
        stop.set()
        for each in threads:
            each.join(120)
    lost = [each for _, each in answers if isinstance(each, Exception)]
    assert not lost, lost[:3]
    for which, scores in answers:
        check_close(scores, wanted[which])


def test_requests_of_a_hung_instance_are_answered_by_another(frameworks: FrameworkHome, dumps: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    put(store, "tiny", dumps / "tiny.mge")
    port = free_port()
    with servers(frameworks.folder, tmp_path) as start:
        settings = {"tiny": {"compute_timeout_s": 2.0, "workers": 2}}
        other = wait_until_loaded(start(settings, wait=False, port=port, grpc_port=port, model_store=[str(store)]))
        wait_for(lambda: len(other.instance_pids("tiny")) == 2)
        batches = [plain_batch("tiny", count) for count in (1, 2, 3)]
        wanted = [over_http(other, "tiny", {"data": each})[OUTPUT] for each in batches]
        pid = other.instance_pids("tiny")[0]
        os.kill(pid, signal.SIGSTOP)
        with ThreadPoolExecutor(6) as threads:
            given = list(threads.map(lambda number: over_grpc(other, "tiny", {"data": batches[number % 3]})[OUTPUT], range(30)))
        for number, scores in enumerate(given):
            check_close(scores, wanted[number % 3])
        wait_for(lambda: len(other.instance_pids("tiny")) == 2 and pid not in other.instance_pids("tiny"))
        assert "was ended because it did not answer within 2 s" in other.log.read_text()


def test_a_file_is_served_by_its_name_and_described(dumps: Path, serving: Any, framework_home: Path) -> None:
    server = serving("-m", dumps / "tiny_pictures.mge", "-m", f"plain={dumps / 'tiny.mge'}")
    picture = smooth(33, 44)
    answer = server.predict("tiny_pictures", data=png(picture), headers={"Content-Type": "image/png"}).json()
    assert np.shape(answer["results"]["outputs"][OUTPUT]) == (1, 10)
    assert np.shape(server.results("plain", inputs={"data": plain_batch("tiny", 2).tolist()})["outputs"][OUTPUT]) == (2, 10)
    shown = json.loads(hub("show", dumps / "tiny.mge", "--json", home=framework_home).stdout)
    assert shown["type"] == "model/megengine"
    engine = server.status("plain")["engine"]
    assert (engine["name"], engine["version"], engine["device"]) == ("megengine", "1.13.0", "cpu")


def test_tritonclients_ask_for_the_best_classes_of_a_picture(server: Server, lite: Callable[[str, np.ndarray], np.ndarray]) -> None:
    picture = smooth(120, 90, 5)
    wanted = lite("resnet18_pictures", picture[None])[0]
    client = httpclient.InferenceServerClient(f"127.0.0.1:{server.port}")
    sent = httpclient.InferInput("data", [1], "BYTES")
    sent.set_data_from_numpy(np.array([png(picture)], object))
    best = client.infer("resnet18_pictures", [sent], outputs=[httpclient.InferRequestedOutput(OUTPUT, class_count=3)]).as_numpy(OUTPUT)
    assert [int(each.decode().split(":")[1]) for each in best.ravel()] == np.argsort(-wanted)[:3].tolist()


def test_weights_come_from_a_file(frameworks: FrameworkHome, dumps: Path, tmp_path: Path) -> None:
    tool = ROOT / "tools" / "dump_megengine.py"
    shapes = {"conv.weight": (8, 3, 3, 3), "conv.bias": (8,), "fc.weight": (10, 8), "fc.bias": (10,)}
    np.savez(tmp_path / "weights.npz", **{name: np.full(shape, 0.5, np.float32) for name, shape in shapes.items()})
    frameworks.run("megengine", tool, "-a", "tiny", "-s", 1, 3, 32, 32, "-o", tmp_path / "tiny.mge", "--weights", tmp_path / "weights.npz")
    script = ANSWERS / "megengine_answers.py"
    zeros = np.zeros((1, 3, 32, 32), np.float32)
    (scores,) = frameworks.in_process("megengine", script, tmp_path / "tiny.mge", arrays={"data": zeros}).values()
    np.testing.assert_allclose(scores, np.full((1, 10), 0.5 + 8 * 0.25), rtol=1e-6)


def test_the_guides_clients_agree_on_the_class(
    dumps: Path, serving: Any, cat_photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serving("-m", f"resnet18={dumps / 'resnet18.mge'}", "-m", f"pictures={dumps / 'resnet18_pictures.mge'}")
    shutil.copy(cat_photo, tmp_path / "cat.png")
    monkeypatch.chdir(tmp_path)
    guide = (ROOT / "docs" / "megengine.md").read_text("utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", guide, re.DOTALL):
        exec(block.replace("127.0.0.1:8866", f"127.0.0.1:{server.port}"), names)
    assert names["plain"].shape == names["inside"].shape == (1, 1000)
    assert names["plain"].argmax() == names["inside"].argmax()
    assert np.abs(names["plain"] - names["inside"]).max() < 0.03 * np.abs(names["plain"]).max()

"""Scripts of tiinfer in the environments of PyTorch and TensorFlow, those of the guide as they are written among them."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

import hubserve
from hubserve.registry.environments.import_probe import failed_imports
from tests.conftest import Server, Start, hub, servers, wait_for
from tests.frameworks.digits import Digits, load_digits
from tests.frameworks.home import ANSWERS, FrameworkHome
from tests.frameworks.tiinfer_scripts import script_folder

triton = pytest.importorskip("tritonclient.grpc")

PACKAGE = Path(hubserve.__file__).parent
ASKED = 60
#: name of the served script -> framework and origin
SCRIPTS = {
    "own-pytorch": ("pytorch", "own"),
    "own-tensorflow": ("tensorflow", "own"),
    "guide-pytorch": ("pytorch", "guide"),
    "guide-tensorflow": ("tensorflow", "guide"),
}


@pytest.fixture(scope="module")
def digits(frameworks: FrameworkHome) -> Digits:
    return load_digits(frameworks)


@pytest.fixture(scope="module")
def folders(frameworks: FrameworkHome, digits: Digits, tmp_path_factory: pytest.TempPathFactory) -> "Folders":
    return Folders(frameworks, digits, tmp_path_factory.mktemp("scripts"))


class Folders:
    """The folders of the scripts, each made when it is first asked for."""

    def __init__(self, frameworks: FrameworkHome, digits: Digits, folder: Path) -> None:
        self.frameworks, self.digits, self.folder = frameworks, digits, folder

    def entry(self, name: str, **settings: Any) -> dict[str, Any]:
        """The ``modules_info`` entry that serves a script."""
        framework, origin = SCRIPTS[name]
        self.frameworks.environment(framework)
        folder = self.folder / name
        if not folder.is_dir():
            script_folder(self.frameworks, self.digits, framework, origin, folder)
        return {"init_args": {"directory": str(folder)}, "environment": framework, **settings}


@pytest.fixture(scope="module", params=list(SCRIPTS))
def served(
    request: pytest.FixtureRequest, folders: Folders, framework_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Server]]:
    """A server of one script, and the script's name."""
    entry = folders.entry(request.param)
    with servers(framework_home, tmp_path_factory.mktemp("served")) as start:
        yield request.param, start({request.param: entry}, max_body_bytes=20 << 20)


def infer(server: Server, value: Any) -> requests.Response:
    return requests.post(f"{server.url}/inference", json=value, timeout=120)


def preds(answers: list[Any]) -> np.ndarray:
    return np.array([each["result"]["pred"] for each in answers])


def test_digits_are_read_as_by_the_script_itself(
    served: tuple[str, Server], frameworks: FrameworkHome, folders: Folders, digits: Digits, tmp_path: Path
) -> None:
    name, server = served
    asked = [{"images": [digits.encoded(number)]} for number in range(ASKED)]
    answers = [infer(server, each).json() for each in asked]
    file = tmp_path / "requests.json"
    file.write_text(json.dumps(asked))
    printed = frameworks.run(SCRIPTS[name][0], ANSWERS / "tiinfer_script.py", folders.folder / name, PACKAGE, file)
    assert answers == json.loads(printed.splitlines()[-1])
    assert np.mean(preds(answers) == digits.labels[:ASKED]) > 0.9


def test_every_protocol_gives_the_scripts_answer(served: tuple[str, Server], digits: Digits) -> None:
    name, server = served
    value = {"images": [digits.encoded(7)]}
    wanted = infer(server, value).json()
    assert server.predict(name, json=value).json() == {"status": "000", "msg": "", "results": wanted}
    sent = {"inputs": [{"name": "arguments", "datatype": "BYTES", "shape": [1], "data": [json.dumps(value)]}]}
    answer = requests.post(f"{server.url}/v2/models/{name}/infer", json=sent, timeout=120).json()
    assert json.loads(answer["outputs"][0]["data"][0]) == wanted


def test_unusual_requests_are_answered_as_recorded(served: tuple[str, Server], digits: Digits) -> None:
    name, server = served
    framework, origin = SCRIPTS[name]
    for images in (["AAAA"], ["no base64"], ["http://127.0.0.1:9/x.jpg"], ["http://169.254.169.254/latest"]):
        answer = infer(server, {"images": images})
        assert (answer.status_code, answer.json()["error"]) == (200, "preprocess failed")
    assert infer(server, {"x": 1}).json() == {"error": "invalid param"}
    both = [infer(server, {"images": [digits.encoded(number) for number in each]}).json() for each in ((3, 5), (3,))]
    assert both[0] == both[1]
    assert requests.post(f"{server.url}/inference", data=b"not json", timeout=60).status_code == 400
    assert requests.get(f"{server.url}/inference", timeout=60).status_code == 405
    assert infer(server, {"images": ["A" * (22 << 20)]}).status_code == 413
    empty = infer(server, {"images": []})
    if framework == "tensorflow":
        assert empty.status_code == 200
        assert "ConcatV2" in empty.json()["predict_err"]
    else:
        assert empty.status_code == 500
        assert ("not all arguments converted" in empty.text) == (origin == "guide")


def test_all_scripts_are_served_side_by_side(folders: Folders, server: Start, digits: Digits) -> None:
    names = ["own-pytorch", "own-tensorflow"]
    running = server({name: folders.entry(name) for name in names}, grpc_port=0)
    assert infer(running, {}).status_code == 409
    results = [running.results(name, images=[digits.encoded(9)])["result"]["pred"] for name in names]
    assert results == [int(digits.labels[9])] * 2
    port = next(line.rpartition(":")[2].split()[0] for line in running.log.read_text().splitlines() if "grpc" in line.lower())
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        tensor = triton.InferInput("arguments", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([json.dumps({"images": [digits.encoded(9)]}).encode()], object))
        for name in names:
            answer = json.loads(client.infer(name, [tensor]).as_numpy("results")[0])
            assert answer["result"]["pred"] == digits.labels[9]


@pytest.mark.parametrize(("form", "path"), [("folder", "model"), ("file", "model/digits.keras")])
def test_models_of_keras_3_are_loaded_as_well(
    frameworks: FrameworkHome, digits: Digits, server: Start, tmp_path: Path, form: str, path: str
) -> None:
    folder = script_folder(frameworks, digits, "tensorflow", "own", tmp_path / "keras3", form)
    script = folder / "model_service.py"
    script.write_text(script.read_text().replace('MODEL_PATH = "model"', f'MODEL_PATH = "{path}"'))
    running = server({"keras3": {"init_args": {"directory": str(folder)}, "environment": "tensorflow"}})
    answers = [infer(running, {"images": [digits.encoded(number)]}).json() for number in range(20)]
    assert np.mean(preds(answers) == digits.labels[:20]) >= 0.9


def test_missing_weights_are_the_reason_why_a_script_is_not_ready(folders: Folders, server: Start, tmp_path: Path) -> None:
    entry = folders.entry("own-pytorch", environ={"TI_MODEL_DIR": str(tmp_path)})
    running = server({"own-pytorch": entry}, wait=False)
    assert running.process.wait(120) != 0
    assert "load() returned False, and logged: load model failed: [Errno 2] No such file or directory" in running.log.read_text()


def test_no_request_is_lost_when_a_process_of_pytorch_is_killed(folders: Folders, server: Start, digits: Digits) -> None:
    running = server({"own-pytorch": folders.entry("own-pytorch", workers=2)})
    asked = [{"images": [digits.encoded(number)]} for number in range(20)]
    wanted = [infer(running, value).json() for value in asked]
    over = threading.Event()

    def ask() -> list[list[object]]:
        rounds = []
        while not over.is_set():
            rounds.append([infer(running, value).json() for value in asked])
        return rounds

    with ThreadPoolExecutor(8) as threads:
        clients = [threads.submit(ask) for _ in range(8)]
        try:
            for _ in range(3):  # one at a time: a request whose process dies twice is refused
                killed = running.instance_pids("own-pytorch")[0]
                os.kill(killed, signal.SIGKILL)
                wait_for(lambda pid=killed: len({*running.instance_pids("own-pytorch")} - {pid}) == 2)
        finally:
            over.set()
        rounds = [each for client in clients for each in client.result()]
    assert len(rounds) > len(clients)
    assert all(each == wanted for each in rounds)


def test_an_install_chooses_the_environment_by_what_the_script_imports(folders: Folders, framework_home: Path) -> None:
    for name, module in (("own-pytorch", "digits-torch"), ("own-tensorflow", "digits-tf")):
        folder = folders.entry(name)["init_args"]["directory"]
        done = hub("install", folder, home=framework_home, timeout=900)
        assert done.returncode == 0, done.stderr
        assert f"the environment profile {SCRIPTS[name][0]}" in done.stdout
        assert hub("uninstall", module, home=framework_home).returncode == 0


def test_torchvision_is_imported_beside_a_torch_that_it_was_not_built_for(frameworks: FrameworkHome, framework_home: Path) -> None:
    assert failed_imports(framework_home, frameworks.environment("pytorch"), ["torchvision", "torchvision.models"]) == {}

"""Models come and go while the server runs: unmodified Triton clients load and unload them, or their store is watched."""

import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
import tritonclient.grpc
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.conftest import MODULES, Server, Start, free_port, hub, servers, toy, wait_for
from tests.triton_models import SCALE, write_scale

X = np.arange(4, dtype=np.float32)[None]
SLOW = """
import os, time
import numpy as np
from hubserve.module import ANY, TensorSpec, batch, moduleinfo

@moduleinfo(name="slow", version="1.0.0")
class Slow:
    def __init__(self):
        with open({pid!r}, "w") as file:
            file.write(str(os.getpid()))
        time.sleep({load_s})
        self.inputs = [TensorSpec("x", "float32", (ANY, 4))]
        self.outputs = [TensorSpec("y", "float32", (ANY, 4))]

    @batch(max_batch_size=4)
    def double(self, x):
        time.sleep({answer_s})
        return x * 2
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def explicit(start: Start, store: Path) -> Callable[..., triton.InferenceServerClient]:
    """Start a server of the store whose models are loaded by clients."""

    def function(modules: dict[str, Any] | None = None, **settings: Any) -> triton.InferenceServerClient:
        settings = {"model_store": [str(store)], "model_control": "explicit", "model_uploads": True, **settings}
        return client_of(start(modules or {"doubler": {**toy("doubler"), "workers": 1}}, **settings))

    return function


@pytest.fixture(scope="module")
def long_running(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """One server for the tests that leave no trace in it, and its store."""
    folder = tmp_path_factory.mktemp("control")
    (folder / "shared").mkdir()
    with servers(shared_home, folder) as start:
        settings = {"model_store": [str(folder / "shared")], "model_control": "explicit", "model_uploads": True}
        yield start({"doubler": {**toy("doubler"), "workers": 1}}, **settings), folder / "shared"


@pytest.fixture
def shared(long_running: tuple[Server, Path]) -> Iterator[tuple[triton.InferenceServerClient, Path]]:
    server, store = long_running
    client = client_of(server)
    yield client, store
    for name, (state, _) in states(client).items():
        if state == "READY" and name != "doubler":
            client.unload_model(name)
    for folder in store.iterdir():
        shutil.rmtree(folder)


def write_ensemble(store: Path, name: str, first: str, second: str) -> None:
    """An ensemble of two models that ``write_scale`` wrote, one after the other."""
    steps = [
        f'{{ model_name: "{model}" input_map {{ key: "x" value: "{given}" }} output_map {{ key: "y" value: "{gives}" }} }}'
        for model, given, gives in ((first, "x", "between"), (second, "between", "y"))
    ]
    (store / name).mkdir()
    (store / name / "config.pbtxt").write_text(f'platform: "ensemble" {SCALE} ensemble_scheduling {{ step [ {", ".join(steps)} ] }}')


def client_of(server: Server) -> triton.InferenceServerClient:
    client = triton.InferenceServerClient(server.url.removeprefix("http://"), concurrency=8, network_timeout=120)
    client.server = server
    return client


def states(client: triton.InferenceServerClient) -> dict[str, tuple[str, str]]:
    return {each["name"]: (each["state"], each["reason"]) for each in client.get_model_repository_index()}


def compute(client: triton.InferenceServerClient, model: str, x: np.ndarray = X) -> Any:
    metadata = client.get_model_metadata(model)
    sent = triton.InferInput(metadata["inputs"][0]["name"], list(x.shape), "FP32")
    sent.set_data_from_numpy(x)
    return client.infer(model, [sent]).as_numpy(metadata["outputs"][0]["name"])


def install_slow(tmp_path: Path, home: Path, load_s: float, answer_s: float = 0) -> Path:
    """Install the module ``slow``; gives the file into which its instance writes its process id."""
    folder, pid = tmp_path / "slow-source", tmp_path / "slow.pid"
    folder.mkdir(exist_ok=True)
    (folder / "module.py").write_text(SLOW.format(pid=str(pid), load_s=load_s, answer_s=answer_s))
    assert hub("install", folder, home=home).returncode == 0
    pid.unlink(missing_ok=True)
    return pid


# --- explicit ---


def test_clients_load_and_unload_the_models_of_a_store(shared: Any) -> None:
    client, store = shared
    write_scale(store, "double")
    assert states(client)["double"] == ("UNAVAILABLE", "not loaded")
    assert not client.is_model_ready("double")
    client.load_model("double")
    assert client.is_model_ready("double")
    assert states(client)["double"] == ("READY", "")
    assert np.array_equal(compute(client, "double"), X * 2)
    client.unload_model("double")
    assert not client.is_model_ready("double")
    assert states(client)["double"] == ("UNAVAILABLE", "unloaded")
    client.unload_model("double")
    client.load_model("double")
    assert np.array_equal(compute(client, "double"), X * 2)


def test_loading_again_takes_what_is_in_the_store_now_without_a_gap(shared: Any) -> None:
    client, store = shared
    write_scale(store, "double")
    client.load_model("double")
    stop, answers = threading.Event(), []

    def ask() -> None:
        with triton.InferenceServerClient(client.server.url.removeprefix("http://")) as own:
            while not stop.is_set():
                answers.append(tuple(compute(own, "double")[0]))

    with ThreadPoolExecutor() as pool:
        asking = [pool.submit(ask) for _ in range(2)]
        try:
            shutil.rmtree(store / "double")
            write_scale(store, "double", factor=3.0)
            client.load_model("double")
            wait_for(lambda: answers and answers[-1] == tuple(X[0] * 3))
        finally:
            stop.set()
        for each in asking:
            each.result()
    assert set(answers) <= {tuple(X[0] * 2), tuple(X[0] * 3)}


def test_a_model_that_cannot_be_loaded_is_told_and_what_was_served_stays(shared: Any) -> None:
    client, store = shared
    folder = write_scale(store, "double")
    client.load_model("double")
    (folder / "1" / "model.onnx").write_bytes(b"no model")
    with pytest.raises(InferenceServerException, match="failed to load 'double', ") as caught:
        client.load_model("double")
    assert caught.value.status() == "400"
    assert np.array_equal(compute(client, "double"), X * 2)
    client.unload_model("double")
    with pytest.raises(InferenceServerException, match="failed to load 'double', "):
        client.load_model("double")
    state, reason = states(client)["double"]
    assert state == "UNAVAILABLE"
    assert reason not in ("", "unloaded")


def test_a_name_that_nothing_has_is_refused(shared: Any) -> None:
    client, _ = shared
    before = states(client)
    for name in ["nobody", "..", "%2e%2e", "a%2fb", "tests", "./tests", "%00", "x" * 3000, "\u00e4"]:
        for action in ("load", "unload"):
            answer = requests.post(f"{client.server.url}/v2/repository/models/{name}/{action}", timeout=30)
            assert answer.status_code in (400, 404), (name, answer.text)
            assert "error" in answer.json()
    assert states(client) == before


def test_a_configuration_can_be_sent_and_its_numbers_may_be_texts(shared: Any) -> None:
    client, store = shared
    write_scale(store, "double", SCALE)
    client.load_model("double")
    config = client.get_model_config("double")
    config["max_batch_size"] = "16"
    client.load_model("double", config=json.dumps(config))
    assert client.get_model_config("double")["max_batch_size"] == 16
    client.load_model("double")
    assert client.get_model_config("double")["max_batch_size"] != 16


def test_a_configuration_that_is_none_is_refused(shared: Any) -> None:
    client, store = shared
    write_scale(store, "double")
    client.load_model("double")
    for config in ["{", "[]", "7", json.dumps({"max_batch_size": "many"}), json.dumps({"max_batch": 7}), "[" * 100000]:
        with pytest.raises(InferenceServerException, match="failed to load 'double', "):
            client.load_model("double", config=config)
    assert np.array_equal(compute(client, "double"), X * 2)


def test_a_model_can_be_sent_whole(explicit: Any, store: Path, tmp_path: Path) -> None:
    write_scale(store, "double")
    sent = write_scale(tmp_path / "elsewhere", "five", factor=5.0)
    client = explicit()
    home = client.server.home
    client.load_model("double")
    config = json.dumps(client.get_model_config("double"))
    files = {"file:1/model.onnx": (sent / "1" / "model.onnx").read_bytes()}
    client.load_model("double", config=config, files=files)
    assert np.array_equal(compute(client, "double"), X * 5)
    assert np.array_equal(compute(client, "double"), X * 5)
    (held,) = (home / "uploaded").iterdir()
    assert held.stat().st_mode & 0o777 == 0o700
    client.load_model("double")
    assert np.array_equal(compute(client, "double"), X * 2)
    client.load_model("double", config=config, files=files)
    client.unload_model("double")
    assert list((home / "uploaded").iterdir()) == []
    client.load_model("double", config=config, files=files)
    assert client.server.stop() == 0
    assert list((home / "uploaded").iterdir()) == []


def test_files_are_taken_only_where_the_operator_allows_it(explicit: Any, store: Path) -> None:
    content = (write_scale(store, "double") / "1" / "model.onnx").read_bytes()
    client = explicit(model_uploads=False)
    client.load_model("double")
    config = json.dumps(client.get_model_config("double"))
    with pytest.raises(InferenceServerException, match="the setting 'model_uploads'") as caught:
        client.load_model("double", config=config, files={"file:1/model.onnx": content})
    assert caught.value.status() == "503"
    assert list((client.server.home / "uploaded").glob("*")) == []
    assert np.array_equal(compute(client, "double"), X * 2)


def test_a_configuration_that_is_sent_names_no_program_of_the_clients_choice(explicit: Any, store: Path, tmp_path: Path) -> None:
    (store / "own" / "1").mkdir(parents=True)
    (store / "own" / "1" / "model.py").write_text("class TritonPythonModel:\n    def execute(self, requests): return []\n")
    ran = tmp_path / "ran"
    foreign = tmp_path / "environment" / "bin" / "python"
    foreign.parent.mkdir(parents=True)
    foreign.write_text(f'#!/bin/sh\ntouch {ran}\nexec {sys.executable} "$@"\n')
    foreign.chmod(0o755)
    named = {"EXECUTION_ENV_PATH": {"string_value": str(foreign.parent.parent)}}
    tensors = {side: [{"name": side, "data_type": "TYPE_FP32", "dims": [1]}] for side in ("input", "output")}
    config = json.dumps({"backend": "python", "parameters": named, **tensors})
    client = explicit(model_uploads=False)
    with pytest.raises(InferenceServerException, match="may name no other EXECUTION_ENV_PATH than the model's own"):
        client.load_model("own", config=config)
    assert not ran.exists()
    (store / "own" / "config.pbtxt").write_text(
        f'backend: "python" parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "{foreign.parent.parent}" }} }}'
    )
    client.load_model("own", config=config)
    assert ran.exists(), "what the operator wrote is the operator's choice"
    with pytest.raises(InferenceServerException, match="count must be from 1 to 256"):
        client.load_model("own", config=json.dumps({"backend": "python", "instance_group": [{"count": 2**31 - 1}]}))


def test_grpc_loads_and_unloads_too(start: Start, store: Path) -> None:
    folder = write_scale(store, "double")
    port = free_port()
    modules = {"doubler": {**toy("doubler"), "workers": 1}}
    client = client_of(start(modules, model_store=[str(store)], model_control="explicit", model_uploads=True, grpc_port=port))
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}") as over_grpc:
        over_grpc.load_model("double")
        assert {(each.name, each.state) for each in over_grpc.get_model_repository_index().models} == {
            ("doubler", "READY"),
            ("double", "READY"),
        }
        config = json.dumps(over_grpc.get_model_config("double", as_json=True)["config"])
        write_scale(store, "triple", factor=3.0)
        over_grpc.load_model("double", config=config, files={"file:1/model.onnx": (store / "triple" / "1" / "model.onnx").read_bytes()})
        assert np.array_equal(compute(client, "double"), X * 3)
        over_grpc.unload_model("double")
        shutil.rmtree(folder)
        long_name = {"file:" + "x" * 256: b"x"}
        for more in ({}, {"config": "{}", "files": long_name}):
            with pytest.raises(InferenceServerException, match="failed to load 'double', failed to poll from model repository") as caught:
                over_grpc.load_model("double", **more)
            assert caught.value.status() == "StatusCode.INTERNAL"
        with pytest.raises(InferenceServerException, match="failed to load 'double', ") as caught:
            over_grpc.load_model("double", config="no JSON")
        assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_files_of_a_server_that_was_killed_go_with_the_next_start(explicit: Any, store: Path, home: Path) -> None:
    write_scale(store, "double")
    client = explicit()
    client.load_model("double")
    config = json.dumps(client.get_model_config("double"))
    client.load_model("double", config=config, files={"file:1/model.onnx": (store / "double" / "1" / "model.onnx").read_bytes()})
    pids = client.server.instance_pids("double")
    client.server.process.kill()
    wait_for(lambda: not any(map(psutil.pid_exists, pids)))
    assert len(list((home / "uploaded").iterdir())) == 1
    explicit()
    assert list((home / "uploaded").iterdir()) == []


def test_a_file_cannot_be_put_anywhere_else(shared: Any) -> None:
    client, store = shared
    write_scale(store, "double")
    for path in ["../x", "/etc/x", "1/../../x", "", "1//x", "1/./x", "a\\b", "1/x\n", "a/" * 20 + "x", "x" * 300, "1\0"]:
        with pytest.raises(InferenceServerException, match="is not a path in the model's folder"):
            client.load_model("double", config="{}", files={"file:1/model.onnx": b"x", f"file:{path}": b"x"})
    assert list((client.server.home / "uploaded").iterdir() if (client.server.home / "uploaded").exists() else []) == []


def test_files_that_do_not_go_together_are_refused(shared: Any) -> None:
    client, store = shared
    write_scale(store, "double")
    with pytest.raises(InferenceServerException, match="without 'config'"):
        client.load_model("double", files={"file:1/model.onnx": b"x"})
    with pytest.raises(InferenceServerException, match="one lies in another one"):
        client.load_model("double", config="{}", files={"file:1": b"x", "file:1/model.onnx": b"x"})
    with pytest.raises(InferenceServerException, match="needs a name of letters"):
        client.load_model("dou ble", config="{}", files={"file:1/model.onnx": b"x"})
    caught = requests.post(f"{client.server.url}/v2/repository/models/double/load", json={"parameters": {"fast": True}}, timeout=30)
    assert "'fast' is not known" in caught.json()["error"]
    assert list((client.server.home / "uploaded").iterdir()) == []


def test_installed_modules_are_loaded_by_name(explicit: Any, home: Path) -> None:
    assert hub("install", MODULES / "shout", home=home).returncode == 0
    client = explicit()
    assert "shout" not in states(client)
    client.load_model("shout")
    assert client.is_model_ready("shout")
    with pytest.raises(InferenceServerException, match="a configuration can be sent for the models of a store"):
        client.load_model("shout", config="{}")
    client.unload_model("shout")
    assert states(client)["shout"] == ("UNAVAILABLE", "unloaded")


def test_the_modules_of_the_settings_are_unloaded_and_loaded_too(shared: Any) -> None:
    client, _ = shared
    client.unload_model("doubler")
    assert not client.is_model_ready("doubler")
    client.load_model("doubler")
    assert np.array_equal(compute(client, "doubler"), X * 2)


def test_several_loads_at_once_all_come_to_an_end(shared: Any) -> None:
    client, store = shared
    names = [f"m{number}" for number in range(3)]
    for number, name in enumerate(names):
        write_scale(store, name, factor=float(number))
    server = client.server

    def load(name: str) -> None:
        with client_of(server) as own:
            own.load_model(name)

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(load, [*names, *names, "m0", "m0"]))
    for number, name in enumerate(names):
        assert np.array_equal(compute(client, name), X * number)
    wait_for(
        lambda: len(psutil.Process(server.process.pid).children(recursive=True)) == 1 + sum(len(server.instance_pids(n)) for n in names)
    )


def test_loading_holds_up_nothing_and_goes_on_without_its_asker(explicit: Any, tmp_path: Path, home: Path) -> None:
    pid = install_slow(tmp_path, home, load_s=2)
    client = explicit()
    with client_of(client.server) as impatient, pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(f"{impatient.server.url}/v2/repository/models/slow/load", timeout=0.5)
    wait_for(pid.exists)
    assert states(client)["slow"][0] == "LOADING"
    assert np.array_equal(compute(client, "doubler"), X * 2)
    wait_for(lambda: client.is_model_ready("slow"))


def test_what_is_still_being_loaded_at_the_start_can_be_unloaded_and_leaves_nothing(
    start: Start, store: Path, tmp_path: Path, home: Path
) -> None:
    pid = install_slow(tmp_path, home, load_s=2)
    modules = {"doubler": {**toy("doubler"), "workers": 1}, "slow": {"workers": 1}}
    server = start(modules, wait=False, model_store=[str(store)], model_control="explicit")
    instance = int(wait_for(lambda: pid.exists() and pid.read_text()))
    client = client_of(server)
    assert states(client)["slow"] == ("LOADING", "")
    client.unload_model("slow")
    assert states(client)["slow"] == ("UNAVAILABLE", "unloaded")
    wait_for(lambda: not psutil.pid_exists(instance))
    server.wait_until_ready()


def test_a_load_whose_process_is_killed_is_told(explicit: Any, tmp_path: Path, home: Path) -> None:
    pid = install_slow(tmp_path, home, load_s=60)
    client = explicit()
    with ThreadPoolExecutor() as pool:
        loading = pool.submit(requests.post, f"{client.server.url}/v2/repository/models/slow/load", timeout=60)
        os.kill(int(wait_for(lambda: pid.exists() and pid.read_text())), signal.SIGKILL)
        answer = loading.result()
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("failed to load 'slow', ")
    assert states(client)["slow"][0] == "UNAVAILABLE"


def test_a_server_that_is_stopped_while_it_loads_stops(explicit: Any, tmp_path: Path, home: Path) -> None:
    pid = install_slow(tmp_path, home, load_s=60)
    client = explicit(drain_timeout_s=5)
    with ThreadPoolExecutor() as pool:
        loading = pool.submit(requests.post, f"{client.server.url}/v2/repository/models/slow/load", timeout=60)
        instance = int(wait_for(lambda: pid.exists() and pid.read_text()))
        assert client.server.stop() == 0
        assert loading.result().status_code == 503
    wait_for(lambda: not psutil.pid_exists(instance))


def test_unloading_lets_requests_finish(explicit: Any, tmp_path: Path, home: Path) -> None:
    install_slow(tmp_path, home, load_s=0, answer_s=1.5)
    client = explicit()
    client.load_model("slow")
    server = client.server
    before = server.status("slow")["requests"]
    sent = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": X[0].tolist()}]}
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(requests.post, f"{server.url}/v2/models/slow/infer", json=sent, timeout=60)
        wait_for(lambda: asked.done() or server.status("slow")["requests"] > before)
        assert not asked.done(), asked.result().text
        client.unload_model("slow")
        assert asked.result().json()["outputs"][0]["data"] == (X[0] * 2).tolist()
    assert states(client)["slow"] == ("UNAVAILABLE", "unloaded")


def test_a_folder_that_has_vanished_is_no_model_any_more(shared: Any) -> None:
    client, store = shared
    folder = write_scale(store, "double")
    client.load_model("double")
    shutil.rmtree(folder)
    with pytest.raises(InferenceServerException, match="failed to load 'double', failed to poll from model repository"):
        client.load_model("double")
    assert np.array_equal(compute(client, "double"), X * 2)
    client.unload_model("double")
    client.unload_model("double")


def test_an_ensemble_brings_what_it_is_made_of_and_takes_it_along(shared: Any) -> None:
    client, store = shared
    write_scale(store, "one")
    write_scale(store, "two", factor=3.0)
    write_ensemble(store, "both", "one", "two")
    write_ensemble(store, "other", "one", "one")
    client.load_model("both")
    assert {name for name, (state, _) in states(client).items() if state == "READY"} == {"doubler", "both", "one", "two"}
    assert np.array_equal(compute(client, "both"), X * 6)
    client.load_model("other")
    client.unload_model("both", unload_dependents=True)
    assert {name for name, (state, _) in states(client).items() if state == "READY"} == {"doubler", "other", "one"}
    assert np.array_equal(compute(client, "other"), X * 4)
    client.unload_model("other")
    assert client.is_model_ready("one")


def test_an_ensemble_that_lacks_something_is_not_loaded_and_says_what(shared: Any) -> None:
    client, store = shared
    write_scale(store, "one")
    write_ensemble(store, "both", "one", "nothing")
    with pytest.raises(InferenceServerException, match="failed to load 'both', 'nothing', which it is made of, cannot be loaded"):
        client.load_model("both")
    write_ensemble(store, "round", "circle", "one")
    write_ensemble(store, "circle", "round", "one")
    with ThreadPoolExecutor() as pool:  # each wants the other one, which must not make them wait for ever
        urls = [f"{client.server.url}/v2/repository/models/{name}/load" for name in ("round", "circle")]
        caught = list(pool.map(lambda url: requests.post(url, timeout=60), urls))
    assert [answer.status_code for answer in caught] == [400, 400]


# --- none and poll ---


@pytest.mark.parametrize("control", ["none", "poll"])
def test_clients_change_nothing_unless_they_may(start: Start, store: Path, control: str) -> None:
    write_scale(store, "double")
    client = client_of(start({}, model_store=[str(store)], model_control=control))
    for change in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="explicit model load / unload is not allowed if polling is enabled") as caught:
            change("double")
        assert caught.value.status() == "503"
    assert states(client) == {"double": ("READY", "")}
    assert np.array_equal(compute(client, "double"), X * 2)


def test_a_store_that_is_watched_is_followed(start: Start, store: Path) -> None:
    write_scale(store, "double")
    server = start({"doubler": {**toy("doubler"), "workers": 1}}, model_store=[str(store)], model_control="poll", poll_s=0.2)
    client = client_of(server)
    first = server.instance_pids("double")
    write_scale(store, "triple", factor=3.0)
    wait_for(lambda: client.is_model_ready("triple"))
    assert np.array_equal(compute(client, "triple"), X * 3)
    shutil.rmtree(store / "double")
    wait_for(lambda: "double" not in states(client))
    write_scale(store, "double", factor=4.0)
    wait_for(lambda: client.is_model_ready("double"))
    assert np.array_equal(compute(client, "double"), X * 4)
    assert not set(first) & set(server.instance_pids("double"))
    (store / "triple" / "1" / "model.onnx").write_bytes(b"no model")
    wait_for(lambda: "failed to load 'triple', which has changed" in server.log.read_text())
    assert np.array_equal(compute(client, "triple"), X * 3)
    pids = server.instance_pids("triple")
    store.rename(store.with_name("away"))
    wait_for(lambda: "the model stores cannot be looked at" in server.log.read_text())
    assert np.array_equal(compute(client, "triple"), X * 3)
    assert server.instance_pids("triple") == pids
    assert client.is_model_ready("doubler")

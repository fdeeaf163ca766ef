"""Configurations and files that clients send with the models that they load."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from tests.behaviours.model_control.models import X, client_of, compute
from tests.conftest import Start, free_port, toy, wait_for
from tests.triton_models import SCALE, write_scale


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
    wait_for(lambda: list((home / "uploaded").iterdir()) == [])
    client.load_model("double", config=config, files=files)
    assert client.server.stop() == 0
    wait_for(lambda: list((home / "uploaded").iterdir()) == [])


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
    with pytest.raises(InferenceServerException, match="may set EXECUTION_ENV_PATH only to the model's own value"):
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
    wait_for(lambda: list((home / "uploaded").iterdir()) == [])


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
    wait_for(lambda: list((client.server.home / "uploaded").iterdir()) == [])

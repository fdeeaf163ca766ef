"""Unmodified Triton clients load and unload models while the server runs."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.behaviours.model_control.models import X, client_of, compute, states, write_ensemble
from tests.conftest import MODULES, hub, wait_for
from tests.triton_models import write_scale


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
    with pytest.raises(InferenceServerException, match="failed to load 'both', its step 'nothing' cannot be loaded"):
        client.load_model("both")
    write_ensemble(store, "round", "circle", "one")
    write_ensemble(store, "circle", "round", "one")
    with ThreadPoolExecutor() as pool:  # each wants the other one, which must not make them wait for ever
        urls = [f"{client.server.url}/v2/repository/models/{name}/load" for name in ("round", "circle")]
        caught = list(pool.map(lambda url: requests.post(url, timeout=60), urls))
    assert [answer.status_code for answer in caught] == [400, 400]

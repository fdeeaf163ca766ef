"""Loads that take long hold up nothing, and end with their server."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests

from tests.behaviours.model_control.models import X, client_of, compute, install_slow, states
from tests.conftest import Start, toy, wait_for


def test_loading_holds_up_nothing_and_goes_on_without_its_asker(explicit: Any, tmp_path: Path, home: Path) -> None:
    pid = install_slow(tmp_path, home, load_s=4)
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
    pid = install_slow(tmp_path, home, load_s=60)
    modules = {"doubler": {**toy("doubler"), "workers": 1}, "slow": {"workers": 1}}
    server = start(modules, wait=False, model_store=[str(store)], model_control="explicit")
    instance = int(wait_for(lambda: pid.exists() and pid.read_text()))
    client = client_of(server)
    assert states(client)["slow"] == ("LOADING", "")
    client.unload_model("slow")
    assert states(client)["slow"] == ("UNAVAILABLE", "unloaded")
    wait_for(lambda: not psutil.pid_exists(instance))
    server.wait_until_ready()


def test_a_load_whose_process_is_killed_twice_fails(explicit: Any, tmp_path: Path, home: Path) -> None:
    pid = install_slow(tmp_path, home, load_s=60)
    client = explicit(workers=1)  # so that the second process is the second try of the first
    with ThreadPoolExecutor() as pool:
        loading = pool.submit(requests.post, f"{client.server.url}/v2/repository/models/slow/load", timeout=60)
        first = int(wait_for(lambda: pid.exists() and pid.read_text()))
        os.kill(first, signal.SIGKILL)
        second = int(wait_for(lambda: pid.read_text() not in ("", str(first)) and pid.read_text()))
        os.kill(second, signal.SIGKILL)
        answer = loading.result()
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("failed to load 'slow', ")
    assert "was killed by SIGKILL" in answer.json()["error"]
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

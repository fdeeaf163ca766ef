"""Stores whose models no client may change: loaded at the start, or watched."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from tests.behaviours.model_control.models import X, client_of, compute, states
from tests.conftest import Start, toy, wait_for
from tests.triton_models import write_scale


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
    wait_for(lambda: "cannot poll the model stores" in server.log.read_text())
    assert np.array_equal(compute(client, "triple"), X * 3)
    assert server.instance_pids("triple") == pids
    assert client.is_model_ready("doubler")

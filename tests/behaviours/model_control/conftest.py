"""Servers whose models clients load and unload."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tritonclient.http as triton

from tests.behaviours.model_control.models import client_of, states
from tests.conftest import Server, Start, servers, toy


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "store"
    folder.mkdir()
    return folder


@pytest.fixture
def explicit(start: Start, store: Path) -> Iterator[Callable[..., triton.InferenceServerClient]]:
    """Start a server of the store whose models are loaded by clients."""
    clients = contextlib.ExitStack()

    def function(modules: dict[str, Any] | None = None, **settings: Any) -> triton.InferenceServerClient:
        settings = {"model_store": [str(store)], "model_control": "explicit", "model_uploads": True, **settings}
        return clients.enter_context(client_of(start(modules or {"doubler": {**toy("doubler"), "workers": 1}}, **settings)))

    with clients:
        yield function


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

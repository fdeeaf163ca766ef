"""Shared memory that changes under a request, and what clients may set while the server runs; over HTTP and gRPC alike."""

import json
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.grpc
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException
from tritonclient.utils import shared_memory as memory

from tests.conftest import Server, Start, free_port, servers, toy, wait_for

X = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traces")


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that holds up the doubler for as long as it is there."""
    return tmp_path_factory.mktemp("gate") / "closed"


@pytest.fixture(scope="module")
def server(shared_home: Path, traces: Path, grpc_port: int, gate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers(shared_home, tmp_path_factory.mktemp("settings")) as start:
        modules = {"doubler": {**toy("doubler", gate=str(gate)), "workers": 1}, "shout": toy("shout")}
        yield start(modules, trace_dir=str(traces), grpc_port=grpc_port, shared_memory=True)


@pytest.fixture
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.url.removeprefix("http://")) as client:
        yield client


@pytest.fixture
def over_grpc(server: Server, grpc_port: int) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{grpc_port}") as client:
        yield client


@pytest.fixture
def region(client: triton.InferenceServerClient) -> Iterator[Any]:
    """The client's handle of a region ``both``: X, and as much room behind it."""
    handle = memory.create_shared_memory_region("both", f"/hubserve-{secrets.token_hex(6)}", 2 * X.nbytes)
    memory.set_shared_memory_region(handle, [X])
    client.register_system_shared_memory("both", handle._shm_key, 2 * X.nbytes)
    yield handle
    client.unregister_system_shared_memory()
    memory.destroy_shared_memory_region(handle)


def request() -> dict[str, Any]:
    """A request whose input and output are in the region ``both``, as JSON."""
    place = {"shared_memory_region": "both", "shared_memory_byte_size": X.nbytes}
    sent = {"name": "x", "datatype": "FP32", "shape": list(X.shape), "parameters": place}
    return {"inputs": [sent], "outputs": [{"name": "y", "parameters": {**place, "shared_memory_offset": X.nbytes}}]}


def ask(server: Server) -> requests.Response:
    return requests.post(f"{server.url}/v2/models/doubler/infer", json=request(), timeout=60)


def ask_and(server: Server, gate: Path, meanwhile: Any) -> requests.Response:
    """Ask, and do something while the module computes."""
    gate.touch()
    try:
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, server)
            wait_for(lambda: asked.done() or server.computing("doubler"))
            meanwhile()
            gate.unlink()
            return asked.result()
    finally:
        gate.unlink(missing_ok=True)


def result(region: Any) -> np.ndarray:
    return np.array(memory.get_contents_as_numpy(region, np.float32, list(X.shape), X.nbytes))


def path_of(region: Any) -> Path:
    return Path("/dev/shm") / region._shm_key.lstrip("/")


def test_a_region_that_is_cut_short_before_a_request_is_that_requests_error(server: Server, region: Any) -> None:
    os.truncate(path_of(region), 10)
    answer = ask(server)
    assert answer.status_code == 400
    assert "has been cut short since it was registered" in answer.json()["error"]
    os.truncate(path_of(region), 2 * X.nbytes)
    assert ask(server).status_code == 200


def test_a_region_that_is_cut_short_during_a_request_is_that_requests_error(server: Server, gate: Path, region: Any) -> None:
    answer = ask_and(server, gate, lambda: os.truncate(path_of(region), X.nbytes))
    assert answer.status_code == 400
    assert "has been cut short since it was registered" in answer.json()["error"]
    assert path_of(region).stat().st_size == X.nbytes
    os.truncate(path_of(region), 2 * X.nbytes)
    assert ask(server).status_code == 200
    assert np.array_equal(result(region), X * 2)


def test_a_request_finishes_with_a_region_that_is_unregistered_under_it(
    server: Server, gate: Path, region: Any, client: triton.InferenceServerClient
) -> None:
    answer = ask_and(server, gate, lambda: client.unregister_system_shared_memory("both"))
    assert answer.status_code == 200
    assert np.array_equal(result(region), X * 2)
    told = ask(server)
    assert told.status_code in (400, 404)
    assert "Unable to find shared memory region: 'both'" in told.json()["error"]


def test_a_server_has_no_shared_memory_unless_it_is_told_to(toys: Server) -> None:
    with triton.InferenceServerClient(toys.url.removeprefix("http://")) as client:
        with pytest.raises(InferenceServerException, match="shared memory is off on this server") as told:
            client.register_system_shared_memory("both", "/both", 16)
        assert told.value.status() == "501"
        assert client.get_system_shared_memory_status() == []
        client.unregister_system_shared_memory()
        client.unregister_cuda_shared_memory()


def test_what_is_read_from_shared_memory_counts_for_the_bytes_that_a_server_holds(start: Start, tmp_path: Path) -> None:
    port, gate = free_port(), tmp_path / "gate"
    server = start({"doubler": toy("doubler", gate=str(gate))}, grpc_port=port, max_pending_bytes=1_000_000, workers=1, shared_memory=True)
    x = np.ones((1, 150_000), np.float32)
    name = f"hub-{secrets.token_hex(4)}"
    handle = memory.create_shared_memory_region(name, f"/{name}", x.nbytes)
    outcomes = []
    try:
        memory.set_shared_memory_region(handle, [x])
        for module, address in ((triton, f"127.0.0.1:{server.port}"), (tritonclient.grpc, f"127.0.0.1:{port}")):
            with module.InferenceServerClient(address) as client:
                client.unregister_system_shared_memory()
                client.register_system_shared_memory(name, f"/{name}", x.nbytes)

            def ask(_: int, module: Any = module, address: str = address) -> str:
                sent = module.InferInput("x", list(x.shape), "FP32")
                sent.set_shared_memory(name, x.nbytes)
                with module.InferenceServerClient(address) as client:
                    try:
                        return str(client.infer("doubler", [sent]).as_numpy("y").sum())
                    except InferenceServerException as error:
                        return error.message()

            gate.touch()
            with ThreadPoolExecutor(2) as threads:
                asked = [threads.submit(ask, number) for number in range(2)]
                wait_for(lambda asked=asked: any(each.done() for each in asked))
                gate.unlink()
                outcomes.append(sorted(each.result() for each in asked))
    finally:
        memory.destroy_shared_memory_region(handle)
    for done, refused in outcomes:
        assert done == "300000.0"
        assert "has no room for 600000 more (max_pending_bytes)" in refused


def test_requests_are_traced_as_clients_set_it(
    client: triton.InferenceServerClient, over_grpc: tritonclient.grpc.InferenceServerClient, server: Server, traces: Path, region: Any
) -> None:
    assert client.get_trace_settings()["trace_level"] == ["OFF"]
    told = over_grpc.update_trace_settings("doubler", {"trace_level": ["TIMESTAMPS"], "trace_rate": "2", "trace_count": "2"})
    assert told.settings["trace_rate"].value == ["2"]
    assert client.get_trace_settings("doubler")["trace_level"] == ["TIMESTAMPS"]
    assert client.get_trace_settings("shout")["trace_level"] == ["OFF"]
    for _ in range(6):
        assert ask(server).status_code == 200
    assert client.get_trace_settings("doubler")["trace_count"] == "0"
    client.update_trace_settings("doubler", {"trace_level": None, "trace_rate": None, "trace_count": None})
    assert client.get_trace_settings("doubler") == client.get_trace_settings()
    wait_for((traces / "trace.json").exists)
    told = json.loads((traces / "trace.json").read_bytes())
    assert [(each["model_name"], each["id"]) for each in told] == [("doubler", 1), ("doubler", 2)]
    names = [stamp["name"] for stamp in told[0]["timestamps"]]
    assert (names[0], names[-1], len(names)) == ("REQUEST_START", "REQUEST_END", 7)
    with pytest.raises(InferenceServerException, match="there is no trace setting 'speed'"):
        client.update_trace_settings(settings={"speed": "1"})
    for each in (client, over_grpc):
        with pytest.raises(InferenceServerException, match="nobody"):
            each.get_trace_settings("nobody")


def test_what_is_logged_is_as_clients_set_it(
    client: triton.InferenceServerClient, over_grpc: tritonclient.grpc.InferenceServerClient, server: Server
) -> None:
    first = client.get_log_settings()
    assert first["log_info"] is True
    try:
        told = over_grpc.update_log_settings({"log_info": False, "log_verbose_level": 1, "log_format": "ISO8601"})
        assert told.settings["log_format"].string_param == "ISO8601"
        assert client.get_log_settings() == first | {"log_info": False, "log_verbose_level": 1, "log_format": "ISO8601"}
    finally:
        assert client.update_log_settings(first) == first
    with pytest.raises(InferenceServerException, match="log file location can not be updated through network protocol"):
        client.update_log_settings({"log_file": "/tmp/anything"})

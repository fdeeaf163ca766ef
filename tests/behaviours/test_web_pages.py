"""Requests from web pages and access to the admin surface, over HTTP, gRPC and a port for both."""

import json
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
import tritonclient.grpc
from tritonclient.utils import InferenceServerException
from tritonclient.utils import shared_memory as memory

from tests.conftest import Server, free_port, hub, servers, toy
from tests.triton_models import write_scale
from tests.v2 import exchange, http_request

PAGE = "http://localhost:8080"
X = [1.0, 2.0, 3.0, 4.0]
TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": X}
INFER = ("POST", "/v2/models/double/infer", {"inputs": [TENSOR]})
PREDICT = ("POST", "/predict/shout", {"text": "a"})
ADMIN: list[tuple[str, str, Any]] = [
    ("GET", "/status", None),
    ("POST", "/v2/repository/index", {}),
    ("POST", "/v2/repository/models/double/load", {}),
    ("POST", "/v2/repository/models/double/unload", {}),
    ("GET", "/v2/systemsharedmemory/status", None),
    ("POST", "/v2/systemsharedmemory/region/r/register", {"key": "/none", "byte_size": 1}),
    ("POST", "/v2/systemsharedmemory/unregister", {}),
    ("GET", "/v2/cudasharedmemory/status", None),
    ("POST", "/v2/cudasharedmemory/unregister", {}),
    ("GET", "/v2/trace/setting", None),
    ("POST", "/v2/models/double/trace/setting", {"trace_rate": "7"}),
    ("GET", "/v2/logging", None),
    ("POST", "/v2/logging", {"log_info": False}),
]
READING = [INFER, PREDICT, ("GET", "/v2/models/double", None), ("GET", "/health/live", None), ("GET", "/", None), ("GET", "/nothing", None)]
PROXIES = [("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=203.0.113.9"), ("X-Real-IP", "127.0.0.1"), ("Via", "1.1 proxy")]
FOREIGN = [
    {"Origin": "http://evil.example", "Content-Type": "text/plain"},
    {"Origin": "null"},
    {"Origin": "http://localhost:1"},
    {"Origin": "https://localhost:8080"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pages")
    write_scale(made / "models", "double")
    return made


@pytest.fixture(scope="module")
def server(shared_home: Path, folder: Path) -> Iterator[Server]:
    """Start a server for this machine only, with gRPC on the HTTP port."""
    store = {"model_store": [str(folder / "models")], "model_control": "explicit", "load_model": ["*"]}
    port = free_port()
    with servers(shared_home, folder) as start:
        names = {"allowed_hosts": ["ml.example.com", "*.internal"], "cors_origins": [PAGE]}
        yield start({"shout": toy("shout")}, port=port, grpc_port=port, shared_memory=True, **names, **store)


@pytest.fixture(scope="module")
def opened(shared_home: Path, folder: Path) -> Iterator[Server]:
    """Start a server that other machines can reach, without ``allowed_hosts``."""
    with servers(shared_home, folder) as start:
        yield start({"shout": toy("shout")}, host="0.0.0.0", allowed_hosts=[], grpc_port=free_port())


def ask(server: Server, request: tuple[str, str, Any], **headers: str) -> requests.Response:
    method, path, document = request
    body = None if document is None else json.dumps(document)
    sent = {"Content-Type": "application/json"} if document is not None and path.startswith("/predict") else {}
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.request(method, server.url + path, data=body, headers=sent, timeout=30)


def undisturbed(server: Server) -> bool:
    """Return whether the admin surface is unaffected: no model unloaded, no setting changed."""
    ready = ask(server, ("GET", "/v2/models/double/ready", None)).status_code == 200
    return ready and ask(server, ("GET", "/v2/logging", None)).json()["log_info"] is True


# --- Host ---


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example:{port}", "x", "internal"]
)
def test_a_request_that_calls_the_server_by_a_foreign_name_is_refused_whatever_it_asks(server: Server, host: str) -> None:
    for request in [*READING, *ADMIN]:
        answer = ask(server, request, Host=host.format(port=server.port))
        assert answer.status_code == 421, request
        assert "'allowed_hosts'" in answer.json()["error"] == answer.json()["msg"]
    assert undisturbed(server)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:{port}",
        "localhost",
        "LOCALHOST:{port}",
        "localhost.",
        "app.localhost",
        "[::1]:{port}",
        "192.168.1.7",
        "ML.example.com:80",
        "deep.in.internal",
        socket.gethostname(),
    ],
)
def test_a_request_that_calls_the_server_by_one_of_its_names_is_answered(server: Server, host: str) -> None:
    for request in (INFER, PREDICT, ADMIN[0]):
        assert ask(server, request, Host=host.format(port=server.port)).status_code == 200


def test_a_refused_request_does_not_spoil_its_connection(server: Server) -> None:
    bad = http_request("POST", "/predict/shout", b"x" * 3000).replace(b"Connection: close\r\n", b"").replace(b"here", b"evil.example")
    good = http_request("GET", "/health/live").replace(b"here", b"localhost")
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(bad)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 421 ")
        connection.sendall(good)
        answer = b""
        while part := connection.recv(1 << 16):
            answer += part
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_client_of_http_1_0_that_sends_no_host_is_answered(server: Server) -> None:
    assert exchange(server.port, b"GET /health/live HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_a_server_for_other_machines_answers_to_any_name_but_gives_its_admin_surface_to_its_own_only(opened: Server) -> None:
    assert ask(opened, PREDICT, Host="hubserve.default.svc.cluster.local").json()["results"] == "A!"
    told = ask(opened, ADMIN[0], Host="evil.example")
    assert (told.status_code, "calls it 'evil.example'" in told.json()["error"]) == (403, True)
    assert ask(opened, ADMIN[0]).status_code == 200


# --- Origin ---


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_page_of_another_origin_can_do_nothing(server: Server, headers: dict[str, str]) -> None:
    for request in [*READING, *ADMIN]:
        answer = ask(server, request, **headers)
        assert answer.status_code == 403, request
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.json()["error"] == answer.json()["msg"]
    assert undisturbed(server)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://127.0.0.1:{port}"},
        {"Origin": "http://LOCALHOST", "Host": "localhost:80"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://behind.a.proxy"},
        {"Origin": "https://ml.example.com", "Host": "ml.example.com", "X-Forwarded-Proto": "https"},
        {"Origin": "https://outside.example", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "outside.example"},
    ],
    ids=str,
)
def test_the_servers_own_pages_are_answered_also_behind_a_proxy(server: Server, headers: dict[str, str]) -> None:
    sent = {name: value.format(port=server.port) for name, value in headers.items()}
    for request in (INFER, PREDICT):
        assert ask(server, request, **sent).status_code == 200


def test_a_link_of_another_site_leads_to_the_front_page(server: Server) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert ask(server, ("GET", "/", None), **link).status_code == 200
    assert ask(server, ("POST", "/", {}), **link).status_code == 403
    assert ask(server, ("GET", "/", None), **{**link, "Sec-Fetch-Dest": "iframe"}).status_code == 403


@pytest.mark.parametrize("path", ["/predict/shout", "/v2/models/double/infer", "/predict/nobody", "/health/ready", "/status", "/nothing"])
def test_a_browsers_question_before_a_request_of_an_allowed_page_is_answered_for_every_path(server: Server, path: str) -> None:
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,x-hub-shape",
        "Access-Control-Request-Private-Network": "true",
    }
    answer = ask(server, ("OPTIONS", path, None), Origin=PAGE, **asked)
    assert (answer.status_code, answer.content) == (204, b"")
    told = {name.lower(): value for name, value in answer.headers.items() if name.lower().startswith(("access-", "vary"))}
    assert told == {
        "access-control-allow-origin": PAGE,
        "access-control-allow-methods": "GET, HEAD, POST",
        "access-control-allow-headers": "content-type,x-hub-shape",
        "access-control-allow-private-network": "true",
        "access-control-max-age": "600",
        "vary": "Origin",
    }
    assert ask(server, ("OPTIONS", path, None), Origin="http://evil.example", **asked).status_code == 403


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (INFER, 200),
        (PREDICT, 200),
        (("POST", "/v2/models/double/infer", {}), 400),
        (("POST", "/predict/shout", [1]), 400),
        (("POST", "/predict/nobody", {}), 200),
        (("GET", "/v2/nothing", None), 404),
        (("GET", "/nothing", None), 404),
        (("PUT", "/predict/shout", {}), 405),
        (("OPTIONS", "/predict/shout", None), 200),
    ],
    ids=str,
)
def test_an_allowed_page_can_read_answers_and_errors(server: Server, request_: tuple[str, str, Any], status: int) -> None:
    answer = ask(server, request_, Origin=PAGE, Sec_Fetch_Site="same-site")
    assert answer.status_code == status
    assert (answer.headers["Access-Control-Allow-Origin"], answer.headers["Vary"]) == (PAGE, "Origin")
    assert "Retry-After" in answer.headers["Access-Control-Expose-Headers"]


def test_an_allowed_page_has_no_admin_surface(server: Server) -> None:
    for request in ADMIN:
        answer = ask(server, request, Origin=PAGE)
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (403, PAGE), request
        assert "web pages of other origins" in answer.json()["error"]
    assert undisturbed(server)


# --- the admin surface ---


@pytest.mark.parametrize(("header", "value"), PROXIES)
def test_what_came_through_a_proxy_is_answered_but_for_the_admin_surface(server: Server, header: str, value: str) -> None:
    for request in ADMIN:
        answer = ask(server, request, **{header: value})
        assert answer.status_code == 403, request
        assert f"came through a proxy (its header {header.lower()})" in answer.json()["error"]
    for request in (INFER, PREDICT):
        assert ask(server, request, **{header: value}).status_code == 200
    assert undisturbed(server)


GRPC_ADMIN = {
    "RepositoryIndex": lambda client, **sent: client.get_model_repository_index(**sent),
    "RepositoryModelLoad": lambda client, **sent: client.load_model("double", **sent),
    "RepositoryModelUnload": lambda client, **sent: client.unload_model("double", **sent),
    "SystemSharedMemoryStatus": lambda client, **sent: client.get_system_shared_memory_status(**sent),
    "SystemSharedMemoryRegister": lambda client, **sent: client.register_system_shared_memory("r", "/none", 1, **sent),
    "SystemSharedMemoryUnregister": lambda client, **sent: client.unregister_system_shared_memory(**sent),
    "CudaSharedMemoryStatus": lambda client, **sent: client.get_cuda_shared_memory_status(**sent),
    "CudaSharedMemoryRegister": lambda client, **sent: client.register_cuda_shared_memory("r", b"", 0, 1, **sent),
    "CudaSharedMemoryUnregister": lambda client, **sent: client.unregister_cuda_shared_memory(**sent),
    "TraceSetting": lambda client, **sent: client.update_trace_settings("double", {"trace_rate": "7"}, **sent),
    "LogSettings": lambda client, **sent: client.update_log_settings({"log_info": False}, **sent),
}


@pytest.mark.parametrize(("header", "value"), PROXIES)
def test_grpc_calls_through_a_proxy_are_answered_but_for_the_admin_surface(server: Server, header: str, value: str) -> None:
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        for name, call in GRPC_ADMIN.items():
            with pytest.raises(InferenceServerException, match="came through a proxy") as told:
                call(client, headers={header.lower(): value})
            assert told.value.status() == "StatusCode.PERMISSION_DENIED", name
        assert client.is_server_ready(headers={header.lower(): value})
        assert client.infer("double", [grpc_tensor()], headers={header.lower(): value}).as_numpy("y").tolist() == [[2, 4, 6, 8]]
        assert len(client.get_model_repository_index().models) == 2
    assert undisturbed(server)


def grpc_tensor() -> tritonclient.grpc.InferInput:
    sent = tritonclient.grpc.InferInput("x", [1, 4], "FP32")
    sent.set_data_from_numpy(np.array([X], np.float32))
    return sent


def test_every_grpc_call_of_the_admin_surface_is_among_those_that_are_tried() -> None:
    from hubserve.protocols.open_inference.grpc.unary import ADMIN_CALLS

    assert GRPC_ADMIN.keys() == ADMIN_CALLS


def test_clients_on_other_machines_are_answered_but_for_the_admin_surface(opened: Server) -> None:
    addresses = [each.address for own in psutil.net_if_addrs().values() for each in own if each.family == socket.AF_INET]
    address = next((each for each in addresses if not each.startswith("127.")), None)
    if address is None:
        pytest.skip("this machine has no address but 127.0.0.1")
    url = f"http://{address}:{opened.port}"
    assert requests.post(f"{url}/predict/shout", json={"text": "a"}, timeout=30).json()["results"] == "A!"
    for path in ("/status", "/v2/logging"):
        told = requests.get(url + path, timeout=30)
        assert (told.status_code, f"this request comes from {address}" in told.json()["error"]) == (403, True)
    grpc_port = json.loads((opened.log.parent / f"config-{opened.port}.json").read_text())["grpc_port"]
    with tritonclient.grpc.InferenceServerClient(f"{address}:{grpc_port}") as client:
        assert client.is_model_ready("shout")
        with pytest.raises(InferenceServerException, match=f"this request comes from {address}"):
            client.get_log_settings()
    assert hub("serving", "status", "-p", opened.port, home=opened.home).returncode == 0


def test_the_regions_of_a_client_on_this_machine_are_nothing_for_clients_behind_a_proxy(server: Server) -> None:
    key = f"/hubserve-{secrets.token_hex(6)}"
    handle = memory.create_shared_memory_region("mine", key, 32)
    try:
        memory.set_shared_memory_region(handle, [np.array([X], np.float32)])
        assert ask(server, ("POST", "/v2/systemsharedmemory/region/mine/register", {"key": key, "byte_size": 32})).status_code == 200
        place = {"shared_memory_region": "mine", "shared_memory_byte_size": 16}
        reads = {"inputs": [{**TENSOR, "data": None, "parameters": place}]}
        del reads["inputs"][0]["data"]
        writes = {"inputs": [TENSOR], "outputs": [{"name": "y", "parameters": {**place, "shared_memory_offset": 16}}]}
        for document in (reads, writes):
            told = ask(server, ("POST", "/v2/models/double/infer", document), X_Forwarded_For="203.0.113.9")
            assert (told.status_code, "came through a proxy" in told.json()["error"]) == (403, True)
        assert memory.get_contents_as_numpy(handle, np.float32, [1, 4], offset=16).tolist() == [[0, 0, 0, 0]]
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            sent = tritonclient.grpc.InferInput("x", [1, 4], "FP32")
            sent.set_shared_memory("mine", 16)
            with pytest.raises(InferenceServerException, match="came through a proxy"):
                client.infer("double", [sent], headers={"x-forwarded-for": "203.0.113.9"})
            assert client.infer("double", [sent]).as_numpy("y").tolist() == [[2, 4, 6, 8]]
        assert ask(server, ("POST", "/v2/models/double/infer", reads)).json()["outputs"][0]["data"] == [2, 4, 6, 8]
        assert ask(server, ("POST", "/v2/systemsharedmemory/unregister", {})).status_code == 200
    finally:
        memory.destroy_shared_memory_region(handle)


def test_where_the_admin_surface_is_off_hubs_own_commands_still_work(shared_home: Path, folder: Path) -> None:
    with servers(shared_home, folder) as start:
        server = start({"shout": toy("shout")}, admin="off")
        told = ask(server, ADMIN[0])
        assert (told.status_code, "is off on this server" in told.json()["error"]) == (403, True)
        status = hub("serving", "status", "-p", server.port, "--json", home=shared_home)
        assert [each["name"] for each in json.loads(status.stdout)["modules"]] == ["shout"]
        assert hub("serving", "reload", "-p", server.port, home=shared_home).returncode == 0
        assert hub("serving", "stop", "-p", server.port, home=shared_home).returncode == 0
        assert server.process.wait(60) == 0

"""An address of its own for the admin surface: a port or a Unix socket, and nothing of it elsewhere."""

import http.client
import json
import os
import re
import secrets
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import grpc
import numpy as np
import psutil
import pytest
import requests
import tritonclient.grpc
import tritonclient.http
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException
from tritonclient.utils import shared_memory as memory

import hubserve.flask
from hubserve.errors import ConfigError
from hubserve.protocols.open_inference.grpc.unary import ADMIN_CALLS
from hubserve.protocols.open_inference.http.admin_routes import ROUTES
from hubserve.settings import parse_settings
from tests.behaviours.certificates import Authority
from tests.behaviours.grpc_clients import tensor
from tests.conftest import Server, Start, hub, servers, toy
from tests.ports import free_port
from tests.triton_models import write_scale

X = np.array([[1, 2, 3, 4]], np.float32)
TENSOR = {"name": "x", "datatype": "FP32", "shape": [1, 4]}
METHODS = ("GET", "HEAD", "POST", "PUT", "OPTIONS")


def paths_of(pattern: str) -> list[str]:
    """Every kind of path that a route's pattern fits."""
    filled = pattern.replace("(?P<model>[^/]+)", "double").replace("(?P<region>[^/]+)", "r")
    found = [filled]
    while optional := re.search(r"\(\?:([^()]*)\)\?", found[0]):
        found = [each.replace(optional[0], part) for each in found for part in ("", optional[1])]
    assert all(re.fullmatch(pattern, each) for each in found), found
    return ["/v2/" + each for each in found]


HTTP_PATHS = sorted({path for pattern, *_ in ROUTES for path in paths_of(pattern)} | {"/status"})
#: a path that nothing answers, beside each of them
UNKNOWN = {path: ("/v2/nothing" if path.startswith("/v2/") else "/nothing") for path in HTTP_PATHS}


class Apart:
    """A server whose admin surface has a port and a socket of its own."""

    def __init__(self, server: Server, grpc_port: int, admin_port: int, admin_socket: Path) -> None:
        self.server, self.grpc_port, self.admin_port, self.admin_socket = server, grpc_port, admin_port, admin_socket
        self.admin_url = f"http://127.0.0.1:{admin_port}"


@pytest.fixture(scope="module", params=["gRPC on its own port", "gRPC on the HTTP port"])
def apart(request: pytest.FixtureRequest, shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Apart]:
    folder = tmp_path_factory.mktemp("apart")
    write_scale(folder / "models", "double")
    port, admin_port = free_port(), free_port()
    grpc_port = port if "HTTP" in request.param else free_port()
    with servers(shared_home, folder) as start:
        server = start(
            {"shout": toy("shout")},
            port=port,
            grpc_port=grpc_port,
            admin_port=admin_port,
            admin_socket="admin.sock",
            shared_memory=True,
            model_store=[str(folder / "models")],
            model_control="explicit",
            load_model=["*"],
        )
        yield Apart(server, grpc_port, admin_port, folder / "admin.sock")


class SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(30)
        self.sock.connect(self._path)


def over_socket(path: Path, method: str, url: str, document: Any = None, **headers: str) -> tuple[int, bytes]:
    connection = SocketConnection(path)
    try:
        connection.request(method, url, None if document is None else json.dumps(document), headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def seen(answer: requests.Response, path: str) -> tuple[int, bytes, dict[str, str]]:
    """What a client sees of an answer but for the path that it asked for, and what differs from answer to answer."""
    varying = ("date", "x-request-id", "content-length")
    return (
        answer.status_code,
        answer.content.replace(path.encode(), b"PATH"),
        {name: value for name, value in answer.headers.items() if name.lower() not in varying},
    )


@pytest.mark.parametrize("path", HTTP_PATHS)
def test_the_public_port_answers_every_admin_path_as_one_that_nothing_has(apart: Apart, path: str) -> None:
    for method in METHODS:
        body = "{}" if method in ("POST", "PUT") else None
        asked = [requests.request(method, apart.server.url + each, data=body, timeout=30) for each in (path, UNKNOWN[path])]
        assert asked[0].status_code == 404, method
        assert seen(asked[0], path) == seen(asked[1], UNKNOWN[path]), method


@pytest.mark.parametrize("path", HTTP_PATHS)
def test_the_admin_port_and_socket_answer_every_admin_path(apart: Apart, path: str) -> None:
    methods = [method for pattern, method, _ in ROUTES if path in paths_of(pattern)] or ["GET"]
    if path.endswith("/unload"):  # other tests need the model
        methods = ["OPTIONS"]
    for method in methods:
        body = {} if method == "POST" else None
        answer = requests.request(method, apart.admin_url + path, data=None if body is None else "{}", timeout=60)
        assert "there is nothing at" not in answer.text
        assert answer.status_code in (200, 204, 400, 404, 501), answer.text
        status, text = over_socket(apart.admin_socket, method, path, body)
        assert (status, but_for_times(text)) == (answer.status_code, but_for_times(answer.content))


def but_for_times(text: bytes) -> bytes:
    """An answer without what changes in a status from one moment to the next."""
    return re.sub(rb'"(silent_s|memory_mb)":[0-9.]+', b"", text)


def call(channel: grpc.Channel, name: str, metadata: Any = ()) -> Any:
    """Send an empty message to a method; return its error, if it is one."""
    method = channel.unary_unary(f"/inference.GRPCInferenceService/{name}", lambda data: data, lambda data: data)
    try:
        method(b"", timeout=30, metadata=metadata)
    except grpc.RpcError as error:
        return error
    return None


@pytest.mark.parametrize("name", sorted(ADMIN_CALLS))
def test_the_public_port_answers_every_admin_call_as_one_that_nothing_has(apart: Apart, name: str) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{apart.grpc_port}") as channel:
        asked, unknown = call(channel, name), call(channel, "Nothing")
    assert asked is not None
    assert unknown is not None
    assert asked.code() == unknown.code() == grpc.StatusCode.UNIMPLEMENTED
    assert asked.details().replace(name, "Nothing") == unknown.details()


@pytest.mark.parametrize("name", sorted(ADMIN_CALLS))
def test_the_admin_port_and_socket_answer_every_admin_call(apart: Apart, name: str) -> None:
    for target in (f"127.0.0.1:{apart.admin_port}", f"unix:{apart.admin_socket}"):
        with grpc.insecure_channel(target) as channel:
            answer = call(channel, name)
        assert answer is None or answer.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.INTERNAL) or "CUDA" in answer.details()


def test_descriptions_show_the_admin_surface_only_where_it_is(apart: Apart) -> None:
    of_admin = {"model_repository", "system_shared_memory", "trace", "logging"}
    for url, has_admin in ((apart.server.url, False), (apart.admin_url, True)):
        listed = set(requests.get(f"{url}/v2", timeout=30).json()["extensions"])
        assert (listed & of_admin) == (of_admin if has_admin else set())
        assert "statistics" in listed
        page = requests.get(url, timeout=30).text
        assert ('href="status"' in page) is has_admin
        assert "/predict/shout" in page
    for port, has_admin in ((apart.grpc_port, False), (apart.admin_port, True)):
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
            listed = set(client.get_server_metadata().extensions)
            assert (listed & of_admin) == (of_admin if has_admin else set())
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            symbol = b"inference.GRPCInferenceService"
            asked = b"\x22%c%b" % (len(symbol), symbol)  # field 4: file_containing_symbol
            described = next(channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")(iter([asked]), timeout=30))
        assert b"ModelStreamInfer" in described
        assert (b"RepositoryModelLoad" in described) is has_admin


def test_the_openapi_document_has_the_admin_surface_only_where_it_is(apart: Apart) -> None:
    for url, has_admin in ((apart.server.url, False), (apart.admin_url, True)):
        paths = requests.get(f"{url}/openapi.json", timeout=30).json()["paths"]
        of_admin = {path for path in paths if re.search("repository|sharedmemory|trace|logging|/status$", path)}
        assert bool(of_admin) is has_admin, of_admin
        assert "/v2/models/double/infer" in paths


def test_keys_count_at_the_admin_port_and_show_nothing_at_the_public_one(start: Start, home: Path, tmp_path: Path) -> None:
    file, admin_port, grpc_port = tmp_path / "keys.json", free_port(), free_port()

    def create(*options: str) -> dict[str, str]:
        done = hub("access", "create", file, "--name", "client", *options, "--json", home=home)
        return {"Authorization": f"Bearer {json.loads(done.stdout)['key']}"}

    keys = [{}, create("--modules", "shout"), create("--admin")]
    server = start({"shout": toy("shout")}, access_keys="keys.json", admin_port=admin_port, grpc_port=grpc_port)
    for headers in keys:
        for path, unknown in UNKNOWN.items():
            asked = [requests.get(server.url + each, headers=headers, timeout=30) for each in (path, unknown)]
            assert asked[0].status_code in (401, 404)
            assert seen(asked[0], path) == seen(asked[1], unknown)
        with grpc.insecure_channel(f"127.0.0.1:{grpc_port}") as channel:
            metadata = [(name.lower(), value) for name, value in headers.items()]
            for name in ADMIN_CALLS:
                errors = [call(channel, each, metadata) for each in (name, "Nothing")]
                assert errors[0].code() == errors[1].code()
                assert errors[0].details().replace(name, "Nothing") == errors[1].details()
    url = f"http://127.0.0.1:{admin_port}/v2/logging"
    assert [requests.get(url, headers=headers, timeout=30).status_code for headers in keys] == [401, 403, 200]


def test_an_admin_port_for_other_machines_needs_admin_any(start: Start) -> None:
    addresses = [each.address for own in psutil.net_if_addrs().values() for each in own if each.family == socket.AF_INET]
    address = next((each for each in addresses if not each.startswith("127.")), None)
    if address is None:
        pytest.skip("this machine has no address but 127.0.0.1")
    for admin, status in (("local", 403), ("any", 200)):
        admin_port = free_port()
        server = start({"shout": toy("shout")}, admin_port=admin_port, admin_host="0.0.0.0", admin=admin)
        assert requests.get(f"http://{address}:{admin_port}/status", timeout=30).status_code == status
        assert requests.get(f"http://127.0.0.1:{admin_port}/status", timeout=30).status_code == 200
        assert ("clients of that address are refused" in server.log.read_text()) is (admin == "local")


def test_the_doctor_warns_of_an_admin_surface_that_others_can_reach(tmp_path: Path, home: Path) -> None:
    config = tmp_path / "config.json"

    def warns(**settings: Any) -> bool:
        config.write_text(json.dumps({"modules_info": {"shout": toy("shout")}, "port": free_port(), "admin": "any", **settings}))
        return "can load and unload models" in hub("doctor", config, home=home).stdout

    assert warns(host="0.0.0.0")
    assert not warns(host="0.0.0.0", admin_port=free_port())
    assert not warns(host="0.0.0.0", admin_socket="a.sock")
    assert warns(host="127.0.0.1", admin_port=free_port(), admin_host="0.0.0.0")


def test_models_are_loaded_at_the_admin_port_and_used_at_the_public_one(apart: Apart) -> None:
    with (
        tritonclient.http.InferenceServerClient(f"127.0.0.1:{apart.admin_port}", network_timeout=60) as over_http,
        tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{apart.admin_port}") as over_grpc,
        tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{apart.grpc_port}") as public,
    ):
        for admin in (over_http, over_grpc):
            admin.unload_model("double")
            assert not public.is_model_ready("double")
            admin.load_model("double")
            assert public.infer("double", [tensor("x", X)]).as_numpy("y").tolist() == (2 * X).tolist()
        assert over_grpc.infer("double", [tensor("x", X)]).as_numpy("y").tolist() == (2 * X).tolist()
        with pytest.raises(InferenceServerException):
            public.unload_model("double")


def test_shared_memory_is_used_where_it_is_registered_and_unknown_elsewhere(apart: Apart) -> None:
    key = f"/hubserve-{secrets.token_hex(6)}"
    handle = memory.create_shared_memory_region("mine", key, 32)
    try:
        memory.set_shared_memory_region(handle, [X])
        place = {"shared_memory_region": "mine", "shared_memory_byte_size": 16}
        document = {"inputs": [{**TENSOR, "parameters": place}]}
        path = "/v2/models/double/infer"
        register = f"{apart.admin_url}/v2/systemsharedmemory/region/mine/register"
        assert requests.post(register, json={"key": key, "byte_size": 32}, timeout=30).status_code == 200
        assert requests.post(apart.admin_url + path, json=document, timeout=30).json()["outputs"][0]["data"] == [2, 4, 6, 8]
        status, answer = over_socket(apart.admin_socket, "POST", path, document)
        assert (status, json.loads(answer)["outputs"][0]["data"]) == (200, [2, 4, 6, 8])
        refused = requests.post(apart.server.url + path, json=document, timeout=30)
        assert (refused.status_code, "shared memory is off" in refused.json()["error"]) == (501, True)
        sent = tritonclient.grpc.InferInput("x", [1, 4], "FP32")
        sent.set_shared_memory("mine", 16)
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{apart.admin_port}") as client:
            assert client.infer("double", [sent]).as_numpy("y").tolist() == (2 * X).tolist()
        with (
            tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{apart.grpc_port}") as client,
            pytest.raises(InferenceServerException, match="shared memory is off") as failed,
        ):
            client.infer("double", [sent])
        assert failed.value.status() == "StatusCode.UNIMPLEMENTED"
        assert requests.post(f"{apart.admin_url}/v2/systemsharedmemory/unregister", timeout=30).status_code == 200
    finally:
        memory.destroy_shared_memory_region(handle)


def test_admin_addresses_answer_what_the_public_port_answers(apart: Apart) -> None:
    for ask in (
        lambda method, path, document=None: requests.request(method, apart.admin_url + path, json=document, timeout=30).status_code,
        lambda method, path, document=None: over_socket(
            apart.admin_socket, method, path, document, **{"Content-Type": "application/json"} if document else {}
        )[0],
    ):
        assert ask("POST", "/predict/shout", {"text": "a"}) == 200
        assert ask("GET", "/health/ready") == 200
        assert ask("GET", "/metrics") == 200


def test_the_admin_port_is_not_for_web_pages_foreign_names_and_proxies(apart: Apart) -> None:
    asked = requests.get(f"{apart.admin_url}/status", headers={"Host": "evil.example"}, timeout=30)
    assert asked.status_code == 421
    assert requests.get(f"{apart.admin_url}/status", headers={"Origin": "http://evil.example"}, timeout=30).status_code == 403
    refused = requests.get(f"{apart.admin_url}/status", headers={"X-Forwarded-For": "203.0.113.9"}, timeout=30)
    assert (refused.status_code, "came through a proxy" in refused.json()["error"]) == (403, True)
    assert over_socket(apart.admin_socket, "GET", "/status", Via="1.1 proxy")[0] == 403


def test_the_socket_is_for_its_user_only(apart: Apart) -> None:
    assert stat.S_IMODE(apart.admin_socket.stat().st_mode) == 0o600
    done = subprocess.run(
        ["curl", "-sS", "--unix-socket", str(apart.admin_socket), "http://localhost/status"], capture_output=True, check=True
    )
    assert {each["name"] for each in json.loads(done.stdout)["modules"]} == {"shout", "double"}


def test_a_client_of_the_socket_that_ends_its_sending_half_gets_its_answer(apart: Apart) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(30)
        client.connect(str(apart.admin_socket))
        client.sendall(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\nGET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        received = b""
        while part := client.recv(1 << 16):
            received += part
    assert received.count(b"HTTP/1.1 200") == 2


def test_hubs_commands_find_the_server_and_its_socket_goes_with_it(start: Start, home: Path, tmp_path: Path) -> None:
    server = start({"shout": toy("shout")}, admin_socket="own.sock")
    own = tmp_path / "own.sock"
    assert own.is_socket()
    assert requests.get(f"{server.url}/status", timeout=30).status_code == 404
    status = hub("serving", "status", "-p", server.port, "--json", home=home)
    assert [each["name"] for each in json.loads(status.stdout)["modules"]] == ["shout"]
    assert hub("serving", "reload", "-p", server.port, home=home).returncode == 0
    assert hub("serving", "stop", "-p", server.port, home=home).returncode == 0
    assert server.process.wait(60) == 0
    assert not own.exists()


def test_a_socket_left_behind_is_replaced_and_one_in_use_or_another_file_is_not(start: Start, home: Path, tmp_path: Path) -> None:
    first = start({"shout": toy("shout")}, admin_socket="own.sock")
    (tmp_path / "other").mkdir()
    for path, reason in ((tmp_path / "own.sock", "another program listens"), (tmp_path / "other", "no socket")):
        second = hub("serving", "start", "-m", toy("shout")["init_args"]["directory"], "-p", free_port(), "--admin-socket", path, home=home)
        assert second.returncode != 0
        assert reason in second.stderr
    assert over_socket(tmp_path / "own.sock", "GET", "/status")[0] == 200
    first.process.kill()
    first.process.wait(60)
    assert (tmp_path / "own.sock").is_socket()
    start({"shout": toy("shout")}, admin_socket="own.sock")
    assert over_socket(tmp_path / "own.sock", "GET", "/status")[0] == 200


def test_the_admin_port_is_encrypted_where_http_is(start: Start, tmp_path: Path) -> None:
    authority = Authority(tmp_path / "authority")
    authority.write(tmp_path, "server")
    admin_port, grpc_port = free_port(), free_port()
    tls = {"tls_cert": "server.pem", "tls_key": "server.key"}
    server = start({"shout": toy("shout")}, wait=False, admin_port=admin_port, grpc_port=grpc_port, admin_socket="own.sock", **tls)
    server.url = f"https://127.0.0.1:{server.port}"
    os.environ["REQUESTS_CA_BUNDLE"] = str(authority.file)
    try:
        server.wait_until_ready()
        assert requests.get(f"https://127.0.0.1:{admin_port}/status", timeout=30).status_code == 200
        assert requests.get(f"http://127.0.0.1:{admin_port}/status", timeout=30).status_code == 400
        with tritonclient.grpc.InferenceServerClient(f"localhost:{admin_port}", ssl=True, root_certificates=str(authority.file)) as client:
            assert [each.name for each in client.get_model_repository_index().models] == ["shout"]
        assert over_socket(tmp_path / "own.sock", "GET", "/status")[0] == 200
    finally:
        del os.environ["REQUESTS_CA_BUNDLE"]


def test_flask_applications_have_no_admin_surface_if_it_has_its_own_address(home: Path) -> None:
    config = {"modules_info": {"shout": toy("shout")}, "admin_port": 0}
    blueprint = hubserve.flask.blueprint(config=config, pages=True)
    application = flask.Flask("test")
    application.register_blueprint(blueprint)
    try:
        client = application.test_client()
        assert client.post("/predict/shout", json={"text": "a"}).json["results"] == "A!"
        for path, unknown in UNKNOWN.items():
            for method in ("GET", "POST"):
                answers = [client.open(each, method=method) for each in (path, unknown)]
                assert answers[0].status_code == 404
                assert answers[0].data.replace(path.encode(), b"") == answers[1].data.replace(unknown.encode(), b"")
    finally:
        blueprint.close()


@pytest.mark.parametrize("key", ["port", "grpc_port", "metrics_port"])
def test_the_port_of_the_admin_surface_is_its_own(key: str) -> None:
    with pytest.raises(ConfigError, match=f"'admin_port' and '{key}' are both 8001"):
        parse_settings({"modules_info": {"shout": {}}, key: 8001, "admin_port": 8001}, "test")


@pytest.mark.parametrize("setting", [{"admin_port": 0}, {"admin_socket": "a.sock"}])
def test_an_address_for_an_admin_surface_that_is_off_is_a_contradiction(home: Path, tmp_path: Path, setting: dict[str, Any]) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"modules_info": {"shout": toy("shout")}, "port": 0, "admin": "off", **setting}))
    done = hub("serving", "start", "-c", config, home=home)
    assert done.returncode != 0
    assert f"'{next(iter(setting))}' is set, and admin is 'off'" in done.stderr


def test_every_call_of_the_protocol_is_public_or_of_the_admin_surface() -> None:
    public = {"ServerLive", "ServerReady", "ModelReady", "ServerMetadata", "ModelMetadata", "ModelConfig", "ModelStatistics"}
    inference = {"ModelInfer", "ModelStreamInfer"}
    methods = {each.name for each in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods}
    assert methods == public | inference | ADMIN_CALLS

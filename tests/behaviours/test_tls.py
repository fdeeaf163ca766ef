"""TLS on the HTTP port, alone and shared with gRPC: clients, certificates of clients, files that change, and clients that misbehave."""

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from tests.behaviours.certificates import Authority
from tests.behaviours.grpc_clients import tensor
from tests.conftest import Server, Start, hub, servers, toy, wait_for
from tests.ports import free_port

ONES = np.ones((1, 3), np.float32)
LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def start_with_tls(start: Start, folder: Path, authority: Authority, **settings: object) -> Server:
    """A server whose HTTP port speaks TLS."""
    authority.write(folder, "server")
    server = start({name: toy(name) for name in ("shout", "doubler")}, wait=False, tls_cert="server.pem", tls_key="server.key", **settings)
    server.url = f"https://127.0.0.1:{server.port}"
    return server


@contextlib.contextmanager
def trusting(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
        yield


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def served(shared_home: Path, tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Server]:
    """HTTP and gRPC on one encrypted port."""
    folder = tmp_path_factory.mktemp("tls")
    port = free_port()
    with servers(shared_home, folder) as start, pytest.MonkeyPatch.context() as patch, trusting(authority, patch):
        yield start_with_tls(start, folder, authority, port=port, grpc_port=port).wait_until_ready()


def connect(server: Server, authority: Authority, **options: object) -> ssl.SSLSocket:
    context = authority.client(**options)
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    return context.wrap_socket(raw, server_hostname="localhost")


def read_all(connection: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            received += part
    return received


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_clients_of_both_versions_of_tls_are_answered(served: Server, authority: Authority, version: ssl.TLSVersion) -> None:
    with connect(served, authority, version=version) as client:
        for _ in range(3):
            client.sendall(LIVE)
            assert client.recv(1000).startswith(b"HTTP/1.1 200")


def test_sessions_are_resumed(served: Server, authority: Authority) -> None:
    context = authority.client(version=ssl.TLSVersion.TLSv1_2)
    session = None
    for is_again in (False, True):
        raw = socket.create_connection(("127.0.0.1", served.port), timeout=20)
        with context.wrap_socket(raw, server_hostname="localhost", session=session) as client:
            assert client.session_reused is is_again
            session = client.session


def test_all_protocols_answer_on_one_port(served: Server, authority: Authority) -> None:
    assert (
        requests.post(f"{served.url}/predict/shout", json={"text": "a"}, verify=str(authority.file), timeout=20).json()["status"] == "000"
    )
    options = {"ssl": True, "ssl_options": {"ca_certs": str(authority.file)}}
    with triton_http.InferenceServerClient(f"localhost:{served.port}", **options) as client:
        sent = triton_http.InferInput("x", [1, 3], "FP32")
        sent.set_data_from_numpy(ONES)
        assert (client.infer("doubler", [sent]).as_numpy("y") == 2 * ONES).all()
    with triton_grpc.InferenceServerClient(f"localhost:{served.port}", ssl=True, root_certificates=str(authority.file)) as client:
        assert (client.infer("doubler", [tensor("x", ONES)]).as_numpy("y") == 2 * ONES).all()


@pytest.mark.parametrize(("offered", "chosen"), [(["h2", "http/1.1"], "http/1.1"), (["h2"], "h2"), ([], None)])
def test_clients_that_speak_both_get_the_version_of_http_that_has_all_protocols(
    served: Server, authority: Authority, offered: list[str], chosen: str | None
) -> None:
    with connect(served, authority, alpn=offered) as client:
        assert client.selected_alpn_protocol() == chosen


def test_http_2_is_recognised_without_alpn(served: Server, authority: Authority) -> None:
    with connect(served, authority) as client:
        client.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
        assert client.recv(1000)[3] == 4, "the first frame is SETTINGS"


def test_a_large_body_arrives_whole_and_comes_back(served: Server, authority: Authority) -> None:
    array = np.arange(1 << 20, dtype=np.float32).reshape(1, -1)
    with triton_http.InferenceServerClient(
        f"localhost:{served.port}", ssl=True, ssl_options={"ca_certs": str(authority.file)}, network_timeout=60
    ) as client:
        sent = triton_http.InferInput("x", list(array.shape), "FP32")
        sent.set_data_from_numpy(array)
        assert (client.infer("doubler", [sent]).as_numpy("y") == 2 * array).all()


def test_a_request_that_is_not_encrypted_is_answered_with_the_remedy(served: Server) -> None:
    answer = requests.get(f"http://127.0.0.1:{served.port}/health/live", timeout=20)
    assert answer.status_code == 400
    assert "use https://" in answer.text


def test_a_tls_client_of_a_plain_port_is_closed(toys: Server) -> None:
    with socket.create_connection(("127.0.0.1", toys.port), timeout=20) as raw, pytest.raises((ssl.SSLError, ConnectionError)):
        ssl.create_default_context().wrap_socket(raw, server_hostname="localhost")


def test_a_body_that_is_cut_off_is_no_request_and_the_server_serves_on(served: Server, authority: Authority) -> None:
    before = served.status("shout")["requests"]
    client = connect(served, authority)
    client.sendall(b'POST /predict/shout HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{"te')
    with socket.socket(fileno=client.detach()) as raw:  # the end comes without TLS's own
        raw.settimeout(20)
        raw.shutdown(socket.SHUT_WR)
        assert b"000" not in read_all(raw)
    assert served.status("shout")["requests"] == before
    assert served.results("shout", text="b")


def test_a_client_that_ends_its_sending_half_gets_its_answer(served: Server, authority: Authority) -> None:
    with connect(served, authority) as client:
        client.sendall(
            b"POST /predict/shout HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n" + b'{"text":"a"}'
        )
        socket.socket.shutdown(client, socket.SHUT_WR)
        assert b'"status":"000"' in read_all(client)


def test_a_malformed_request_is_refused_and_the_connection_ends(served: Server, authority: Authority) -> None:
    with connect(served, authority) as client:
        client.sendall(b"NONSENSE\r\n\r\n" + b"x" * 100_000)
        assert read_all(client).startswith(b"HTTP/1.1 400")


def test_garbage_and_stalled_handshakes_stop_no_other_client(served: Server) -> None:
    stalled = []
    for number in range(300):
        client = socket.create_connection(("127.0.0.1", served.port), timeout=20)
        with contextlib.suppress(ConnectionError):
            client.sendall(b"\x16\x03\x01\x02" + os.urandom(60) if number % 2 else os.urandom(40))
        stalled.append(client)
    assert served.results("shout", text="b")
    for client in stalled:
        client.close()


def test_client_certificates_are_required_and_known_to_applications(
    start: Start, tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(authority.file, tmp_path / "ca.pem")
    server = start_with_tls(start, tmp_path, authority, tls_client_ca="ca.pem")
    own, foreign = authority.write(tmp_path, "alice"), Authority(tmp_path / "foreign").write(tmp_path, "mallory")
    url = f"https://127.0.0.1:{server.port}/predict/shout"

    def ask(certificate: tuple[str, str] | None) -> requests.Response:
        return requests.post(url, json={"text": "a"}, cert=certificate, verify=str(authority.file), timeout=20)

    def answers() -> bool:
        with contextlib.suppress(requests.ConnectionError):
            return ask(own).json()["status"] == "000"
        return False

    wait_for(answers)
    for refused in (None, foreign):
        with pytest.raises((requests.exceptions.SSLError, requests.ConnectionError)):
            ask(refused)
    assert ask(own).json()["status"] == "000"


def test_changed_certificates_are_used_without_a_lost_request(start: Start, tmp_path: Path, authority: Authority) -> None:
    """As a secret of Kubernetes changes: the folder is a symbolic link that is replaced."""
    for number in (1, 2):
        (tmp_path / f"v{number}").mkdir()
        authority.write(tmp_path / f"v{number}", "server")
    (tmp_path / "current").symlink_to("v1")
    server = start({"shout": toy("shout")}, wait=False, tls_cert="current/server.pem", tls_key="current/server.key")
    server.url = f"https://127.0.0.1:{server.port}"
    wait_for(lambda: answered(server, authority))
    first = serial(server, authority)
    stopped, failures, done = threading.Event(), [], []

    def load(reconnects: bool) -> None:
        with requests.Session() as own:
            while not stopped.is_set():
                send = requests.post if reconnects else own.post
                try:
                    answer = send(f"{server.url}/predict/shout", json={"text": "a"}, verify=str(authority.file), timeout=20)
                    done.append(answer.json()["status"])
                except Exception as error:
                    failures.append(error)

    threads = [threading.Thread(target=load, args=(each,)) for each in (False, True)]
    for each in threads:
        each.start()
    (tmp_path / "next").symlink_to("v2")
    (tmp_path / "next").rename(tmp_path / "current")
    wait_for(lambda: serial(server, authority) != first)
    stopped.set()
    for each in threads:
        each.join()
    assert not failures
    assert set(done) == {"000"}


def test_a_pair_that_does_not_fit_is_not_used(start: Start, tmp_path: Path, authority: Authority, home: Path) -> None:
    server = start_with_tls(start, tmp_path, authority)
    wait_for(lambda: answered(server, authority))
    first = serial(server, authority)
    (tmp_path / "new").mkdir()
    authority.write(tmp_path / "new", "server")
    shutil.copy(tmp_path / "new" / "server.pem", tmp_path / "server.pem")
    said = hub("serving", "reload", "-p", server.port, home=home)
    assert said.returncode != 0
    assert "the last good certificate stays in use" in said.stderr
    assert serial(server, authority) == first
    shutil.copy(tmp_path / "new" / "server.key", tmp_path / "server.key")
    assert hub("serving", "reload", "-p", server.port, home=home).returncode == 0
    assert serial(server, authority) != first


def answered(server: Server, authority: Authority) -> bool:
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(f"{server.url}/health/ready", verify=str(authority.file), timeout=20).status_code == 200
    return False


def serial(server: Server, authority: Authority) -> str:
    with connect(server, authority) as client:
        return str(client.getpeercert()["serialNumber"])


def test_curl_and_openssl_speak_with_the_server(served: Server, authority: Authority) -> None:
    done = subprocess.run(
        ["curl", "-sS", "--cacert", str(authority.file), f"https://127.0.0.1:{served.port}/health/live"], capture_output=True, check=True
    )
    assert json.loads(done.stdout) == {"live": True}
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{served.port}", "-CAfile", str(authority.file), "-brief"]
    done = subprocess.run(command, input=b"", capture_output=True, check=True, timeout=30)
    assert b"Verification: OK" in done.stderr


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"tls_cert": "cert.pem"}, "'tls_cert' is set but 'tls_key' is not"),
        ({"tls_client_ca": "cert.pem"}, "'tls_client_ca' is set but 'tls_cert' is not"),
        ({"tls_cert": "none.pem", "tls_key": "none.pem"}, "are not PEM files of a certificate and its key (No such file"),
        ({"tls_cert": "a.pem", "tls_key": "b.key"}, "the key is not the certificate's"),
        ({"tls_cert": "a.pem", "tls_key": "a.key", "tls_client_ca": "config.json"}, "is not a PEM file of certificates of authorities"),
        ({"tls_cert": "a.pem", "tls_key": "locked.key"}, "is encrypted"),
    ],
)
def test_files_that_cannot_be_used_are_reported_before_anything_is_loaded(
    home: Path, tmp_path: Path, authority: Authority, settings: dict[str, object], said: str
) -> None:
    for name in ("a", "b"):
        authority.write(tmp_path, name)
    (tmp_path / "locked.key").write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"modules_info": {"doubler": toy("doubler")}, "port": 0, **settings}))
    done = hub("serving", "start", "-c", config, home=home)
    assert done.returncode != 0
    assert said in done.stderr
    assert "loading" not in done.stderr

"""hubserve behind a real nginx, with the configurations of docs/nginx.md as they stand there, but for ports and files."""

import contextlib
import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import numpy as np
import pytest
import requests
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from tests.conftest import ROOT, Server, free_port, servers, toy
from tests.operations.programs import program
from tests.triton_models import write_scale

PAGE = (ROOT / "docs" / "nginx.md").read_text("utf-8")
HTTP, GRPC, TLS = re.findall(r"```nginx\n(.*?)```", PAGE, re.DOTALL)
CONFIG = json.loads(re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)[1])  # type: ignore[index]
ROWS = np.array([[1, 2, 3, 4]], np.float32)
#: longer than the keep-alive of the page's upstream, and than hubserve's own
PAUSES_S = (11, 16)


class Nginx:
    """A real nginx with one configuration, as an ordinary process in a folder of its own.

    Attributes:
        port: that it listens on.
    """

    def __init__(self, text: str, folder: Path, upstreams: dict[int, int], certificate: tuple[Path, Path] | None = None) -> None:
        self.port, self._folder = free_port(), folder
        folder.mkdir()
        for shown, real in upstreams.items():
            text = text.replace(f"127.0.0.1:{shown}", f"127.0.0.1:{real}")
        text, count = re.subn(r"listen \d+", f"listen 127.0.0.1:{self.port}", text)
        assert count == 1
        for shown_file, real_file in zip(("/etc/ssl/ml.example.com.pem", "/etc/ssl/ml.example.com.key"), certificate or (), strict=False):
            text = text.replace(shown_file, str(real_file))
        own = "\n".join(f"    {name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        user = "user root; " if os.geteuid() == 0 else ""  # workers may not enter a folder of pytest's otherwise
        (folder / "nginx.conf").write_text(
            f"{user}daemon off; pid {folder}/pid; error_log {folder}/error.log info;\n"
            + text.replace("http {", f"http {{\n    access_log {folder}/access.log;\n{own}", 1)
        )
        command = [program("nginx"), "-p", str(folder), "-c", str(folder / "nginx.conf")]
        checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        assert checked.returncode == 0, checked.stderr
        self._process = subprocess.Popen(command)
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise AssertionError((folder / "error.log").read_text())

    @property
    def errors(self) -> list[str]:
        """The lines of its error log that are no mere notes."""
        lines = (self._folder / "error.log").read_text().splitlines()
        return [line for line in lines if re.search(r"\[(warn|error|crit|alert|emerg)\]", line)]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(30)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("nginx")
    write_scale(made / "models", "double")
    return made


@pytest.fixture(scope="module")
def server(shared_home: Path, folder: Path) -> Iterator[Server]:
    program("nginx")
    settings = {name: value for name, value in CONFIG.items() if name not in ("modules_info", "port", "grpc_port")}
    settings["allowed_hosts"] = [*settings["allowed_hosts"], "x"]
    with servers(shared_home, folder) as start:
        modules = {"shout": toy("shout"), "sizes": toy("sizes"), "paged": toy("paged")}
        grpc = free_port()
        started = start(modules, grpc_port=grpc, model_store=[str(folder / "models")], **settings)
        started.grpc_port = grpc  # type: ignore[attr-defined]
        yield started


@contextlib.contextmanager
def running(text: str, folder: Path, name: str, server: Any, certificate: tuple[Path, Path] | None = None) -> Iterator[Nginx]:
    nginx = Nginx(text, folder / name, {8866: server.port, 8867: server.grpc_port}, certificate)
    try:
        yield nginx
    finally:
        nginx.stop()


@pytest.fixture(scope="module")
def http(server: Server, folder: Path) -> Iterator[Nginx]:
    with running(HTTP, folder, "http", server) as nginx:
        yield nginx


@pytest.fixture(scope="module")
def grpc(server: Server, folder: Path) -> Iterator[Nginx]:
    with running(GRPC, folder, "grpc", server) as nginx:
        yield nginx


def address(nginx: Nginx, path: str = "") -> str:
    return f"http://localhost:{nginx.port}/models{path}"


def scale_input(module: Any) -> list[Any]:
    tensor = module.InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(ROWS)
    return [tensor]


def test_the_page_shows_the_settings_of_its_configurations() -> None:
    assert (CONFIG["port"], CONFIG["grpc_port"], CONFIG["root_path"]) == (8866, 8867, "/models")
    assert "location /models/" in HTTP


def test_clients_use_the_sub_path(http: Nginx) -> None:
    assert requests.get(address(http, "/health/ready"), timeout=30).json()["ready"] is True
    assert requests.post(address(http, "/predict/shout"), json={"text": "hi"}, timeout=30).json()["results"] == "HI!"
    client = tritonclient.http.InferenceServerClient(f"localhost:{http.port}/models")
    assert client.infer("double", scale_input(tritonclient.http)).as_numpy("y").tolist() == [[2, 4, 6, 8]]
    assert requests.get(f"http://localhost:{http.port}/predict/shout", timeout=30).headers["Server"].startswith("nginx")
    assert requests.get(f"http://localhost:{http.port}/predict/shout", timeout=30).status_code in (403, 404), "not passed on"


def test_a_path_that_nginx_cuts_off_is_added_to_links_again(server: Server, folder: Path) -> None:
    cut = HTTP.replace("proxy_pass http://hubserve;", "proxy_pass http://hubserve/;")
    assert cut != HTTP
    with running(cut, folder, "cut", server) as nginx:
        assert requests.post(address(nginx, "/predict/shout"), json={"text": "hi"}, timeout=30).json()["results"] == "HI!"
        answer = requests.get(address(nginx, "/gradio/paged"), timeout=60, allow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (302, "/models/gradio/paged/app")
        assert requests.get(address(nginx, "/gradio/paged"), timeout=60).status_code == 200


@pytest.mark.parametrize("cuts", [False, True])
def test_pages_load_their_files_and_lead_on_below_the_sub_path(http: Nginx, server: Server, folder: Path, cuts: bool) -> None:
    cut = HTTP.replace("proxy_pass http://hubserve;", "proxy_pass http://hubserve/;")
    with running(cut, folder, "pages", server) if cuts else contextlib.nullcontext(http) as nginx:
        led = requests.get(address(nginx, "/predict/shout"), headers={"Accept": "text/html"}, timeout=30)
        assert led.url == address(nginx, "/docs#module/shout")
        for page in (led, requests.get(address(nginx, "/"), timeout=30)):
            loaded = [each for each in re.findall(r'(?:href|src)="([^"?#]*)', page.text) if each and not each.startswith("data:")]
            assert len(loaded) > 3
            for each in loaded:
                found = requests.get(urljoin(page.url, each), timeout=30)
                assert (found.status_code, each.startswith("/models/")) == (200, True), each
        assert requests.get(address(nginx, "/openapi.json"), timeout=30).json()["servers"] == [{"url": "/models"}]


def test_the_public_name_is_accepted_and_others_are_not(http: Nginx) -> None:
    for name, status in (("ml.example.com", 200), ("evil.example", 421)):
        assert requests.get(address(http, "/health/live"), headers={"Host": name}, timeout=30).status_code == status


def test_the_admin_surface_is_closed_and_says_which_client_it_sees(http: Nginx, server: Server) -> None:
    for invented in (None, "127.0.0.1", "203.0.113.9, ::1"):
        headers = {"X-Forwarded-For": invented} if invented else {}
        answer = requests.get(address(http, "/status"), headers=headers, timeout=30)
        assert answer.status_code == 403, answer.text
    assert requests.get(f"{server.url}/status", timeout=30).status_code == 200


def test_connections_to_the_server_are_kept_and_never_used_while_they_close(http: Nginx) -> None:
    before = len(http.errors)

    def post(_: int) -> int:
        return requests.post(address(http, "/predict/shout"), json={"text": "hi"}, timeout=30).status_code

    with ThreadPoolExecutor(8) as pool:
        for pause_s in (0, *PAUSES_S):
            time.sleep(pause_s)
            assert set(pool.map(post, range(200))) == {200}
    assert http.errors[before:] == []


def test_large_bodies_pass_and_larger_ones_are_refused(http: Nginx) -> None:
    text = "a" * (30 << 20)
    answer = requests.post(address(http, "/predict/shout"), json={"text": text}, timeout=120).json()
    assert answer["results"] == text.upper() + "!"
    head = f"POST /models/predict/shout HTTP/1.1\r\nHost: localhost\r\nContent-Length: {65 << 20}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", http.port), 30) as client:
        client.sendall(head.encode())
        assert client.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_stream_arrives_as_it_is_made(http: Nginx) -> None:
    with requests.post(address(http, "/v2/models/double/generate_stream"), json={"x": [1, 2, 3, 4]}, stream=True, timeout=60) as answer:
        assert answer.status_code == 200, answer.text
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        events = [line for line in answer.iter_lines() if line]
    assert len(events) == 1
    assert events[0].startswith(b"data: ")


def test_a_page_with_a_redirect_and_a_websocket_opens(http: Nginx) -> None:
    answer = requests.get(address(http, "/gradio/paged"), timeout=60)
    assert answer.status_code == 200
    assert answer.url.endswith("/models/gradio/paged/app")


def test_the_servers_pages_have_security_headers_and_work_under_the_sub_path(http: Nginx) -> None:
    page = requests.get(address(http, "/"), timeout=30)
    assert page.status_code == 200
    for name in ("Content-Security-Policy", "X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy"):
        assert page.headers[name]
    links = re.findall(r'(?:href|src)="([^"#]*)"', page.text)
    assert links
    for link in links:
        if not re.match(r"https?:|data:", link):
            linked = requests.get(requests.compat.urljoin(page.url, link), timeout=30)
            assert linked.status_code in (200, 403), f"{link}: {linked.status_code}"
            assert linked.url.startswith(address(http)), linked.url


def test_grpc_passes_with_streams_and_errors(grpc: Nginx) -> None:
    client = tritonclient.grpc.InferenceServerClient(f"localhost:{grpc.port}")
    assert client.is_server_ready()
    assert client.infer("double", scale_input(tritonclient.grpc)).as_numpy("y").tolist() == [[2, 4, 6, 8]]
    answers: list[Any] = []
    client.start_stream(lambda result, error: answers.append(error or result))
    for _ in range(20):
        client.async_stream_infer("double", scale_input(tritonclient.grpc))
    client.stop_stream()
    assert [each.as_numpy("y").tolist() for each in answers] == [[[2, 4, 6, 8]]] * 20
    with pytest.raises(InferenceServerException, match="nothing"):
        client.infer("nothing", scale_input(tritonclient.grpc))
    client.close()


def test_the_admin_surface_over_grpc_is_closed(grpc: Nginx) -> None:
    client = tritonclient.grpc.InferenceServerClient(f"localhost:{grpc.port}")
    with pytest.raises(InferenceServerException, match="through a proxy"):
        client.get_model_repository_index()
    client.close()


def test_tls_ends_at_nginx_for_http_and_grpc(server: Server, folder: Path) -> None:
    pem, key = folder / "tls.pem", folder / "tls.key"
    subprocess.run(
        [
            program("openssl"),
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
            str(key),
            "-out",
            str(pem),
        ],
        check=True,
        capture_output=True,
    )
    with running(TLS, folder, "tls", server, (pem, key)) as nginx:
        url = f"https://localhost:{nginx.port}/models"
        answer = requests.post(f"{url}/predict/shout", json={"text": "hi"}, verify=str(pem), timeout=30)
        assert answer.json()["results"] == "HI!"
        page = requests.get(f"{url}/", headers={"Origin": f"https://localhost:{nginx.port}"}, verify=str(pem), timeout=30)
        assert page.headers["Strict-Transport-Security"]
        client = tritonclient.grpc.InferenceServerClient(f"localhost:{nginx.port}", ssl=True, root_certificates=str(pem))
        assert client.infer("double", scale_input(tritonclient.grpc)).as_numpy("y").tolist() == [[2, 4, 6, 8]]
        client.close()

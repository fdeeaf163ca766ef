"""URLs that clients send, and scripts fetch."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import requests

from tests.behaviours.tiinfer.conftest import script
from tests.conftest import Server, servers

REFUSED = "this server does not fetch from"


class Site(BaseHTTPRequestHandler):
    """Answers ``/page`` by a text, ``/to/<url>`` by a redirection."""

    def do_GET(self) -> None:
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"page")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()


@pytest.fixture(scope="module")
def both(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers(shared_home, tmp_path_factory.mktemp("fetches")) as start:
        yield start({"closed": script("fetches"), "local": script("fetches", allowed_addresses=["127.0.0.1"])})


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/page",
        "http://localhost:{port}/page",
        "http://[::1]:{port}/page",
        "http://0.0.0.0:{port}/page",
        "http://2130706433:{port}/page",
        "http://[::ffff:127.0.0.1]:{port}/page",
        "http://169.254.169.254/latest/meta-data",
        "https://127.0.0.1:{port}/page",
    ],
)
def test_nothing_is_fetched_unless_the_operator_allows_it(both: Server, site: int, url: str) -> None:
    answer = both.results("closed", url=url.format(port=site))
    assert answer["error"] == "preprocess failed"
    assert REFUSED in answer["message"]


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x"])
def test_only_http_is_fetched(both: Server, url: str) -> None:
    assert "unknown url type" in both.results("local", url=url)["message"]


def test_an_allowed_address_is_fetched(both: Server, site: int) -> None:
    assert both.results("local", url=f"http://127.0.0.1:{site}/page") == {"text": "page"}


def test_a_redirection_leads_to_allowed_addresses_only(both: Server, site: int) -> None:
    here = f"http://127.0.0.1:{site}"
    assert both.results("local", url=f"{here}/to/{here}/page") == {"text": "page"}
    assert REFUSED in both.results("local", url=f"{here}/to/http://169.254.169.254/latest")["message"]


def test_a_wrong_rule_is_refused_with_an_example(shared_home: Path, tmp_path: Path) -> None:
    with servers(shared_home, tmp_path) as start:
        server = start({"x": script("fetches", allowed_addresses=["http://a.example/x"])}, wait=False)
        assert server.process.wait(60) != 0
        assert "'pictures.example.com'" in server.log.read_text()
    assert requests.__name__

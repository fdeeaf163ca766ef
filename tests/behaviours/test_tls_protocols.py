"""Protocols and limits of an encrypted port that need a whole server: pages of modules, and what the handshakes of one address may cost."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
import requests

from tests.behaviours import test_gradio as pages
from tests.behaviours.certificates import Authority
from tests.conftest import Server, Start, servers, toy, wait_for


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(shared_home: Path, tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("tls")
    authority.write(folder, "server")
    with servers(shared_home, folder) as start, pytest.MonkeyPatch.context() as patch:
        patch.setenv("REQUESTS_CA_BUNDLE", str(authority.file))
        modules = {"paged": toy("paged", suffix="?"), "shout": toy("shout")}
        found = start(modules, wait=False, workers=1, max_body_bytes=100_000, tls_cert="server.pem", tls_key="server.key")
        found.url = f"https://127.0.0.1:{found.port}"
        yield found.wait_until_ready()


# these are the tests of pages without TLS
test_pages = pages.test_the_page_is_at_paddlehubs_address_and_runs_beside_the_instance_with_the_modules_arguments
test_paths_queries_and_statuses = pages.test_paths_queries_and_statuses_pass_as_they_are
test_events = pages.test_events_arrive_as_they_are_sent
test_foreign_pages_and_large_bodies = pages.test_foreign_pages_names_and_large_bodies_are_refused_as_elsewhere
test_a_page_that_breaks_off = pages.test_a_page_that_breaks_off_or_dies_harms_itself_only


def test_websockets_pass_in_both_directions(server: Server, authority: Authority) -> None:
    texts = ["a", "b" * 100, "é"]

    async def talk() -> list[str]:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=authority.client())) as session,
            session.ws_connect(f"{server.url}/gradio/paged/ws") as ws,
        ):
            answers = []
            for text in texts:
                await ws.send_str(text)
                answers.append((await ws.receive(timeout=30)).data)
            return answers

    assert asyncio.run(talk()) == [text.upper() if text.isascii() else text for text in texts]


def test_a_client_that_leaves_ends_its_stream(server: Server, authority: Authority) -> None:
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    with authority.client().wrap_socket(raw, server_hostname="localhost") as client:
        client.sendall(b"GET /gradio/paged/watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" in client.recv(100)
        assert requests.get(server.url + "/gradio/paged/left", timeout=60).text == "no"
    wait_for(lambda: requests.get(server.url + "/gradio/paged/left", timeout=60).text == "yes")


def shakes_hands(server: Server, context: ssl.SSLContext, address: str) -> bool:
    """Connect from an address; return whether the server completes the handshake."""
    raw = socket.create_connection(("127.0.0.1", server.port), timeout=20, source_address=(address, 0))
    with raw, contextlib.suppress(OSError):
        context.wrap_socket(raw, server_hostname="localhost").close()
        return True
    return False


def test_handshakes_of_one_address_do_not_delay_others_and_are_counted(start: Start, tmp_path: Path, authority: Authority) -> None:
    authority.write(tmp_path, "server", costly=True)
    context = authority.client()
    tls = {"tls_cert": "server.pem", "tls_key": "server.key", "tls_handshake_share": 1e-6, "client_timeout_s": 5}
    server = start({"shout": toy("shout")}, wait=False, **tls)
    server.url = f"https://127.0.0.1:{server.port}"

    def metrics() -> str:
        with requests.Session() as session, contextlib.suppress(requests.ConnectionError):
            session.mount("https://", SourceAddress())
            return session.get(f"{server.url}/metrics", verify=str(authority.file), timeout=20).text
        return ""

    wait_for(metrics)
    wait_for(lambda: not shakes_hands(server, context, "127.0.0.1"))
    for _ in range(5):
        assert shakes_hands(server, context, "127.0.0.3")
    wait_for(lambda: 'hubserve_tls_handshakes_total{result="rate"}' in metrics())
    assert "handshakes of the address 127.0.0.1 are delayed" in server.log.read_text()


class SourceAddress(requests.adapters.HTTPAdapter):
    """Connect from 127.0.0.2."""

    def init_poolmanager(self, *args: object, **options: object) -> None:
        super().init_poolmanager(*args, source_address=("127.0.0.2", 0), **options)  # type: ignore[arg-type]

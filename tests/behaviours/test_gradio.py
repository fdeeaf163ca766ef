"""``/gradio/<module>``: pages of modules, each in a process of its own, passed on by the server."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests

from tests.conftest import Server, Start, hub, servers, toy, wait_for


@pytest.fixture(scope="module")
def server(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers(shared_home, tmp_path_factory.mktemp("gradio")) as start:
        yield start({"paged": toy("paged", suffix="?"), "shout": toy("shout")}, workers=1, max_body_bytes=100_000)


def about(server: Server, **options: Any) -> dict[str, Any]:
    answer = requests.get(server.url + "/gradio/paged/app", timeout=60, **options)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_the_page_is_at_paddlehubs_address_and_runs_beside_the_instance_with_the_modules_arguments(server: Server) -> None:
    first = requests.get(server.url + "/gradio/paged", timeout=60, allow_redirects=False)
    assert (first.status_code, first.headers["Location"]) == (302, "/gradio/paged/app")
    page = requests.get(server.url + "/gradio/paged", timeout=60)
    seen = page.json()
    assert page.headers["Content-Type"] == "text/html"
    assert page.cookies["session"] == "1"
    assert (seen["root"], seen["host"], seen["cwd"]) == ("/gradio/paged", f"127.0.0.1:{server.port}", [])
    assert seen["pid"] not in [server.process.pid, *server.instance_pids("paged")]
    assert requests.get(server.url + "/gradio/paged/", timeout=60).json() == seen
    sent = requests.post(server.url + "/gradio/paged/run/predict", json={"data": ["a", "b"]}, timeout=60)
    assert sent.json() == {"data": ["A?", "B?"]}
    assert server.results("paged", text="a") == "A?"


def test_paths_queries_and_statuses_pass_as_they_are(server: Server) -> None:
    odd = requests.get(server.url + "/gradio/paged/file=a%20b/%E4%B8%AD/..%2Fx?q=%2F&r", timeout=60)
    assert (odd.status_code, odd.text) == (404, "/file=a%20b/%E4%B8%AD/..%2Fx?q=%2F&r")
    assert requests.head(server.url + "/gradio/paged/app", timeout=60).status_code == 200
    parts = requests.post(server.url + "/gradio/paged/run/predict", data=iter([b'{"data": ', b'["a"]}']), timeout=60)
    assert parts.json() == {"data": ["A?"]}
    for size in (256, 1 << 20, 3 << 20):
        content = requests.get(f"{server.url}/gradio/paged/large?{size}", timeout=60).content
        assert content == bytes(range(256)) * (size // 256)


def test_events_arrive_as_they_are_sent(server: Server) -> None:
    with requests.get(server.url + "/gradio/paged/events", stream=True, timeout=60) as events:
        lines = events.iter_lines()
        assert next(lines) == b"data: first"
        requests.get(server.url + "/gradio/paged/go", timeout=60)
        assert [line for line in lines if line] == [b"data: second"]


def test_websockets_pass_in_both_directions(server: Server) -> None:
    async def talk() -> list[str]:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{server.url}/gradio/paged/ws") as ws:
            answers = []
            for text in ("a", "b" * 100, "\u00e9"):
                await ws.send_str(text)
                answers.append((await ws.receive(timeout=30)).data)
            return answers

    assert asyncio.run(talk()) == ["A", "B" * 100, "\u00e9"]

    async def refused() -> int:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(f"{server.url}/gradio/paged/ws", headers={"Origin": "http://evil.example"})
            return caught.value.status

    assert asyncio.run(refused()) == 403
    assert requests.get(server.url + "/health/ready", timeout=10).status_code == 200


def test_foreign_pages_names_and_large_bodies_are_refused_as_elsewhere(server: Server) -> None:
    assert requests.get(server.url + "/gradio/paged/app", headers={"Host": "evil.example"}, timeout=60).status_code == 421
    assert requests.post(server.url + "/gradio/paged/run/predict", headers={"Origin": "http://evil.example"}, timeout=60).status_code == 403
    assert requests.post(server.url + "/gradio/paged/upload", data=b"x" * 200_000, timeout=60).status_code == 413


@pytest.mark.parametrize(
    ("path", "says"), [("nothing", "'nothing' is not served here"), ("shout/app", "no method create_gradio_app"), ("", "Module  is not")]
)
def test_a_module_without_a_page_is_reported_as_in_paddlehub_or_as_a_page(server: Server, path: str, says: str) -> None:
    answer = requests.get(f"{server.url}/gradio/{path}", timeout=60)
    assert (answer.status_code, answer.json()["status"]) == (404, "111")
    assert "is not supported for gradio app" in answer.json()["msg"]
    assert says in answer.json()["msg"]
    page = requests.get(f"{server.url}/gradio/{path}", headers={"Accept": "text/html,*/*"}, timeout=60)
    assert page.headers["Content-Type"].startswith("text/html")
    assert "<h1>404</h1>" in page.text


def test_a_page_that_breaks_off_or_dies_harms_itself_only(server: Server) -> None:
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        requests.get(server.url + "/gradio/paged/break", timeout=60)
    pid = about(server)["pid"]
    died = requests.get(server.url + "/gradio/paged/die", timeout=60)
    assert died.status_code == 503
    wait_for(lambda: not lives(pid))
    assert wait_for(lambda: about(server)["pid"]) != pid
    assert server.results("paged", text="a") == "A?"


def test_a_client_that_leaves_ends_its_stream(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /gradio/paged/watch HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200" in client.recv(100)
        assert requests.get(server.url + "/gradio/paged/left", timeout=60).text == "no"
    wait_for(lambda: requests.get(server.url + "/gradio/paged/left", timeout=60).text == "yes")


def test_pages_end_with_their_module_and_with_the_server(start: Start) -> None:
    server = start({"paged": toy("paged")}, workers=1)
    old = about(server)["pid"]
    assert hub("serving", "reload", "-p", server.port, home=server.home).returncode == 0
    wait_for(lambda: not lives(old))
    pid = about(server)["pid"]
    stream = requests.get(server.url + "/gradio/paged/events", stream=True, timeout=60)
    lines = stream.iter_lines()  # a generator that is collected closes its connection
    assert next(lines) == b"data: first"
    assert server.stop() == 0, "an open page does not hold up the server's end"
    with contextlib.suppress(requests.exceptions.ChunkedEncodingError):  # the page's end may come before that of its answer
        assert b"data: second" not in list(lines)
    wait_for(lambda: not lives(pid))


def test_a_client_of_http_1_0_gets_the_whole_answer(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.sendall(b"GET /gradio/paged/large?3145728 HTTP/1.0\r\n\r\n")
        received = b"".join(iter(lambda: client.recv(1 << 20), b""))
    assert received.partition(b"\r\n\r\n")[2] == bytes(range(256)) * 12288


def test_streams_of_pages_leave_room_for_other_requests(start: Start) -> None:
    server = start({"paged": toy("paged")}, workers=1, max_concurrency=4)
    streams = [requests.get(server.url + "/gradio/paged/events", stream=True, timeout=60) for _ in range(2)]
    lines = [each.iter_lines() for each in streams]  # a generator that is collected closes its connection
    assert [next(each) for each in lines] == [b"data: first"] * 2
    full = requests.get(server.url + "/gradio/paged/app", timeout=60)
    assert (full.status_code, "half of max_concurrency" in full.json()["msg"]) == (503, True)
    assert server.results("paged", text="a") == "A!"
    for each in streams:
        each.close()
    assert wait_for(lambda: requests.get(server.url + "/gradio/paged/go", timeout=60).status_code == 200)


def test_failures_of_a_page_are_reported_with_a_remedy(start: Start) -> None:
    server = start({"paged": toy("paged", fails="gradio")}, workers=1)
    answer = requests.get(server.url + "/gradio/paged", timeout=60)
    assert answer.status_code == 503
    assert "Add 'gradio' to the module's requirements.txt" in answer.json()["msg"]
    assert "gradio&lt;4" in requests.get(server.url + "/gradio/paged", headers={"Accept": "text/html"}, timeout=60).text
    assert requests.get(server.url + "/health/ready", timeout=10).status_code == 200

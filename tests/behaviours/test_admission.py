"""What one client can take from the others is bounded: places, memory, time."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest
import requests

from tests.conftest import Server, Start, toy, wait_for

HEADERS = b"POST /predict/shout HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def connect(server: Server, receive_buffer_bytes: int = 0) -> socket.socket:
    connection = socket.socket()
    if receive_buffer_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    connection.connect(("127.0.0.1", server.port))
    connection.settimeout(30)
    return connection


def read_to_end(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def connections_of(server: Server) -> int:
    return sum(each.status == "ESTABLISHED" for each in psutil.Process(server.process.pid).net_connections("tcp"))


@pytest.fixture
def impatient(start: Start) -> Server:
    return start({"shout": toy("shout")}, client_timeout_s=1.0)


@pytest.mark.parametrize("sent", [b"", b"POST /predict/shout HTT", HEADERS], ids=["nothing", "half a line", "no end"])
def test_a_client_that_does_not_finish_its_headers_is_cut_off(impatient: Server, sent: bytes) -> None:
    with connect(impatient) as connection:
        connection.sendall(sent)
        assert read_to_end(connection).startswith(b"HTTP/1.1 408 ")
    assert impatient.results("shout", text="others go on") == "OTHERS GO ON!"


def test_a_kept_connection_whose_second_headers_are_slow_is_cut_off(impatient: Server) -> None:
    with connect(impatient) as connection:
        connection.sendall(HEADERS + b'Content-Length: 12\r\n\r\n{"text":"a"}')
        assert b'"A!"' in connection.recv(65536)
        connection.sendall(b"POST /pre")
        assert read_to_end(connection).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("pause_s", [30.0, 0.2], ids=["stops", "trickles"])
def test_a_client_that_does_not_finish_its_body_is_cut_off_with_the_reason(impatient: Server, pause_s: float) -> None:
    with connect(impatient) as connection:
        connection.sendall(HEADERS + b"Content-Length: 100000\r\n\r\n")
        connection.settimeout(pause_s)
        received = b""
        for _ in range(50):
            connection.sendall(b"x")
            try:
                received = connection.recv(65536)
                break
            except TimeoutError:
                continue
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b"bytes of the request's body came in 1 s" in received
    assert b"connection: close" in received.lower()


def test_a_client_that_never_reads_its_answer_is_cut_off(impatient: Server) -> None:
    body = b'{"text":"%s"}' % (b"a" * (8 << 20))
    with connect(impatient, receive_buffer_bytes=4096) as connection:
        connection.sendall(HEADERS + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        wait_for(lambda: connections_of(impatient) == 1)
        wait_for(lambda: connections_of(impatient) == 0)
    assert impatient.results("shout", text="others go on") == "OTHERS GO ON!"


def test_more_requests_at_once_than_allowed_are_refused_with_retry_after(start: Start) -> None:
    server = start({"faulty": toy("faulty", delay_s=0.5)}, max_concurrency=2)
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: server.predict("faulty", json={}), range(6)))
    refused = [each for each in answers if each.status_code == 503]
    assert len(refused) == 4
    assert all(each.headers["Retry-After"] and "max_concurrency" in each.json()["msg"] for each in refused)
    assert server.results("faulty")["text"] == ""


def test_more_bytes_at_once_than_allowed_are_refused_and_the_room_comes_back(start: Start) -> None:
    server = start({"faulty": toy("faulty", delay_s=0.5)}, max_pending_bytes=1_000_000)
    body = {"text": "a" * 600_000}
    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(lambda _: server.predict("faulty", json=body), range(3)))
    assert sorted(each.status_code for each in answers) == [200, 503, 503]
    assert "max_pending_bytes" in next(each for each in answers if each.status_code == 503).json()["msg"]
    assert server.results("faulty", **body)["text"] == body["text"]


def test_a_client_can_give_its_request_less_time(start: Start) -> None:
    server = start({"faulty": toy("faulty")})
    begin = time.monotonic()
    answer = server.predict("faulty", json={"how": "sleep", "text": "2"}, headers={"X-Hub-Timeout-Ms": "200"})
    assert answer.status_code == 504
    assert time.monotonic() - begin < 1.9, "it was answered before the module was done"


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ({"X-Hub-Timeout-Ms": "soon"}, "X-Hub-Timeout-Ms must be a number of milliseconds above 0, got 'soon'"),
        ({"X-Hub-Timeout-Ms": "-1"}, "got '-1'"),
        ({"X-Hub-Timeout-Ms": "nan"}, "got 'nan'"),
        ({"X-Hub-Priority": "high"}, "X-Hub-Priority must be a whole number from -100 to 100, got 'high'"),
        ({"X-Hub-Priority": "101"}, "got '101'"),
    ],
)
def test_wrong_headers_are_refused_by_name(impatient: Server, headers: dict[str, str], says: str) -> None:
    answer: dict[str, Any] = impatient.predict("shout", json={"text": "a"}, headers=headers).json()
    assert answer["status"] == "101"
    assert says in answer["msg"]


def test_more_urgent_requests_are_computed_first(start: Start) -> None:
    server = start({"faulty": toy("faulty", delay_s=0.4)})

    def ask(priority: int) -> int:
        return requests.post(f"{server.url}/predict/faulty", json={}, headers={"X-Hub-Priority": str(priority)}, timeout=60).json()[
            "results"
        ]["calls"]

    with ThreadPoolExecutor() as threads:
        running = threads.submit(ask, 0)
        time.sleep(0.2)
        waiting = [threads.submit(ask, priority) for priority in (5, 0, -5)]
        assert [running.result(), *(each.result() for each in waiting)] == [1, 4, 3, 2]

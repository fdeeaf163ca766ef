"""What one client can take from the others is bounded: places, memory, time."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import Server, Start, servers, toy, wait_for

HEADERS = b"POST /predict/shout HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
MAX_PENDING_BYTES = 20_000_000
CLIENT_TIMEOUT_S = 4.0


def connect(server: Server, receive_buffer_bytes: int = 0) -> socket.socket:
    connection = socket.socket()
    if receive_buffer_bytes:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)  # so that the window opens in small steps
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


@pytest.fixture(scope="module")
def impatient(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers(shared_home, tmp_path_factory.mktemp("impatient")) as start:
        yield start({"shout": toy("shout")}, client_timeout_s=1.0)


@pytest.mark.parametrize("sent", [b"", b"POST /predict/shout HTT", HEADERS], ids=["nothing", "half a line", "no end"])
def test_a_client_that_does_not_finish_its_headers_is_cut_off(impatient: Server, sent: bytes) -> None:
    with connect(impatient) as connection:
        connection.sendall(sent)
        assert read_to_end(connection).startswith(b"HTTP/1.1 408 ")
    assert impatient.results("shout", text="others go on") == "OTHERS GO ON!"


def test_a_kept_connection_whose_second_headers_are_slow_is_cut_off(impatient: Server) -> None:
    with connect(impatient) as connection:
        connection.sendall(HEADERS + b'Content-Length: 12\r\n\r\n{"text":"a"}')
        received = b""
        while b'"A!"' not in received:
            received += connection.recv(65536)
            assert received
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
    before = impatient.status("shout")["requests"]
    with connect(impatient, receive_buffer_bytes=4096) as connection:
        connection.sendall(HEADERS + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        wait_for(lambda: impatient.status("shout")["requests"] > before)
        wait_for(lambda: connections_of(impatient) == 0)
    assert impatient.results("shout", text="others go on") == "OTHERS GO ON!"


def test_more_requests_at_once_than_allowed_are_refused_with_retry_after(start: Start, tmp_path: Path) -> None:
    server, go_on = start({"faulty": toy("faulty")}, max_concurrency=2), tmp_path / "go on"
    with ThreadPoolExecutor(6) as threads:
        asked = [threads.submit(server.predict, "faulty", json={"how": "until", "text": str(go_on)}) for _ in range(6)]
        wait_for(lambda: sum(each.done() for each in asked) == 4)
        go_on.touch()
        answers = [each.result() for each in asked]
    refused = [each for each in answers if each.status_code == 503]
    assert len(refused) == 4
    assert all(each.headers["Retry-After"] and "max_concurrency" in each.json()["msg"] for each in refused)
    assert server.results("faulty")["text"] == ""


def test_more_bytes_at_once_than_allowed_are_refused_and_the_room_comes_back(start: Start, tmp_path: Path) -> None:
    server, go_on = start({"faulty": toy("faulty")}, max_pending_bytes=1_000_000), tmp_path / "go on"
    body = {"text": "a" * 600_000}
    until = json.dumps({"how": "until", "text": str(go_on)}).ljust(600_000)
    with ThreadPoolExecutor(3) as threads:
        headers = {"Content-Type": "application/json"}
        asked = [threads.submit(server.predict, "faulty", data=until, headers=headers) for _ in range(3)]
        wait_for(lambda: sum(each.done() for each in asked) == 2)
        go_on.touch()
        answers = [each.result() for each in asked]
    assert sorted(each.status_code for each in answers) == [200, 503, 503]
    assert "max_pending_bytes" in next(each for each in answers if each.status_code == 503).json()["msg"]
    assert server.results("faulty", **body)["text"] == body["text"]


@pytest.fixture(scope="module")
def bounded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("bounded")
    with servers(folder / "home", folder) as start:
        yield start({"faulty": toy("faulty")}, max_pending_bytes=MAX_PENDING_BYTES, client_timeout_s=CLIENT_TIMEOUT_S, workers=1)


def post(body: bytes, length: int | None = None) -> bytes:
    return HEADERS.replace(b"shout", b"faulty") + b"Content-Length: %d\r\n\r\n%b" % (length or len(body), body)


def gateway_mb(server: Server) -> float:
    return float(psutil.Process(server.process.pid).memory_info().rss) / 1e6


def status_of(server: Server, size: int) -> int:
    return server.predict("faulty", json={"text": "a" * size}).status_code


def test_bodies_behind_a_request_that_is_being_answered_are_not_read(bounded: Server) -> None:
    before = gateway_mb(bounded)  # the first test of this server: no freed memory is reused
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            connection = stack.enter_context(connect(bounded))
            connection.setblocking(False)
            connection.send(post(b'{"how":"sleep","text":"0.1"}') + post(b" " * 300_000, 1_000_000))
        time.sleep(0.5)  # the first of them are being computed
        assert gateway_mb(bounded) < before + 10


def test_bodies_that_are_only_announced_keep_nobody_out_and_take_no_memory(bounded: Server) -> None:
    before = gateway_mb(bounded)
    with contextlib.ExitStack() as stack:
        for length in (MAX_PENDING_BYTES, 64 << 20) * 8:
            stack.enter_context(connect(bounded)).sendall(post(b"{", length))
        assert [status_of(bounded, size) for size in (1, 1_000_000, 1)] == [200] * 3
        assert gateway_mb(bounded) < before + 50


def test_small_bodies_are_taken_whatever_others_hold(bounded: Server) -> None:
    with connect(bounded) as connection:
        connection.sendall(post(b" " * (MAX_PENDING_BYTES - 100_000), MAX_PENDING_BYTES))
        wait_for(lambda: status_of(bounded, 200_000) == 503)  # all of it has arrived
        assert status_of(bounded, 60_000) == 200
        assert connection.recv(12) == b"HTTP/1.1 408", "what came quickly at first does not give it more time afterwards"
    assert status_of(bounded, 200_000) == 200


def test_answers_that_are_not_read_are_counted_until_their_clients_are_cut_off(bounded: Server) -> None:
    body = b'{"text":"%b"}' % (b"a" * 8_000_000)
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            connection = stack.enter_context(connect(bounded, receive_buffer_bytes=4096))
            connection.sendall(post(body))
            assert connection.recv(12) == b"HTTP/1.1 200"
        assert status_of(bounded, 8_000_000) == 503
        assert status_of(bounded, 1) == 200
        wait_for(lambda: status_of(bounded, 8_000_000) == 200)


def is_reset(connection: socket.socket) -> bool:
    try:
        return not connection.recv(60)
    except ConnectionResetError:
        return True


def test_a_client_that_reads_its_answer_very_slowly_is_cut_off(bounded: Server) -> None:
    with connect(bounded, receive_buffer_bytes=4096) as connection:
        connection.sendall(post(b'{"text":"%b"}' % (b"a" * 8_000_000)))
        wait_for(lambda: is_reset(connection))


def test_a_client_that_reads_at_a_fair_pace_is_not_cut_off(bounded: Server) -> None:
    with connect(bounded, receive_buffer_bytes=4096) as connection:
        connection.sendall(post(b'{"text":"%b"}' % (b"a" * 8_000_000)))
        begin, received = time.monotonic(), connection.recv(4096)
        while time.monotonic() - begin < 1.25 * CLIENT_TIMEOUT_S:  # more than a period
            received += connection.recv(4096)
            time.sleep(0.02)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        while not received.endswith(b"}}"):
            received += connection.recv(1 << 20)


@pytest.mark.parametrize(
    "body",
    [b'{"how":"raise","text":"%b"}', b'{"hows":"%b"}', b'{"text":"%b'],
    ids=["the module fails", "no such argument", "no JSON"],
)
def test_what_is_answered_by_an_error_keeps_no_memory(bounded: Server, body: bytes) -> None:
    whole = post(body % (b"a" * 8_000_000))
    before = gateway_mb(bounded)
    for _ in range(12):
        with connect(bounded) as connection:
            connection.sendall(whole)
            assert connection.recv(9) == b"HTTP/1.1 "
    assert gateway_mb(bounded) < before + 80


def test_a_client_can_give_its_request_less_time(toys: Server, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    answer = toys.predict("faulty", json={"how": "until", "text": str(go_on)}, headers={"X-Hub-Timeout-Ms": "200"})
    assert answer.status_code == 504, "it was answered before the module was done"
    go_on.touch()


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


def test_more_urgent_requests_are_computed_first(start: Start, tmp_path: Path) -> None:
    server, go_on = start({"faulty": toy("faulty", delay_s=0.4)}), tmp_path / "go on"

    def ask(priority: int, **arguments: str) -> int:
        answer = server.predict("faulty", json=arguments, headers={"X-Hub-Priority": str(priority)}).json()
        return int(answer["results"]["calls"])

    with ThreadPoolExecutor(4) as threads:
        running = threads.submit(ask, 0, how="until", text=str(go_on))
        wait_for(lambda: server.computing("faulty"))
        waiting = [threads.submit(ask, priority) for priority in (5, 0, -5)]
        wait_for(lambda: server.waiting("faulty") == 3)
        go_on.touch()
        assert [running.result(), *(each.result() for each in waiting)] == [1, 4, 3, 2]

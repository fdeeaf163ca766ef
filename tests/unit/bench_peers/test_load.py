"""The load generators of bench/peers against servers that answer well, wrongly, slowly and not at all."""

import json
import shutil
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from bench.peers import client, wrk
from bench.peers.exchange import Measured, Request, check_once
from bench.peers.failures import WrongAnswer

RIGHT = json.dumps({"values": [1, 2]}).encode()
SECONDS = 0.3  # wrk makes one of it
Answer = Callable[[int], bytes]


def accept(_: bytes) -> None:
    """Every body will do."""


REQUEST = Request("/ask", {"Content-Type": "application/json"}, b'{"values": [1, 2]}', accept, b'"values"')


def http(body: bytes, status: str = "200 OK", close: bool = False) -> bytes:
    closing = "Connection: close\r\n" if close else ""
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{closing}\r\n".encode() + body


@contextmanager
def serving(answer: Answer, close: bool = False) -> Iterator[tuple[int, list[bytes]]]:
    """A server that gives ``answer(number of the request)``; gives its port and the requests that came."""
    came: list[bytes] = []
    lock = threading.Lock()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while line := self.rfile.readline():
                head = [line]
                while (line := self.rfile.readline()) not in (b"\r\n", b""):
                    head.append(line)
                length = next(int(each.split(b":")[1]) for each in head if each.lower().startswith(b"content-length"))
                body = self.rfile.read(length)
                with lock:
                    came.append(b"".join(head) + b"\r\n" + body)
                    number = len(came)
                self.wfile.write(answer(number))
                if close:
                    return

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A load generator that breaks off is what is expected of it."""

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield server.server_address[1], came
        finally:
            server.shutdown()


needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
CLOSED_LOOPS = [pytest.param(client.closed_loop, id="asyncio"), pytest.param(wrk.closed_loop, id="wrk", marks=needs_wrk)]
Loop = Callable[..., Measured]


def open_loop_of_50(port: int, request: Request, connections: int, seconds: float) -> Measured:
    return client.open_loop(port, request, connections, seconds, 50)


@pytest.mark.parametrize("loop", CLOSED_LOOPS)
def test_closed_loop_counts_what_was_answered(loop: Loop) -> None:
    with serving(lambda _: http(RIGHT)) as (port, came):
        measured = loop(port, REQUEST, 3, SECONDS)
        assert 0 <= len(came) - measured.requests <= 3
    assert measured.requests > 0
    assert (measured.wrong, measured.lost) == (0, 0)
    assert 0 < measured.p50_ms <= measured.p99_ms
    assert measured.per_second == pytest.approx(measured.requests / measured.seconds)


@pytest.mark.parametrize("loop", CLOSED_LOOPS)
def test_closed_loop_sends_the_path_the_headers_and_the_body(loop: Loop) -> None:
    binary = bytes(range(256))
    request = Request('/a"b', {"Content-Type": "x/y", "Quoted": 'a"\\b'}, binary, accept, b'"values"')
    with serving(lambda _: http(RIGHT)) as (port, came):
        loop(port, request, 1, SECONDS)
    head, _, body = came[0].partition(b"\r\n\r\n")
    assert head.startswith(b'POST /a"b HTTP/1.1\r\n')
    assert b'\r\nQuoted: a"\\b' in head
    assert b"\r\nContent-Type: x/y" in head
    assert body == binary


@pytest.mark.parametrize("loop", CLOSED_LOOPS)
@pytest.mark.parametrize(
    "bad", [http(b'{"status": "101"}'), http(RIGHT, "503 Service Unavailable")], ids=["an error with 200", "a right body with 503"]
)
def test_one_wrong_answer_among_many_is_counted(loop: Loop, bad: bytes) -> None:
    with serving(lambda number: bad if number == 5 else http(RIGHT)) as (port, _):
        measured = loop(port, REQUEST, 2, SECONDS)
    assert measured.wrong == 1


@pytest.mark.parametrize("loop", CLOSED_LOOPS)
def test_server_that_closes_after_each_answer_loses_nothing(loop: Loop) -> None:
    with serving(lambda _: http(RIGHT, close=True), close=True) as (port, _):
        measured = loop(port, REQUEST, 2, SECONDS)
    assert measured.requests > 2
    assert (measured.wrong, measured.lost) == (0, 0)


@pytest.mark.parametrize("loop", CLOSED_LOOPS)
def test_connection_that_breaks_within_an_answer_is_counted_as_lost(loop: Loop) -> None:
    with serving(lambda number: http(RIGHT)[:-3] if number == 5 else http(RIGHT, close=True), close=True) as (port, _):
        measured = loop(port, REQUEST, 1, SECONDS)
    assert measured.lost == 1


def test_wrk_output_without_the_summary_is_refused() -> None:
    with pytest.raises(WrongAnswer, match="did not sum up"):
        wrk.parse("Running 2s test\n  1 threads and 1 connections\n")


def test_wrk_summary_is_read_in_its_units() -> None:
    line = 'summary-of-the-run {"requests":300,"duration_us":2000000,"wrong":1,"lost":2,"p50_us":1500,"p99_us":20000}'
    assert wrk.parse(f"Running 2s test\n{line}\nTransfer/sec: 1MB\n") == Measured(300, 2.0, 1.5, 20.0, 1, 2)


def test_open_loop_sends_every_request_of_its_schedule() -> None:
    with serving(lambda _: http(RIGHT)) as (port, came):
        measured = client.open_loop(port, REQUEST, 4, 1.0, 200)
    assert measured.requests == len(came) == len(client.arrivals(200, 1.0))
    assert (measured.wrong, measured.lost) == (0, 0)


def test_waiting_for_a_free_connection_is_part_of_open_loop_latency() -> None:
    def slow(_: int) -> bytes:
        time.sleep(0.05)
        return http(RIGHT)

    with serving(slow) as (port, _):
        measured = client.open_loop(port, REQUEST, 1, 0.5, 40)
    # about 20 requests come within 500 ms, and each takes 50: most wait for several others, and none could take 100 without waiting
    assert measured.requests == len(client.arrivals(40, 0.5))
    assert measured.p99_ms > 100


def test_arrivals_are_the_same_each_time_and_come_at_the_rate() -> None:
    moments = client.arrivals(1000, 10)
    assert moments == client.arrivals(1000, 10) == sorted(moments)
    assert moments[0] > 0
    assert moments[-1] < 10
    assert len(moments) == pytest.approx(10_000, rel=0.05)


@pytest.mark.parametrize(
    ("values", "share", "expected"), [([], 0.5, 0.0), ([3.0], 0.99, 3.0), ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0), (list(range(1, 101)), 0.99, 99)]
)
def test_percentile_is_the_smallest_value_that_the_share_does_not_exceed(values: list[float], share: float, expected: float) -> None:
    assert client.percentile(values[::-1], share) == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"http/1.1 200 ok\r\ncontent-length: 12\r\n\r\n", (200, 12, False)),
        (b"http/1.1 503 busy\r\nconnection: close\r\n\r\n", (503, None, True)),
        (b"http/1.0 200 ok\r\ncontent-length: 3\r\n\r\n", (200, 3, True)),
        (b"http/1.0 200 ok\r\nconnection: keep-alive\r\ncontent-length: 3\r\n\r\n", (200, 3, False)),
    ],
)
def test_answer_head_says_how_it_goes_on(head: bytes, expected: tuple[int, int | None, bool]) -> None:
    assert client.read_head(head) == expected


@pytest.mark.parametrize("head", [b"ssh-2.0-openssh\r\n\r\n", b"http/1.1 200 ok\r\ntransfer-encoding: chunked\r\n\r\n"])
def test_answer_that_the_client_cannot_read_is_refused(head: bytes) -> None:
    with pytest.raises(WrongAnswer):
        client.read_head(head)


@pytest.mark.parametrize("loop", [client.closed_loop, open_loop_of_50])
def test_answer_that_the_client_cannot_read_fails_the_run(loop: Loop) -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\n\r\n"
    with serving(lambda _: chunked) as (port, _), pytest.raises(WrongAnswer, match="in chunks"):
        loop(port, REQUEST, 2, SECONDS)


@pytest.mark.parametrize("loop", [client.closed_loop, open_loop_of_50])
def test_server_that_is_gone_loses_every_request(loop: Loop) -> None:
    with serving(lambda _: http(RIGHT)) as (port, _):
        pass
    measured = loop(port, REQUEST, 2, SECONDS)
    assert measured.requests == 0
    assert measured.lost > 0


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(http(RIGHT, "429 Too Many Requests"), "HTTP 429"), (http(b"{}"), "without"), (http(b'{"values": []}'), "nothing came back")],
)
def test_check_before_measuring_says_what_was_wrong(answer: bytes, reason: str) -> None:
    def check(body: bytes) -> None:
        if not json.loads(body)["values"]:
            raise WrongAnswer("nothing came back")

    with serving(lambda _: answer) as (port, _), pytest.raises(WrongAnswer, match=reason):
        check_once(port, REQUEST._replace(check=check))

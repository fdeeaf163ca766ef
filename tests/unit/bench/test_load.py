"""The load: what is counted, and how answers are read, against small servers that misbehave on purpose."""

import itertools
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from hubserve.bench.connection import Failure
from hubserve.bench.load import Pattern, Timing, ask, run
from hubserve.bench.loops import ServerAddress, arrivals
from hubserve.bench.recorder import Counted, Recorder, percentile

GOOD = b'{"status":"000","msg":"","results":1}'
REQUEST = b"POST /predict/x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


def answer(body: bytes = GOOD, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def serving(talk: Callable[[socket.socket], object]) -> Iterator[ServerAddress]:
    """A server that handles each connection as scripted, each in a thread of its own."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        def serve(connection: socket.socket) -> None:
            with connection:
                try:
                    talk(connection)
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield ServerAddress("127.0.0.1", listener.getsockname()[1])
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def once(*parts: bytes) -> Callable[[socket.socket], None]:
    def talk(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while connection.recv(4096):
            for part in parts:
                connection.sendall(part)
            if not parts:
                return

    return talk


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([5.0], 50, 5.0),
        ([1.0, 2.0], 50, 1.0),
        ([1.0, 2.0], 51, 2.0),
        ([float(each) for each in range(1, 101)], 99, 99.0),
        ([float(each) for each in range(1, 1001)], 99.9, 999.0),
        ([1.0, 2.0, 3.0], 100, 3.0),
    ],
)
def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


def test_arrivals_are_a_poisson_process_and_the_same_for_the_same_seed() -> None:
    times = list(itertools.islice(arrivals(100.0, 7), 20_000))
    assert times == list(itertools.islice(arrivals(100.0, 7), 20_000))
    assert times[:10] != list(itertools.islice(arrivals(100.0, 8), 10))
    gaps = [after - before for before, after in itertools.pairwise([0.0, *times])]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((each - mean) ** 2 for each in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(0.01, rel=0.05)
    assert deviation == pytest.approx(mean, rel=0.05)  # as of an exponential distribution


def tally() -> Recorder:
    filled = Recorder()
    filled.success(0.5, 0.9)  # before the window
    filled.success(0.8, 1.5)  # ends in it
    filled.success(1.2, 1.4)
    filled.success(1.5, 9.0)  # begins in it
    filled.failure(0.9, 1.1, Failure("timeout", "first"))
    filled.failure(1.1, 2.5, Failure("timeout", "second"))
    filled.failure(1.8, 3.5, Failure("connection", "third"))
    return filled


def test_a_closed_loop_counts_what_ends_in_the_window() -> None:
    counted = tally().count(1.0, 2.0, 0.1, by_intention=False)
    assert counted.latencies_s == pytest.approx([0.2, 0.7])
    assert counted == Counted(1.0, 2, counted.latencies_s, {"timeout": (1, "first")}, 0.1)


def test_an_open_loop_counts_what_was_to_begin_in_the_window_however_late_it_ends() -> None:
    counted = tally().count(1.0, 2.0, 0.1, by_intention=True)
    assert counted.latencies_s == pytest.approx([0.2, 7.5])
    assert counted.answered == 2  # throughput is what came in the window
    assert counted.failures == {"timeout": (1, "first"), "connection": (1, "third")}


def test_an_answer_in_pieces_is_one_answer() -> None:
    whole = answer()
    with serving(once(*[whole[place : place + 1] for place in range(len(whole))])) as place:
        assert ask(place, REQUEST, 10) is None


@pytest.mark.parametrize(
    ("parts", "status", "text"),
    [
        ([answer(b'{"status":"101","msg":"no such key","results":""}')], "HTTP 200, status 101", "no such key"),
        ([answer(b'{"status":"101","msg":"full","results":""}', "429 Too Many Requests")], "HTTP 429, status 101", "full"),
        ([answer(b"Not here", "404 Not Found")], "HTTP 404", "Not here"),
        ([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"], "protocol", "no answer with a length"),
        ([b"SSH-2.0-server\r\n\r\n"], "protocol", "SSH-2.0-server"),
        ([], "connection", "closed the connection before it answered"),
    ],
)
def test_every_failure_is_reported_with_its_text(parts: list[bytes], status: str, text: str) -> None:
    with serving(once(*parts)) as place:
        failure = ask(place, REQUEST, 10)
    assert failure is not None
    assert failure.status == status
    assert text in failure.text


def test_what_never_answers_is_a_timeout() -> None:
    with serving(lambda connection: deque(iter(lambda: connection.recv(4096), b""), maxlen=0)) as place:
        failure = ask(place, REQUEST, 0.1)
    assert failure == Failure("timeout", "no answer within 0.1 s")


def test_a_refused_connection_is_reported() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        failure = ask(ServerAddress("127.0.0.1", closed.getsockname()[1]), REQUEST, 10)
    assert failure is not None
    assert failure.status == "connection"


def test_a_closed_loop_has_one_request_in_flight_for_each_connection() -> None:
    flying, most, lock = 0, 0, threading.Lock()

    def talk(connection: socket.socket) -> None:
        nonlocal flying, most
        while connection.recv(4096):
            with lock:
                flying += 1
                most = max(most, flying)
            threading.Event().wait(0.01)
            with lock:
                flying -= 1
            connection.sendall(answer())

    windows: list[bool] = []
    with serving(talk) as place:
        counted = run(place, REQUEST, Pattern(connections=3), Timing(0.05, 1.0, 10), on_window=windows.append)
    assert most == 3
    assert counted.answered == len(counted.latencies_s) > 0
    assert counted.failures == {}
    assert windows == [True, False]


def test_an_open_loop_goes_on_sending_while_nothing_is_answered() -> None:
    arrived, enough, lock = 0, threading.Event(), threading.Lock()

    def talk(connection: socket.socket) -> None:
        nonlocal arrived
        while connection.recv(4096):
            with lock:
                arrived += 1
                if arrived == 20:
                    enough.set()
            enough.wait(10)
            connection.sendall(answer())

    with serving(talk) as place:
        counted = run(place, REQUEST, Pattern(rate_per_s=100), Timing(0.0, 0.6, 10), seed=1)
    assert enough.is_set()
    assert counted.failures == {}
    assert len(counted.latencies_s) >= 20
    assert counted.latencies_s[-1] > counted.latencies_s[0]


def test_a_lost_connection_is_counted_and_opened_again() -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(answer())
        connection.recv(4096)

    with serving(talk) as place:
        counted = run(place, REQUEST, Pattern(connections=1), Timing(0.0, 1.5, 10))
    assert counted.answered > 1
    assert counted.failures["connection"][0] > 0

"""HTTP/1.1 as clients, proxies and attackers speak it."""

import random
import socket
import time

import pytest

from tests.conftest import Server

BODY = b'{"text":"hello"}'
POST = b"POST /predict/shout HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
WHOLE = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
ANSWER = b'{"status":"000","msg":"","results":"HELLO!"}'


@pytest.fixture(scope="module")
def server(toys: Server) -> Server:
    return toys


def connect(server: Server) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.settimeout(20)
    return connection


def read_answers(connection: socket.socket, count: int) -> list[tuple[bytes, bytes]]:
    """Head and body of so many answers, by their content-length."""
    answers, received = [], b""
    while len(answers) < count:
        head, found, rest = received.partition(b"\r\n\r\n")
        length = next((int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0)
        if found and len(rest) >= length:
            answers.append((head, rest[:length]))
            received = rest[length:]
            continue
        chunk = connection.recv(65536)
        assert chunk, f"the connection ended after {answers} and {received!r}"
        received += chunk
    assert received == b""
    return answers


def read_to_end(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def ask(server: Server, request: bytes) -> tuple[bytes, bytes]:
    with connect(server) as connection:
        connection.sendall(request)
        return read_answers(connection, 1)[0]


def test_requests_sent_at_once_are_answered_in_their_order_on_one_connection(server: Server) -> None:
    texts = [b'{"text":"%d"}' % number for number in range(50)]
    with connect(server) as connection:
        connection.sendall(b"".join(POST + b"Content-Length: %d\r\n\r\n" % len(text) + text for text in texts))
        bodies = [body for _, body in read_answers(connection, 50)]
    assert bodies == [b'{"status":"000","msg":"","results":"%d!"}' % number for number in range(50)]


@pytest.mark.parametrize("seed", range(5))
def test_however_a_request_is_cut_it_is_the_same(server: Server, seed: int) -> None:
    cuts = random.Random(seed)
    with connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(5):
            rest = WHOLE
            while rest:
                size = cuts.choice([1, 2, 7, 40])
                connection.sendall(rest[:size])
                rest = rest[size:]
            assert read_answers(connection, 1)[0][1] == ANSWER


@pytest.mark.parametrize("seed", range(5))
def test_a_head_that_came_before_means_the_same_however_requests_follow_each_other(server: Server, seed: int) -> None:
    choices = random.Random(seed)
    length = b"Content-Length: %d\r\n\r\n" % len(BODY)
    kinds = {
        WHOLE: ANSWER,
        WHOLE.replace(b"hello", b"world"): ANSWER.replace(b"HELLO", b"WORLD"),
        b"\r\n" + WHOLE: ANSWER,
        POST + b"X: y\r\n" + length + BODY: ANSWER,
        POST + b"Transfer-Encoding: chunked\r\n\r\n10\r\n" + BODY + b"\r\n0\r\n\r\n": ANSWER,
        b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n": b'{"live":true}',
    }
    with connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(10):
            requests = choices.choices(list(kinds), k=choices.choice([1, 3, 8]))
            rest = b"".join(requests)
            while rest:
                size = choices.choice([3, len(POST + length), 200, 1000])
                connection.sendall(rest[:size])
                rest = rest[size:]
            assert [body for _, body in read_answers(connection, len(requests))] == [kinds[each] for each in requests]


@pytest.mark.parametrize("garbage", [b"\x00garbage\r\n\r\n", b"this is no request\r\n\r\n"], ids=["bytes", "words"])
@pytest.mark.parametrize("count", [1, 3])
def test_requests_before_garbage_are_answered_and_then_the_connection_is_refused(server: Server, count: int, garbage: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(WHOLE * count + garbage)
        received = read_to_end(connection)
    statuses = [each.split(b" ")[0] for each in received.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"200"] * count + [b"400"]
    assert received.count(ANSWER) == count


def test_garbage_within_a_body_is_refused_once(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{")
        time.sleep(0.1)  # the request is being read
        connection.sendall(b"garbage\r\n")
        assert read_to_end(connection).count(b"HTTP/1.1 ") == 1


def test_large_bodies_follow_each_other_on_one_connection(server: Server) -> None:
    bodies = [b'{"text":"%s"}' % (letter * size) for letter, size in ((b"a", 300_000), (b"b", 10), (b"c", 70_000), (b"d", 1_000_000))]
    with connect(server) as connection:
        connection.sendall(b"".join(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body for body in bodies))
        answers = [body for _, body in read_answers(connection, len(bodies))]
    assert answers == [b'{"status":"000","msg":"","results":"%s!"}' % body[9:-2].upper() for body in bodies]


def test_a_chunked_body_is_taken(server: Server) -> None:
    chunks = b"5\r\n" + BODY[:5] + b"\r\n" + b"b;note=x\r\n" + BODY[5:] + b"\r\n0\r\nTrailer: x\r\n\r\n"
    assert ask(server, POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)[1] == ANSWER


def test_a_client_that_waits_for_leave_to_send_gets_it(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(BODY))
        assert connection.recv(25, socket.MSG_WAITALL) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert read_answers(connection, 1)[0][1] == ANSWER


def test_http_1_0_and_connection_close_end_the_connection_after_the_answer(server: Server) -> None:
    for request in (WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"), WHOLE.replace(b"Host: x", b"Host: x\r\nConnection: close")):
        with connect(server) as connection:
            connection.sendall(request)
            head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
        assert b"connection: close" in head.lower()
        assert body == ANSWER


def test_head_has_the_headers_of_get_and_no_body(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"HEAD /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head, _, body = read_to_end(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b"content-length: 13" in head
    assert body == b""


@pytest.mark.parametrize(
    "target", [b"/health/live", b"/health/live?x=1", b"http://here/health/live?x=1", b"/health%2Flive", b"/health/live#part"]
)
def test_targets_of_every_form_are_understood(server: Server, target: bytes) -> None:
    assert ask(server, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")[1] == b'{"live":true}'


OFFERS = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
)


@pytest.mark.parametrize("offer", OFFERS, ids=["h2c", "WebSockets"])
@pytest.mark.parametrize("cut", [0, 40, -3])
def test_an_offer_to_upgrade_changes_nothing(server: Server, offer: bytes, cut: int) -> None:
    post = POST.replace(b"Host: x\r\n", b"Host: x\r\n" + offer)
    by_length = post + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
    chunked = post + b"Transfer-Encoding: chunked\r\n\r\n10\r\n" + BODY + b"\r\n0\r\n\r\n"
    get = b"GET /health/live HTTP/1.1\r\nHost: x\r\n" + offer + b"\r\n"
    sent = by_length + get + WHOLE + chunked + get + by_length
    with connect(server) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(sent[:cut])
        time.sleep(0.05)
        connection.sendall(sent[cut:])
        live = b'{"live":true}'
        assert [body for _, body in read_answers(connection, 6)] == [ANSWER, live, ANSWER, ANSWER, live, ANSWER]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /health/live HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /health/live HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", b"400"),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b"400"),
        (POST + b"Content-Length: " + b"0" * 5000 + b"\r\n\r\n", b"400"),
        (b"GET /health/live\r\n\r\n", b"400"),
        (b"GET /health/live HTTP/2.0\r\nHost: x\r\n\r\n", b"505"),
        (b"POST / HTTP/9.9\r\n\r\n", b"505"),
        (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", b"501"),
        (POST + b"Expect: all of it\r\n\r\n", b"417"),
    ],
    ids=["no host", "two hosts", "codings", "zeros", "HTTP/0.9", "HTTP/2.0", "HTTP/9.9", "CONNECT", "Expect"],
)
def test_what_is_not_offered_is_refused_each_time(server: Server, request_: bytes, status: bytes) -> None:
    for _ in range(2):
        with connect(server) as connection:
            connection.sendall(request_)
            received = read_to_end(connection)
        assert received.startswith(b"HTTP/1.1 " + status + b" ")
        assert b"connection: close" in received
    assert "Traceback" not in server.log.read_text()


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_client_that_closes_its_sending_half_is_answered(server: Server, count: int, version: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(WHOLE.replace(b"HTTP/1.1", b"HTTP/" + version) * count)
        connection.shutdown(socket.SHUT_WR)
        received = read_to_end(connection)
    answered = count if version == b"1.1" else 1
    assert received.count(b"HTTP/1.1 200 OK\r\n") == received.count(ANSWER) == answered
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_client_that_closes_its_sending_half_within_a_request_is_left(server: Server) -> None:
    for part in (WHOLE[:-1], WHOLE[:30]):
        with connect(server) as connection:
            connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
            assert read_to_end(connection) == b""


def test_headers_beyond_the_bound_are_refused(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(POST + b"X-Long: " + b"a" * 70_000 + b"\r\n\r\n")
        assert read_to_end(connection).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET\r\n\r\n",
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: -5\r\n\r\n",
        POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    ],
    ids=["no target", "both lengths", "negative", "two lengths", "bad chunk", "no colon", "zero byte"],
)
def test_what_is_no_http_is_refused_and_the_connection_closed(server: Server, garbage: bytes) -> None:
    with connect(server) as connection:
        connection.sendall(garbage)
        assert read_to_end(connection).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert server.results("shout", text="others") == "OTHERS!"


def test_an_answer_before_the_body_is_complete_leaves_the_connection_usable(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        assert read_answers(connection, 1)[0][1] == b'{"live":true}'
        connection.sendall(b"67890" + WHOLE)
        assert read_answers(connection, 1)[0][1] == ANSWER


def test_random_changes_to_a_request_never_upset_the_server(server: Server) -> None:
    chance = random.Random(0)
    for _ in range(300):
        changed = bytearray(WHOLE)
        for _ in range(chance.randint(1, 4)):
            position = chance.randrange(len(changed))
            changed[position : position + chance.randint(0, 3)] = chance.randbytes(chance.randint(0, 3))
        with connect(server) as connection:
            connection.sendall(bytes(changed))
            connection.shutdown(socket.SHUT_WR)
            read_to_end(connection)
    assert server.results("shout", text="still well") == "STILL WELL!"
    assert "unexpected error" not in server.log.read_text()
    assert "Traceback" not in server.log.read_text()

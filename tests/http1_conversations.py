"""Conversations of HTTP/1.1 clients on one connection, valid and invalid, and the expected answers."""

import re
from collections.abc import Callable
from random import Random
from typing import NamedTuple

_HOST = b"Host: x\r\n"
_POST = b"POST /predict/shout HTTP/1.1\r\n" + _HOST + b"Content-Type: application/json\r\n"
_LIVE = b'{"live":true}'
_OFFERS = (
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
)
_GET = b"GET /health/live HTTP/1.1\r\n" + _HOST
#: a request that is answered if the end of an invalid request is taken for a valid one
SMUGGLED = b"GET /v2/smuggled HTTP/1.1\r\n" + _HOST + b"\r\n"


class Request(NamedTuple):
    """A valid request.

    Attributes:
        sent: its bytes.
        status: of its answer.
        body: of its answer; None for any.
    """

    sent: bytes
    status: int
    body: bytes | None


class Conversation(NamedTuple):
    """The bytes that a client sends before it half-closes the connection.

    Attributes:
        sent: all of it.
        answers: status and body of the answers that must come first, in this order.
        is_refused: whether exactly one refusal must follow; None if anything may.
    """

    sent: bytes
    answers: list[tuple[int, bytes | None]]
    is_refused: bool | None


def _shout(random: Random) -> tuple[bytes, bytes]:
    text = b"n%d" % random.randrange(10**9) + b"x" * random.choice((0, 0, 0, 50, 5000, 100_000))
    return b'{"text":"%b"}' % text, b'{"status":"000","msg":"","results":"%b!"}' % text.upper()


def _by_length(random: Random) -> Request:
    body, answer = _shout(random)
    return Request(_POST + _more(random) + b"Content-Length: %d\r\n\r\n%b" % (len(body), body), 200, answer)


def chunks(random: Random, body: bytes) -> bytes:
    """Encode a body in chunks, with extensions and trailers."""
    found, at = [], 0
    while at < len(body):
        size = min(len(body) - at, random.choice((1, 2, 7, 100, 70_000)) if len(body) < 1000 else random.choice((3000, 70_000)))
        extension = random.choice((b"", b"", b";a", b';a=b;c="d e"'))
        digits = b"%x" % size if random.random() < 0.8 else b"%08X" % size
        found.append(b"%b%b\r\n%b\r\n" % (digits, extension, body[at : at + size]))
        at += size
    return b"".join(found) + random.choice((b"0", b"000", b"0;last")) + b"\r\n" + random.choice((b"", b"X-Sum: 1\r\nY:\r\n")) + b"\r\n"


def _chunked(random: Random) -> Request:
    body, answer = _shout(random)
    coding = random.choice((b"chunked", b"Chunked", b"\tchunked "))
    return Request(_POST + _more(random) + b"Transfer-Encoding:" + coding + b"\r\n\r\n" + chunks(random, body), 200, answer)


def _get(random: Random) -> Request:
    line = random.choice((b"GET /health/live", b"GET /health/live?a=b", b"GET http://here:1/health/live", b"GET /health%2Flive"))
    start = random.choice((b"", b"", b"\r\n", b"\r\n\r\n"))
    return Request(start + line + b" HTTP/1.1\r\n" + _HOST + _more(random) + b"\r\n", 200, _LIVE)


def _body_of_get(random: Random) -> Request:
    return Request(_GET + _more(random) + b"Content-Length: %d\r\n\r\n%b" % (len(SMUGGLED), SMUGGLED), 200, _LIVE)


def _nowhere(random: Random) -> Request:
    sent = b"GET /v2/nowhere%d HTTP/1.1\r\n" % random.randrange(10**6) + _HOST
    return Request(sent + _more(random) + b"\r\n", 404, None)


def _more(random: Random) -> bytes:
    return random.choice(
        (b"", b"", b"", *_OFFERS, b"X-Empty:\r\n", b"X-Long: %b\r\n" % (b"y" * 3000), b"X-Id: %d\r\n" % random.getrandbits(40))
    )


_RIGHT: tuple[Callable[[Random], Request], ...] = (_by_length, _by_length, _chunked, _chunked, _get, _body_of_get, _nowhere)

_LENGTH = b"Content-Length: 5\r\n"
_CODING = b"Transfer-Encoding: chunked\r\n"
_HEADERS = (
    b"",
    _HOST + _HOST,
    b"Host: x/y\r\n",
    b"Host : x\r\n",
    b" Host: x\r\n",
    b"Host: x\r\n y\r\n",
    b"Host: x\nA: b\r\n",
    b"Host: x\rA: b\r\n",
    b"Host: x\r\nA\x00: b\r\n",
    b"Host: x\r\nA: b\x00\r\n",
    b"Host: x\r\nnothing\r\n",
    b"Host: x\r\n: nothing\r\n",
    _HOST + _LENGTH + _CODING,
    _HOST + _CODING + _LENGTH,
    _HOST + _LENGTH + _LENGTH,
    _HOST + _LENGTH + b"Content-Length: 6\r\n",
    _HOST + b"Content-Length: +5\r\n",
    _HOST + b"Content-Length: 5, 5\r\n",
    _HOST + b"Content-Length: 1_0\r\n",
    _HOST + b"Content-Length: 0x5\r\n",
    _HOST + b"Content-Length: -1\r\n",
    _HOST + b"Content-Length: " + b"0" * 5000 + b"\r\n",
    _HOST + b"Content-Length: " + b"9" * 30 + b"\r\n",
    _HOST + b"Content-Length:\r\n",
    _HOST + b"Content-Length : 5\r\n",
    _HOST + b"Content-Length\r\n: 5\r\n",
    _HOST + b"Transfer-Encoding: gzip, chunked\r\n",
    _HOST + _CODING + _CODING,
    _HOST + b"Transfer-Encoding: gzip\r\n" + _CODING,
    _HOST + b"Transfer-Encoding: identity\r\n",
    _HOST + b"Transfer-Encoding: xchunked\r\n",
    _HOST + b"Transfer-Encoding: chunked, identity\r\n",
    _HOST + b"Transfer-Encoding:\x0bchunked\r\n",
    _HOST + b"Transfer-Encoding\t: chunked\r\n",
    _HOST + b"Expect: nothing\r\n",
    _HOST + b"A: b\r\n" * 300,
    _HOST + b"A: " + b"b" * 70_000 + b"\r\n",
)
_LINES = (
    b"POST /predict/shout\r\n",
    b"POST /predict/shout HTTP/2.0\r\n",
    b"POST /predict/shout HTTP/0.9\r\n",
    b"POST /predict/shout HTTP/1.1 \r\n",
    b"POST  /predict/shout HTTP/1.1\r\n",
    b"POST\t/predict/shout HTTP/1.1\r\n",
    b"post /predict/shout HTTP/1.1\r\n",
    b"NONE / HTTP/1.1\r\n",
    b"CONNECT x:80 HTTP/1.1\r\n",
    b"POST predict/shout HTTP/1.1\r\n",
    b"POST * HTTP/1.1\r\n",
    b"POST /predict/\x7fshout HTTP/1.1\r\n",
    b"POST /predict/shout HTTP/1.1\n",
    b"\x16\x03\x01\x02\x00\x01\r\n",
    b"this is no request\r\n",
    b"\n",
    b"HTTP/1.1 200 OK\r\n",
    b"POST http://me@x/ HTTP/1.1\r\n",
)
_CHUNKS = (
    b"x\r\n",
    b"-1\r\n",
    b"5 \r\nhello\r\n",
    b"5\nhello\r\n",
    b"5\r\nhello\n",
    b"5\r\nhelloX\r\n",
    b"0x5\r\nhello\r\n",
    b"\r\n",
    b"1" * 30 + b"\r\n",
    b"5;" + b"a" * 30_000 + b"\r\nhello\r\n",
    b"0\r\nno colon\r\n\r\n",
    b"0\r\nX: y\n\r\n",
    b"0\r\n" + b"X: y\r\n" * 4000 + b"\r\n",
)


def wrong(random: Random) -> bytes:
    """Return a request that must be refused, whatever follows it."""
    kind = random.random()
    if kind < 0.5:
        return b"POST /predict/shout HTTP/1.1\r\n" + random.choice(_HEADERS) + b"\r\n"
    if kind < 0.8:
        return random.choice(_LINES) + _HOST + b"\r\n"
    return _POST + _CODING + b"\r\n" + random.choice((b"", b"3\r\nabc\r\n")) + random.choice(_CHUNKS)


def conversation(random: Random) -> Conversation:
    """Make some valid requests, possibly followed by an invalid one with a smuggled request, or with a few changed bytes."""
    requests = [random.choice(_RIGHT)(random) for _ in range(random.choice((1, 1, 2, 3, 6)))]
    sent, answers = b"".join(each.sent for each in requests), [(each.status, each.body) for each in requests]
    kind = random.random()
    if kind < 0.2:
        return Conversation(sent, answers, False)
    if kind < 0.7:
        return Conversation(sent + wrong(random) + random.choice((b"", b"0\r\n\r\n", b"hello")) + SMUGGLED, answers, True)
    at = random.randrange(len(sent))
    changed = random.choice((b"", bytes([sent[at] ^ 1 << random.randrange(8)]), random.randbytes(3), b"\r\n", b"\x00", b"\n"))
    end, complete = 0, 0
    for each in requests:
        end += len(each.sent)
        complete += end <= at
    return Conversation(sent[:at] + changed + sent[at + random.randrange(3) :], answers[:complete], None)


def fault(asked: Conversation, received: bytes) -> str:
    """Return what is wrong with the answers; "" if nothing."""
    answers, rest = _answers(received)
    if rest:
        return f"this is no answer, or not all of one: {rest[:200]!r}"
    for number, (status, body) in enumerate(asked.answers):
        if number >= len(answers):
            return f"{len(answers)} of {len(asked.answers)} requests are answered"
        if answers[number][0] != status or body not in (None, answers[number][1]):
            return f"answer {number} is {answers[number][0]} {answers[number][1][:200]!r}, not {status} {(body or b'')[:200]!r}"
    more = answers[len(asked.answers) :]
    if asked.is_refused and (len(more) != 1 or not 400 <= more[0][0] < 600):
        return f"what is wrong is answered by {more!r:.200}"
    if asked.is_refused is False and more:
        return f"there are more answers than requests: {more!r:.200}"
    return ""


def _answers(received: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Return status and body of each final answer (1xx is skipped), and the remaining bytes."""
    found = []
    while head := re.match(rb"HTTP/1\.1 (\d\d\d) [^\r\n]*\r\n(?:[a-z0-9-]+: [^\r\n]*\r\n)*\r\n", received):
        length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head[0])
        end = head.end() + (int(length[1]) if length else 0)
        if end > len(received):
            break
        if head[1] != b"100":
            found.append((int(head[1]), received[head.end() : end]))
        received = received[end:]
    return found, received

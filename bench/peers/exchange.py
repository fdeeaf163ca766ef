"""Requests to a server under measurement, and the answers that they must get."""

import http.client
from collections.abc import Callable
from typing import NamedTuple

from bench.peers.failures import WrongAnswer

TIMEOUT_S = 60.0


class Request(NamedTuple):
    """One request, sent again and again.

    Attributes:
        path: of the URL.
        headers: without those that HTTP itself asks for.
        body: what is posted.
        check: raises WrongAnswer unless the body that it is given is the right answer.
        marker: bytes that are in every right answer and in no error's.
    """

    path: str
    headers: dict[str, str]
    body: bytes
    check: Callable[[bytes], None]
    marker: bytes


class Measured(NamedTuple):
    """Results of a load generator.

    Attributes:
        requests: answered within the time.
        seconds: the time.
        p50_ms: median latency.
        p99_ms: 99th percentile of the latency.
        wrong: answers of another status than 200, or without the marker.
        lost: connections that broke and requests without an answer.
    """

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    wrong: int
    lost: int

    @property
    def per_second(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def post(port: int, request: Request) -> tuple[int, bytes]:
    """Send a request once; return the HTTP status and the body.

    Raises:
        OSError: no server answers.
        http.client.HTTPException: what comes back is not HTTP.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("POST", request.path, request.body, request.headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def check_once(port: int, request: Request) -> None:
    """Send a request once and check the answer.

    Raises:
        WrongAnswer: it is not the right one.
    """
    status, body = post(port, request)
    if status != 200:
        raise WrongAnswer(f"HTTP {status}: {body[:300]!r}")
    if request.marker not in body:
        raise WrongAnswer(f"an answer without {request.marker!r}: {body[:300]!r}")
    request.check(body)

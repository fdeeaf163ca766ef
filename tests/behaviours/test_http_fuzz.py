"""Malformed HTTP/1.1 connections: a slice of bench/fuzz_http1.py."""

import random
import socket
from itertools import pairwise

import pytest

from tests.conftest import Server
from tests.http1_conversations import conversation, fault


@pytest.fixture(scope="module")
def server(toys: Server) -> Server:
    return toys


def received(server: Server, pieces: list[bytes]) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        came = b""
        while part := connection.recv(1 << 16):
            came += part
        return came


@pytest.mark.parametrize("seed", range(3))
def test_right_requests_are_answered_in_order_and_wrong_ones_refused_however_they_are_sent(server: Server, seed: int) -> None:
    chances = random.Random(seed)
    for _ in range(100):
        asked = conversation(chances)
        places = sorted({0, len(asked.sent), *(chances.randrange(len(asked.sent)) for _ in range(chances.choice((0, 1, 5))))})
        assert not fault(asked, received(server, [asked.sent[start:end] for start, end in pairwise(places)])), asked
    log = server.log.read_text()
    assert "Traceback" not in log
    assert "unexpected error" not in log

"""TLS between machines: bytes arrive complete and in order, and closing one side closes the other."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from hubserve.errors import ConfigError
from hubserve.gateway.instances.remote_key import make_key
from hubserve.wire.tls import SharedKey, Untrusted, receive_line, relay, send_line

DATA = np.random.default_rng(0).bytes(3_000_000)


class Pair(NamedTuple):
    """Two local sockets, each at the end of its relay, and TLS between the relays."""

    one: socket.socket
    other: socket.socket
    threads: list[threading.Thread]


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SharedKey:
    path = tmp_path_factory.mktemp("key") / "shared"
    make_key(path)
    return SharedKey(path)


@pytest.fixture
def pair(key: SharedKey) -> Iterator[Pair]:
    raw_server, raw_client = socket.socketpair()
    server, client = key.wrap(raw_server, server_side=True), key.wrap(raw_client, server_side=False)
    shaking = threading.Thread(target=key.handshake, args=(server,))
    shaking.start()
    key.handshake(client)
    shaking.join()
    (one, inner_one), (other, inner_other) = socket.socketpair(), socket.socketpair()
    threads = [threading.Thread(target=relay, args=each) for each in ((client, inner_one), (server, inner_other))]
    for each in threads:
        each.start()
    with one, other:
        one.settimeout(30)
        other.settimeout(30)
        yield Pair(one, other, threads)
    for each in threads:
        each.join(30)
        assert not each.is_alive()


def received(sock: socket.socket, size: int, pause_s: float = 0) -> bytes:
    data = bytearray()
    while len(data) < size and (chunk := sock.recv(200_000)):
        data += chunk
        time.sleep(pause_s)
    return bytes(data)


def test_both_directions_at_once_arrive_in_order(pair: Pair) -> None:
    sending = [threading.Thread(target=each.sendall, args=(DATA,)) for each in (pair.one, pair.other)]
    for each in sending:
        each.start()
    answers: list[bytes] = []
    slow = threading.Thread(target=lambda: answers.append(received(pair.one, len(DATA), pause_s=0.005)))
    slow.start()
    assert received(pair.other, len(DATA)) == DATA
    slow.join()
    assert answers == [DATA]
    for each in sending:
        each.join()


def test_a_slow_reader_slows_the_sender_down_instead_of_filling_memory(pair: Pair) -> None:
    pair.one.setblocking(False)
    sent = 0
    with suppress(BlockingIOError):
        while sent < 100_000_000:
            sent += pair.one.send(DATA)
            time.sleep(0.01)
    assert sent < 20_000_000


@pytest.mark.parametrize("closed", ["one", "other"])
def test_an_end_on_one_side_ends_the_other_after_all_data(pair: Pair, closed: str) -> None:
    ends, stays = (pair.one, pair.other) if closed == "one" else (pair.other, pair.one)

    def send() -> None:
        ends.sendall(DATA)
        ends.shutdown(socket.SHUT_WR)

    sending = threading.Thread(target=send)
    sending.start()
    assert received(stays, len(DATA) + 1) == DATA
    sending.join()


def test_lines_are_bounded_in_length_and_time() -> None:
    one, other = socket.socketpair()
    with one, other:
        send_line(one, "hubserve\n" + "x" * 1000)
        one.sendall(b"next\n")
        assert receive_line(other, time.monotonic() + 10) == ("hubserve " + "x" * 1000)[:299]
        assert receive_line(other, time.monotonic() + 10) == "next"
        one.sendall(b"y" * 1000)
        with pytest.raises(Untrusted, match="does not speak"):
            receive_line(other, time.monotonic() + 10)
    one, other = socket.socketpair()
    with one, other, pytest.raises(socket.timeout):
        receive_line(other, time.monotonic() - 1)


def test_an_incomplete_key_is_refused(tmp_path: Path) -> None:
    make_key(tmp_path / "key")
    make_key(tmp_path / "another")
    text, another = (tmp_path / "key").read_text(), (tmp_path / "another").read_text()
    begin = text.index("-----BEGIN CERTIFICATE")
    for broken in (text[:begin], text[begin:], text[:begin] + another[another.index("-----BEGIN CERTIFICATE") :], text[:-60], ""):
        (tmp_path / "broken").write_text(broken)
        with pytest.raises(ConfigError, match="hub key remote"):
            SharedKey(tmp_path / "broken")
    (tmp_path / "broken").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="holds no key"):
        SharedKey(tmp_path / "broken")

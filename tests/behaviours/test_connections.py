"""A flood of connections does not keep other clients from being served."""

import contextlib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.behaviours.grpc_clients import start_with_grpc, write_certificate
from tests.conftest import Server, free_port, servers, toy, wait_for
from tests.unit.net.http2.raw import GOAWAY, PREFACE, Client, Raw

CHECK = "/grpc.health.v1.Health/Check"
LIVE = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
OTHER = "127.0.0.2"


@pytest.fixture(scope="module")
def served(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    """Start a server with room for few connections; yield it and its gRPC port."""
    folder = tmp_path_factory.mktemp("connections")
    with servers(shared_home, folder) as start:
        server, address = start_with_grpc(start, "doubler", max_connections=12, max_connections_per_peer=10)
        yield server, int(address.rpartition(":")[2])


@contextlib.contextmanager
def crowd(port: int, count: int, first: bytes = b"") -> Iterator[list[socket.socket]]:
    """Open connections whose clients send only these first bytes."""
    with contextlib.ExitStack() as stack:
        clients = []
        for _ in range(count):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            client.sendall(first)
            clients.append(client)
        yield clients


def ask(port: int, host: str = OTHER) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(host, 0)) as client:
        client.sendall(LIVE)
        return client.recv(4096)


def is_closed(client: socket.socket) -> bool:
    client.setblocking(False)
    with contextlib.suppress(ConnectionError):
        try:
            while client.recv(4096):
                pass
        except BlockingIOError:
            return False
    return True


@pytest.mark.parametrize(("first", "first_of_grpc"), [(b"", b""), (b"GET / HTT", PREFACE[:17]), (LIVE, PREFACE)])
def test_a_crowd_of_idle_connections_makes_room_for_others_on_both_ports(
    served: tuple[Server, int], first: bytes, first_of_grpc: bytes
) -> None:
    server, grpc_port = served
    with crowd(server.port, 20, first), crowd(grpc_port, 20, first_of_grpc) as late:
        assert ask(server.port).startswith(b"HTTP/1.1 200")
        assert ask(server.port, "127.0.0.1").startswith(b"HTTP/1.1 200")
        with Client(grpc_port) as client:
            assert client.ask(CHECK, b"").status == 0
        wait_for(lambda: sum(map(is_closed, late)) >= 10)
        assert not is_closed(late[-1]), "those that came last are still open"


def test_an_idle_connection_of_http_2_that_makes_room_is_told_why(served: tuple[Server, int]) -> None:
    server, grpc_port = served
    with Raw(grpc_port) as idle:
        idle.synchronize()
        with crowd(server.port, 20):
            told = idle.until(GOAWAY).payload
    assert b"max_connections" in told


def test_who_has_all_connections_busy_is_told_that_there_are_no_more(served: tuple[Server, int]) -> None:
    server, _ = served
    begun = b"POST /predict/doubler HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    with crowd(server.port, 10, begun):
        wait_for(lambda: ask(server.port, "127.0.0.1").startswith(b"HTTP/1.1 503"))
        assert b"max_connections" in ask(server.port, "127.0.0.1")
        assert ask(server.port).startswith(b"HTTP/1.1 200"), "there is room for others"


def test_connections_that_do_not_go_on_with_their_tls_handshake_count(shared_home: Path, tmp_path: Path) -> None:
    certificate, _ = write_certificate(tmp_path)
    trusted = grpc.ssl_channel_credentials(certificate.read_bytes())
    with servers(shared_home, tmp_path) as start:
        _, address = start_with_grpc(start, "doubler", max_connections=10, grpc_tls_cert="cert.pem", grpc_tls_key="key.pem")
        with crowd(int(address.rpartition(":")[2]), 30) as clients:
            wait_for(lambda: sum(map(is_closed, clients)) >= 20)
            with grpc.secure_channel(address, trusted) as channel:
                assert health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20).status == 1


def test_with_few_descriptors_a_crowd_leaves_enough_of_them(shared_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limited = tmp_path / "python"
    limited.write_text(f'#!/bin/sh\nulimit -n 128\nexec "{sys.executable}" "$@"\n')
    limited.chmod(0o755)
    with servers(shared_home, tmp_path) as start:
        port = free_port()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", str(limited))
            server = start({"doubler": {**toy("doubler"), "workers": 1}}, port=port)
        with contextlib.ExitStack() as stack:
            for _ in range(300):
                client = stack.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(("127.0.0.1", port))
            for _ in range(3):
                assert ask(port).startswith(b"HTTP/1.1 200")
        assert server.process.poll() is None

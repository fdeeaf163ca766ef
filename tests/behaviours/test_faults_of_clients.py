"""What clients do wrong, over every protocol: at most one line of the log for each request, which names it, and never a traceback."""

import contextlib
import json
import logging
import re
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import grpc
import numpy as np
import pytest
import requests
import tritonclient.grpc as triton

from tests.behaviours.flask.applications import application
from tests.behaviours.grpc_clients import SERVICE, raw_call, tensor
from tests.conftest import MODULES, Server, free_port, servers, wait_for
from tests.http1_conversations import conversation
from tests.v2 import exchange
from tests.v2_mutations import ALL_CASES, calm_modules, is_complete, mutated, mutated_message

JSON = {"Content-Type": "application/json"}
#: path, headers and body of requests that are wrong in every way that has a message of its own
WRONG: list[tuple[str, dict[str, str], bytes]] = [
    ("/predict/shout", JSON, b"no json"),
    ("/predict/shout", JSON, b"[1]"),
    ("/predict/shout", JSON, b'{"unknown": 1}'),
    ("/predict/shout", JSON, b"[" * 100_000),
    ("/predict/shout", JSON, b'{"text": "' + b"x" * (2 << 20) + b'"}'),
    ("/predict/shout", JSON, b"\xff\xfe"),
    ("/predict/shout", {"Content-Type": "text/plain"}, b"x"),
    ("/predict/shout", {**JSON, "Content-Encoding": "gzip"}, b"not gzip"),
    ("/predict/shout", {**JSON, "Content-Encoding": "rot13"}, b"{}"),
    ("/predict/shout", {**JSON, "X-Hub-Timeout-Ms": "soon"}, b"{}"),
    ("/predict/shout", {**JSON, "X-Request-Id": "x" * 500}, b"no json"),
    ("/predict/shout", {"Content-Type": "multipart/form-data; boundary=x"}, b"--y\r\nbroken"),
    ("/predict/absent", JSON, b"{}"),
    ("/predict/sizes", JSON, b'{"first": {"a": 1}, "third": 3}'),
    ("/predict/doubler", JSON, b'{"data": "!!", "about": {"shape": [1]}}'),
    ("/predict/doubler", {"Content-Type": "application/octet-stream"}, b"123"),
    ("/predict/doubler", {"Content-Type": "image/png"}, b"no picture"),
    ("/v2/models/doubler/infer", JSON, b"{"),
    ("/v2/models/doubler/infer", JSON, b"{}"),
    ("/v2/models/doubler/infer", JSON, b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 9], "data": [1]}]}'),
    ("/v2/models/doubler/infer", {"Inference-Header-Content-Length": "9999"}, b"{}"),
    ("/v2/models/absent/infer", JSON, b'{"inputs": []}'),
    ("/v2/models/doubler/versions/99/infer", JSON, b'{"inputs": []}'),
    ("/v2/models/shout/generate", JSON, b"[]"),
    ("/v2/repository/models/doubler/load", JSON, b"{}"),
    ("/v2/nowhere", JSON, b""),
    ("/nowhere", {}, b"x"),
    ("/status", {}, b"x"),
]


class Served(NamedTuple):
    """A server with logs of everything, and the address of its own port for gRPC."""

    server: Server
    grpc_address: str

    def new_lines(self, since: int, marker: str) -> list[dict[str, Any]]:
        """Return the lines since a position of the log, once that of a last request with this id has come."""
        requests.get(self.server.url + "/health/live", headers={"X-Request-Id": marker}, timeout=30)
        wait_for(lambda: f'"{marker}"' in self.server.log.read_text())
        return [json.loads(line) for line in complete_lines(self.server)[since:].splitlines()]


def complete_lines(server: Server) -> str:
    """The log but for a line that is being written."""
    text = server.log.read_text()
    return text[: text.rfind("\n") + 1]


@contextlib.contextmanager
def serving(home: Path, folder: Path, *, apart: bool) -> Iterator[Served]:
    """A server whose gRPC has a port of its own, or shares that of HTTP."""
    (folder / "modules").mkdir()
    port = free_port()
    logs = {"log_level": "info", "log_format": "json", "access_log": "json"}
    limits = {"max_body_bytes": 1 << 20, "client_timeout_s": 2, "shared_memory": True}
    with servers(home, folder) as start:
        grpc_port = free_port() if apart else port
        server = start(calm_modules(folder / "modules"), **logs, **limits, port=port, grpc_port=grpc_port)
        yield Served(server, f"127.0.0.1:{grpc_port}")


@pytest.fixture(scope="module")
def served(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(shared_home, tmp_path_factory.mktemp("faults"), apart=False) as found:
        yield found


@pytest.fixture(scope="module")
def apart(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(shared_home, tmp_path_factory.mktemp("apart"), apart=True) as found:
        yield found


@pytest.fixture(autouse=True)
def _log_is_fine(request: pytest.FixtureRequest) -> Iterator[None]:
    name = "apart" if "apart" in request.node.name else "served"
    if "flask" in request.node.name:
        yield
        return
    served: Served = request.getfixturevalue(name)
    since = len(complete_lines(served.server))
    yield
    check_lines(served.new_lines(since, f"last-of-{abs(hash(request.node.name))}"))


def check_lines(lines: list[dict[str, Any]]) -> None:
    """Check that each line about a request is the only one, has no traceback, and names the request."""
    of_modules = [each for each in lines if "RuntimeWarning" in each.get("message", "")]  # of numpy, for odd numbers
    said: list[str] = []
    for line in [each for each in lines if each not in of_modules]:
        assert not re.search("Traceback|unexpected|see the server log", json.dumps(line)), line
        assert "exception" not in line
        if "bytes_in" not in line:
            assert line["level"] == "info", line
            assert line.get("request_id"), line
            assert "\n" not in line["message"], line
            assert len(line["message"]) < 2000, line
            said.append(line["request_id"])
    assert len(said) == len(set(said)), said


def test_faults_in_paddlehubs_protocol_and_in_v2_over_http(served: Served) -> None:
    for path, headers, body in WRONG:
        answer = requests.post(served.server.url + path, data=body, headers=headers, timeout=60)
        assert answer.status_code < 500 or "model_control" in answer.text, (path, answer.text)


@pytest.mark.parametrize("seed", range(3))
def test_mutated_requests(served: Served, seed: int) -> None:
    random = Random(seed)
    for case in random.choices(sorted(ALL_CASES), k=120):
        request = mutated(random, ALL_CASES[case])
        if is_complete(request):
            exchange(served.server.port, request)


def test_connections_that_are_malformed_broken_off_or_reset(served: Served) -> None:
    random = Random(0)
    head = b"POST /predict/shout HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"
    garbage = [b"\x16\x03\x01\x02\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100, b"\0" * 5000, head[:30], head + b"{", b""]
    for sent in [*(conversation(random).sent for _ in range(60)), *garbage]:
        for is_reset in (False, True):
            with socket.create_connection(("127.0.0.1", served.server.port), 30) as connection:
                if is_reset:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(sent)


@pytest.mark.parametrize("name", ["served", "apart"])
def test_faults_in_calls_over_grpc(request: pytest.FixtureRequest, name: str) -> None:
    random, address = Random(0), request.getfixturevalue(name).grpc_address
    for number in range(100):
        status, text = raw_call(address, "ModelInfer", mutated_message(random, "INT32", ("sizes", "shout") if number % 2 else ()))
        assert status not in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE), text
    for method in ("ModelReady", "ModelMetadata", "ModelConfig", "RepositoryModelLoad", "SystemSharedMemoryRegister", "Absent"):
        for body in (b"", b"\xff\xff\xff", b"\x0a\x06absent"):
            raw_call(address, method, body)


@pytest.mark.parametrize("name", ["served", "apart"])
def test_faults_in_streams_over_grpc(request: pytest.FixtureRequest, name: str) -> None:
    random, address = Random(0), request.getfixturevalue(name).grpc_address
    with grpc.insecure_channel(address) as channel:
        for _ in range(40):
            messages = iter([mutated_message(random, "INT32") for _ in range(3)])
            call = channel.stream_stream(SERVICE + "ModelStreamInfer")(messages, timeout=30)
            with contextlib.suppress(grpc.RpcError):
                list(call)
            assert call.code() not in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE), call.details()
    with triton.InferenceServerClient(address) as client:
        client.start_stream(callback=lambda result, error: None)
        for _ in range(3):
            client.async_stream_infer("absent", [tensor("x", np.ones((1, 2), np.float32))])
        client.stop_stream(cancel_requests=True)


def test_faults_in_a_flask_application(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    from hubserve.flask import blueprint

    made = blueprint([str(MODULES / name) for name in ("shout", "doubler", "sizes")])
    client = application(made).test_client()
    try:
        assert client.post("/predict/shout", json={"text": "a"}).status_code == 200
        caplog.clear()
        with caplog.at_level(logging.INFO, "hubserve"):
            for path, headers, body in WRONG:
                answer = client.post(path, data=body, headers=headers)
                assert answer.status_code < 500 or "model_control" in answer.text, (path, answer.text)
    finally:
        made.close()
    records = [each for each in caplog.records if each.name.startswith("hubserve") and each.name != "hubserve.access"]
    assert [each.getMessage() for each in records if each.exc_info or each.levelno > logging.INFO or "Traceback" in each.getMessage()] == []

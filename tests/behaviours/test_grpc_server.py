"""The gRPC port: its settings, TLS, deadlines, clients that leave, and the end of the server."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.behaviours.grpc_clients import Answers, start_with_grpc, tensor, texts, write_certificate
from tests.behaviours.test_metrics import scrape, total
from tests.conftest import MODULES, Server, Start, free_port, hub, toy, wait_for
from tests.unit.net.http2.raw import PREFACE, SETTINGS, frame

ONES = np.ones((1, 3), np.float32)
SLEEP = b'{"how": "sleep", "text": "1"}'
LIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def doubled(address: str, **options: object) -> list[list[float]]:
    with triton.InferenceServerClient(address, **options) as client:
        return client.infer("doubler", [tensor("x", ONES)], client_timeout=20).as_numpy("y").tolist()


def test_tls_serves_clients_that_trust_the_certificate_and_no_others(start: Start, tmp_path: Path) -> None:
    certificate, _ = write_certificate(tmp_path)
    # relative paths are looked up beside the configuration file
    _, address = start_with_grpc(start, "doubler", grpc_tls_cert="cert.pem", grpc_tls_key="key.pem")
    assert doubled(address, ssl=True, root_certificates=str(certificate)) == (ONES * 2).tolist()
    with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
        doubled(address)
    with pytest.raises(InferenceServerException, match="UNAVAILABLE"):
        doubled(address, ssl=True)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"grpc_tls_cert": "cert.pem"}, "'grpc_tls_cert' is set but 'grpc_tls_key' is not"),
        ({"grpc_tls_cert": "none.pem", "grpc_tls_key": "none.pem"}, "are not PEM files of a certificate and its key (No such file"),
        ({"grpc_tls_cert": "config.json", "grpc_tls_key": "config.json"}, "are not PEM files of a certificate and its key"),
        ({"grpc_port": -1}, "grpc_port"),
        ({"grpc_max_message_bytes": 0}, "grpc_max_message_bytes"),
        ({"port": 8777, "grpc_port": 8777, "grpc_tls_cert": "a", "grpc_tls_key": "b"}, "give gRPC a port of its own"),
    ],
)
def test_settings_that_cannot_be_used_are_told_before_anything_is_loaded(
    home: Path, tmp_path: Path, settings: dict[str, object], said: str
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"modules_info": {"doubler": toy("doubler")}, "port": 0, "grpc_port": 0, **settings}))
    told = hub("serving", "start", "-c", config, home=home)
    assert told.returncode != 0
    assert said in told.stderr
    assert "loading" not in told.stderr


def test_a_grpc_port_that_is_in_use_is_told_with_the_remedy(home: Path, start: Start) -> None:
    _, address = start_with_grpc(start, "doubler")
    port = address.rpartition(":")[2]
    told = hub("serving", "start", "-m", MODULES / "doubler", "-p", 0, "--grpc-port", port, home=home)
    assert told.returncode != 0
    assert f"cannot listen for gRPC on 127.0.0.1:{port}" in told.stderr
    assert "--grpc-port" in told.stderr


def test_without_the_extra_the_server_says_what_to_install(home: Path, tmp_path: Path) -> None:
    (tmp_path / "grpc.py").write_text("raise ModuleNotFoundError(\"No module named 'grpc'\")")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    told = hub("serving", "start", "-m", MODULES / "doubler", "-p", 0, "--grpc-port", 0, home=home, environ={"PYTHONPATH": path})
    assert told.returncode != 0
    assert "pip install 'hubserve[grpc]'" in told.stderr
    assert "Traceback" not in told.stderr


def test_without_the_extra_a_server_without_grpc_works(start: Start, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    for name in ("grpc", "grpc_health", "hpack", "tritonclient"):
        (hidden / f"{name}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{name}'\")")
    path = os.pathsep.join([str(hidden), *sys.path])
    server = start({"doubler": {**toy("doubler"), "workers": 1}}, environ={"PYTHONPATH": path})
    assert server.results("doubler", data="AAAAAAAAAAAAAAAA", about={"dtype": "float32", "shape": [1, 3]})["y"] == [[0, 0, 0]]


def answer_to(port: int, *parts: bytes) -> bytes:
    """Send bytes in parts and return the beginning of the answer."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            connection.sendall(part)
            time.sleep(0.02)
        return connection.recv(100)


def test_http_and_grpc_may_share_one_port(start: Start) -> None:
    port = free_port()
    server = start({"faulty": {**toy("faulty"), "workers": 1}, "doubler": {**toy("doubler"), "workers": 1}}, port=port, grpc_port=port)
    address = f"127.0.0.1:{port}"
    large = np.ones((1, 1 << 18), np.float32)
    for cut in (1, 2, 3, 4, 10, 23):  # the first bytes may be split anywhere
        assert answer_to(port, PREFACE[:cut], PREFACE[cut:] + frame(SETTINGS))[3] == SETTINGS
        assert answer_to(port, LIVE[:cut], LIVE[cut:]).startswith(b"HTTP/1.1 200 OK")
    with triton.InferenceServerClient(address) as client, ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            assert client.infer("doubler", [tensor("x", large)]).as_numpy("y").sum() == 2 << 18
            assert server.results("doubler", data="AAAAAAAAAAAAAAAA", about={"dtype": "float32", "shape": [1, 3]})["y"] == [[0, 0, 0]]
        called = Answers()
        client.async_infer("faulty", [tensor("arguments", texts(SLEEP), "BYTES")], called)
        wait_for(lambda: server.status("faulty")["requests"] == 1)
        stopped = pool.submit(server.process.send_signal, signal.SIGTERM)
        assert called.next().as_numpy("results").size == 1
        stopped.result()
    assert server.process.wait(60) == 0


def test_messages_are_bounded_by_a_setting_of_their_own(start: Start) -> None:
    _, address = start_with_grpc(start, "doubler", grpc_max_message_bytes=1000)
    assert doubled(address) == (ONES * 2).tolist()
    with triton.InferenceServerClient(address) as client, pytest.raises(InferenceServerException, match="RESOURCE_EXHAUSTED"):
        client.infer("doubler", [tensor("x", np.ones((1, 300), np.float32))])


def until(path: Path) -> list[triton.InferInput]:
    """The inputs of a request that ``faulty`` computes until a file is there."""
    return [tensor("arguments", texts(json.dumps({"how": "until", "text": str(path)}).encode()), "BYTES")]


def ended(server: Server) -> float:
    """Number of requests that are over, whatever became of them."""
    return total(scrape(server.url), "hubserve_requests_total", module="faulty")


def test_requests_in_progress_are_bounded(start: Start, tmp_path: Path) -> None:
    _, address = start_with_grpc(start, "faulty", max_concurrency=2)
    with triton.InferenceServerClient(address) as client, ThreadPoolExecutor(8) as pool:

        def ask(_: int) -> str:
            try:
                client.infer("faulty", until(tmp_path / "go on"))
            except InferenceServerException as error:
                return str(error.status())
            return "ok"

        asked = [pool.submit(ask, number) for number in range(8)]
        wait_for(lambda: sum(each.done() for each in asked) == 6)
        (tmp_path / "go on").touch()
        told = [each.result() for each in asked]
    assert set(told) <= {"ok", "StatusCode.RESOURCE_EXHAUSTED", "StatusCode.UNAVAILABLE"}
    assert told.count("ok") == 2


def test_a_client_s_deadline_ends_its_call_and_drops_its_work(start: Start, tmp_path: Path) -> None:
    server, address = start_with_grpc(start, "faulty")
    with triton.InferenceServerClient(address) as client:
        sleeping = client.async_infer("faulty", until(tmp_path / "go on"), Answers())
        wait_for(lambda: server.status("faulty")["requests"] == 1)
        with pytest.raises(InferenceServerException, match="DEADLINE_EXCEEDED"):
            client.infer("faulty", [tensor("arguments", texts(b"{}"), "BYTES")], client_timeout=0.2)
        wait_for(lambda: ended(server) == 1)
        sleeping.cancel()
        (tmp_path / "go on").touch()
        result = client.infer("faulty", [tensor("arguments", texts(b"{}"), "BYTES")])
    assert b'"calls":2' in result.as_numpy("results")[0].replace(b" ", b""), "what nobody waits for any more is not computed"


def test_a_call_that_its_client_cancels_is_not_computed(start: Start, tmp_path: Path) -> None:
    server, address = start_with_grpc(start, "faulty")
    with triton.InferenceServerClient(address) as client:
        answers = Answers()
        client.async_infer("faulty", until(tmp_path / "go on"), answers)
        wait_for(lambda: server.status("faulty")["requests"] == 1)
        calls = [client.async_infer("faulty", [tensor("arguments", texts(b"{}"), "BYTES")], Answers()) for _ in range(10)]
        wait_for(lambda: server.status("faulty")["requests"] == 11)
        for call in calls:
            call.cancel()
        wait_for(lambda: ended(server) == 10)
        (tmp_path / "go on").touch()
        assert b'"calls"' in answers.next().as_numpy("results")[0]
        result = client.infer("faulty", [tensor("arguments", texts(b"{}"), "BYTES")])
    assert b'"calls":2' in result.as_numpy("results")[0].replace(b" ", b"")


def test_a_server_that_is_told_to_stop_finishes_calls_and_streams_first(start: Start) -> None:
    server, address = start_with_grpc(start, "faulty")
    with triton.InferenceServerClient(address) as client, triton.InferenceServerClient(address) as other:
        called, streamed = Answers(), Answers()
        client.async_infer("faulty", [tensor("arguments", texts(SLEEP), "BYTES")], called)
        other.start_stream(streamed)
        other.async_stream_infer("faulty", [tensor("arguments", texts(SLEEP), "BYTES")])
        wait_for(lambda: server.status("faulty")["requests"] == 2)
        server.process.send_signal(signal.SIGTERM)
        assert called.next().as_numpy("results").size == 1
        assert streamed.next().as_numpy("results").size == 1
        assert streamed.next().status() == "StatusCode.UNAVAILABLE", "a stream that waits for requests does not hold the server up"
    assert server.process.wait(60) == 0


def test_instances_that_die_are_replaced_while_grpc_clients_call(start: Start) -> None:
    server, address = start_with_grpc(start, "faulty")
    before = server.instance_pids("faulty")
    with triton.InferenceServerClient(address) as client:
        with pytest.raises(InferenceServerException, match="INTERNAL"):
            client.infer("faulty", [tensor("arguments", texts(b'{"how": "kill"}'), "BYTES")])
        result = client.infer("faulty", [tensor("arguments", texts(b"{}"), "BYTES")])
    assert result.as_numpy("results").size == 1
    assert server.instance_pids("faulty") != before


def test_http_and_grpc_requests_are_computed_together(start: Start, tmp_path: Path) -> None:
    port, gate = free_port(), tmp_path / "gate"
    doubler = toy("doubler", delay_s=0.5, gate=str(gate))
    server = start({"doubler": {**doubler, "workers": 1, "preferred_batch_sizes": [6]}}, grpc_port=port)
    together: list[int] = []

    def over_http() -> None:
        together.append(server.results("doubler", data="AAAAAAAAAAAAAAAA", about={"dtype": "float32", "shape": [1, 3]})["together"])

    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        answers = Answers()
        gate.touch()
        client.async_infer("doubler", [tensor("x", ONES)], answers)
        wait_for(lambda: server.status("doubler")["requests"] == 1)
        for _ in range(5):  # they wait until the first is done
            client.async_infer("doubler", [tensor("x", ONES)], answers)
        wait_for(lambda: server.status("doubler")["requests"] == 6)
        thread = threading.Thread(target=over_http)
        thread.start()
        wait_for(lambda: server.status("doubler")["requests"] == 7)
        gate.unlink()
        thread.join()
        for _ in range(6):
            assert answers.next().as_numpy("y").tolist() == (ONES * 2).tolist()
    assert together[0] > 1


def test_the_command_line_opens_a_free_port_and_logs_it(home: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [
        sys.executable,
        "-m",
        "hubserve",
        "serving",
        "start",
        "-m",
        str(MODULES / "doubler"),
        "-p",
        "0",
        "--grpc-port",
        "0",
        "-w",
        "1",
    ]
    with log.open("w") as output, subprocess.Popen(command, stderr=output, env={**os.environ, "HUB_HOME": str(home)}) as process:
        try:
            wait_for(lambda: "loaded in" in log.read_text())
            address = log.read_text().partition("grpc://")[2].partition(" ")[0]
            assert doubled(address) == (ONES * 2).tolist()
        finally:
            process.terminate()
    assert process.returncode == 0

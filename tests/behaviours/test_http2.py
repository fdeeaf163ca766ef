"""The gRPC port to clients of HTTP/2 that are no gRPC library: curl (nghttp2), node, and h2."""

import json
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2

from tests.behaviours.grpc_clients import start_with_grpc, write_certificate
from tests.conftest import Server, servers
from tests.unit.net.http2.raw import Client, prefixed

CHECK = "/grpc.health.v1.Health/Check"
#: a HealthCheckResponse that says SERVING
SERVING = prefixed(b"\x08\x01")
HEADERS = ("content-type: application/grpc", "te: trailers")


def has_http2() -> bool:
    curl = shutil.which("curl")
    return curl is not None and "HTTP2" in subprocess.run([curl, "--version"], capture_output=True, text=True, check=False).stdout


needs_curl = pytest.mark.skipif(not has_http2(), reason="there is no curl with HTTP/2 here")
needs_node = pytest.mark.skipif(shutil.which("node") is None, reason="there is no node here")


@pytest.fixture(scope="module")
def served(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    folder = tmp_path_factory.mktemp("http2")
    with servers(shared_home, folder) as start:
        yield start_with_grpc(start, "doubler")


@pytest.fixture(scope="module")
def encrypted(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, str]]:
    folder = tmp_path_factory.mktemp("https2")
    write_certificate(folder)
    with servers(shared_home, folder) as start:
        yield start_with_grpc(start, "doubler", grpc_tls_cert="cert.pem", grpc_tls_key="key.pem")


def curl(folder: Path, url: str, *options: str, body: bytes = prefixed(b"")) -> tuple[str, bytes]:
    """What comes: the fields before and behind the body, and the body."""
    sent, came = folder / "sent", folder / "came"
    sent.write_bytes(body)
    came.write_bytes(b"")
    more = [word for header in HEADERS for word in ("-H", header)]
    command = ["curl", "-sS", "--max-time", "20", *options, *more, "--data-binary", f"@{sent}", "-D", "-", "-o", str(came), url]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode(), came.read_bytes()


@needs_curl
def test_curl_gets_a_message_and_its_status(served: tuple[Server, str], tmp_path: Path) -> None:
    head, body = curl(tmp_path, f"http://{served[1]}{CHECK}", "--http2-prior-knowledge")
    assert head.startswith("HTTP/2 200")
    assert "content-type: application/grpc\r\n" in head
    assert body == SERVING
    assert head.endswith(("grpc-status: 0\r\n", "grpc-status: 0\r\n\r\n")), "it comes behind the body"


@needs_curl
def test_curl_with_tls_agrees_on_http_2(encrypted: tuple[Server, str], tmp_path: Path) -> None:
    head, body = curl(tmp_path, f"https://{encrypted[1]}{CHECK}", "-k", "--http2")
    assert head.startswith("HTTP/2 200")
    assert body == SERVING
    assert head.endswith(("grpc-status: 0\r\n", "grpc-status: 0\r\n\r\n")), "it comes behind the body"


@needs_curl
def test_curl_is_told_what_is_wrong(served: tuple[Server, str], tmp_path: Path) -> None:
    url = f"http://{served[1]}"
    for path, body, status in (
        ("/none/None", prefixed(b""), 12),
        (CHECK, b"", 12),
        (CHECK, prefixed(b"x")[:-1], 13),
        (CHECK, prefixed(b"\xff\xff"), 3),
        (CHECK, prefixed(health_pb2.HealthCheckRequest(service="none").SerializeToString()), 5),
    ):
        head, _ = curl(tmp_path, url + path, "--http2-prior-knowledge", body=body)
        assert f"grpc-status: {status}\r\n" in head, head
        assert "grpc-message: " in head


@needs_curl
def test_curl_without_http_2_is_told_so(served: tuple[Server, str], tmp_path: Path) -> None:
    head, text = curl(tmp_path, f"http://{served[1]}/v2/health/ready", "--http1.1")
    assert head.startswith("HTTP/1.1 505 ")
    assert b"HTTP/1.1 is spoken at the server's other port" in text


_NODE = """
const http2 = require('http2');
const [url, path, count] = [process.argv[1], process.argv[2], Number(process.argv[3])];
const client = http2.connect(url, {rejectUnauthorized: false});
client.on('error', error => { console.error(String(error)); process.exit(1); });
let left = count;
const answers = [];
for (let number = 0; number < count; number++) {
  const call = client.request({':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers'});
  const answer = {body: '', status: 0, trailers: {}};
  call.on('response', headers => { answer.status = headers[':status']; });
  call.on('data', chunk => { answer.body += chunk.toString('hex'); });
  call.on('trailers', trailers => { answer.trailers = trailers; });
  call.on('close', () => {
    answers.push(answer);
    if (--left === 0) { console.log(JSON.stringify(answers)); client.close(); }
  });
  call.write(Buffer.from([0, 0]));
  call.end(Buffer.from([0, 0, 0]));
}
setTimeout(() => process.exit(2), 20000).unref();
"""


def node(url: str, path: str, count: int) -> list[dict[str, object]]:
    done = subprocess.run(["node", "-e", _NODE, url, path, str(count)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


@needs_node
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_node_gets_answers_to_calls_that_are_made_at_once(served: tuple[Server, str], encrypted: tuple[Server, str], scheme: str) -> None:
    address = (served if scheme == "http" else encrypted)[1]
    answers = node(f"{scheme}://{address}", CHECK, 50)
    assert len(answers) == 50
    for answer in answers:
        assert answer["status"] == 200
        assert answer["body"] == SERVING.hex()
        assert answer["trailers"]["grpc-status"] == "0"  # type: ignore[index]


@needs_node
def test_node_is_told_what_is_wrong(served: tuple[Server, str]) -> None:
    (answer,) = node(f"http://{served[1]}", "/none/None", 1)
    assert answer["body"] == ""
    assert answer["status"] == 200


def port_of(served: tuple[Server, str]) -> int:
    return int(served[1].rpartition(":")[2])


def test_h2_gets_the_answers_of_many_calls_of_one_connection(served: tuple[Server, str]) -> None:
    with Client(port_of(served)) as client:
        calls = [client.call(CHECK, b"") for _ in range(200)]
        assert all(prefixed(client.answer(each).messages[0]) == SERVING for each in calls)


@pytest.mark.parametrize(("coding", "status"), [("snappy", 12), ("gzip", 3), ("", 13)])
def test_messages_that_cannot_be_unpacked_are_refused(served: tuple[Server, str], coding: str, status: int) -> None:
    with Client(port_of(served)) as client:
        number = client.start(CHECK, **({"grpc_encoding": coding} if coding else {}))
        client.give(number, prefixed(b"not packed", 1), end=True)
        assert client.answer(number).status == status


def test_a_connection_that_is_cut_leaves_the_server_as_it_was(served: tuple[Server, str]) -> None:
    server, _ = served
    for length in (0, 5, 30, 60, 90):
        with socket.create_connection(("127.0.0.1", port_of(served))) as client:
            client.sendall((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">BHBBI", 0, 0, 4, 0, 0) * 10)[:length])
    with Client(port_of(served)) as client:
        assert client.ask(CHECK, b"").status == 0
    assert "unexpected" not in server.log.read_text()

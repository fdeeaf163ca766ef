"""Third-party HTTP/2 test programs, where they are installed: h2spec, and nghttp and h2load (docs/http2-security.md)."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.unit.net.http2.raw import prefixed
from tests.unit.net.http2.server import EchoServer

HEADERS = ("-H", "content-type: application/grpc", "-H", "te: trailers")


def needs(program: str) -> pytest.MarkDecorator:
    reason = f"{program} is not installed here; docs/http2-security.md says where to get it"
    return pytest.mark.skipif(shutil.which(program) is None, reason=reason)


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr


@needs("h2spec")
def test_h2spec_finds_no_fault(one_server: EchoServer) -> None:
    output = run("h2spec", "-h", "127.0.0.1", "-p", str(one_server.port), "-o", "5", *(["-t", "-k"] if one_server.is_encrypted else []))
    assert re.search(r"\b0 failed", output), output[-4000:]
    assert not re.search(r"\b0 passed", output), output


@needs("nghttp")
def test_nghttp_gets_an_answer_with_trailers(one_server: EchoServer, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(prefixed(b"nghttp"))
    output = run("nghttp", "-v", "-d", str(body), *HEADERS, one_server.url)
    assert re.search(r"grpc-status.*: .*0", output), output
    assert "recv GOAWAY" not in output
    assert "RST_STREAM" not in output


@needs("h2load")
@pytest.mark.parametrize("window_bits", ["16", "10"])
def test_h2load_gets_all_answers_on_few_connections(one_server: EchoServer, tmp_path: Path, window_bits: str) -> None:
    body = tmp_path / "body"
    body.write_bytes(prefixed(bytes(5000)))
    windows = ("-w", window_bits, "-W", window_bits)
    output = run("h2load", "-n", "1000", "-c", "4", "-m", "10", *windows, "-d", str(body), *HEADERS, one_server.url)
    assert "1000 succeeded, 0 failed, 0 errored" in output, output

"""Test helper for modules: serve the real module behind a real server.

    from pathlib import Path

    from hubserve.testing import served

    def test_it_greets():
        with served(Path(__file__).parent) as client:
            assert client.call(name="Ada") == {"greeting": "Hello, Ada"}

Nothing is installed.
"""

import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from hubserve.client import Client
from hubserve.errors import LoadFailed
from hubserve.kinds import find_kind

__all__ = ["served"]

_STOP_TIMEOUT_S = 30
_POLL_S = 0.02


@contextmanager
def served(folder: str | PathLike[str], *, start_timeout_s: float = 120, **init_args: Any) -> Iterator[Client]:
    """Serve a module's folder on a free port of this machine for as long as the context lasts.

    Args:
        folder: the module's folder; nothing is installed.
        start_timeout_s: how long it may take until the module can answer.
        **init_args: arguments of the module's constructor (or ``_initialize``).
    Returns:
        A client of the module.
    Raises:
        LoadFailed: the folder is not a module, or the module does not start; the message ends with the server's log.
    """
    path = Path(folder).expanduser().resolve()
    name = find_kind(path).describe(path).name
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="hubserve-testing-") as scratch:
        config, log = Path(scratch) / "config.json", Path(scratch) / "server.log"
        modules = {name: {"init_args": {"directory": str(path), **init_args}}}
        config.write_text(json.dumps({"modules_info": modules, "port": port}), encoding="utf-8")
        with log.open("wb") as output:
            command = [sys.executable, "-m", "hubserve", "serving", "start", "-c", str(config)]
            server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait_until_ready(server, port, name, log, start_timeout_s)
            with Client(f"http://127.0.0.1:{port}/predict/{name}") as client:
                yield client
        finally:
            _stop(server)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(server: "subprocess.Popen[bytes]", port: int, name: str, log: Path, timeout_s: float) -> None:
    opener = build_opener(ProxyHandler({}))
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise LoadFailed(f"the server of '{name}' ended while it started; its log:\n{log.read_text('utf-8', 'replace')[-4000:]}")
        try:
            with opener.open(f"http://127.0.0.1:{port}/health/ready", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(_POLL_S)
    raise LoadFailed(f"'{name}' was not ready within {timeout_s:g} s; the server's log:\n{log.read_text('utf-8', 'replace')[-4000:]}")


def _stop(server: "subprocess.Popen[bytes]") -> None:
    server.terminate()
    try:
        server.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()

"""A server reports its state to the service manager that started it, as units with ``Type=notify`` expect."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Start, hub

ECHO = {"doubler": {"init_args": {"directory": "tests/modules/doubler"}}}


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "notify"))
        receiver.settimeout(60)
        yield receiver


def message(manager: socket.socket, beginning: str) -> str:
    """Return the next message that begins so, past those of the watchdog."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        text = manager.recv(4096).decode()
        if text.startswith(beginning):
            return text
        assert text == "WATCHDOG=1", text
    raise AssertionError(f"nothing that begins with {beginning}")


def test_ready_reloads_heartbeats_and_the_end_are_reported(start: Start, manager: socket.socket, tmp_path: Path) -> None:
    running = start(ECHO, environ={"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "4000000"})
    assert "doubler" in message(manager, "READY=1")
    assert message(manager, "WATCHDOG=1")
    environ = Path(f"/proc/{running.instance_pids('doubler')[0]}/environ").read_bytes()
    assert b"NOTIFY_SOCKET" not in environ
    assert b"WATCHDOG_USEC" not in environ
    assert hub("serving", "reload", "-p", running.port, home=running.home).returncode == 0
    assert "MONOTONIC_USEC=" in message(manager, "RELOADING=1")
    assert message(manager, "READY=1")
    assert running.stop() == 0
    assert message(manager, "STOPPING=1")


def test_a_reload_that_fails_leaves_the_server_ready(start: Start, manager: socket.socket, tmp_path: Path) -> None:
    running = start(ECHO, environ={"NOTIFY_SOCKET": str(tmp_path / "notify")})
    assert message(manager, "READY=1")
    (tmp_path / f"config-{running.port}.json").write_text("{")
    assert hub("serving", "reload", "-p", running.port, home=running.home).returncode == 1
    assert message(manager, "RELOADING=1")
    assert message(manager, "READY=1")
    assert running.status("doubler")["ready"]

"""Every way in which a server ends, and which processes ``hub serving stop`` ends."""

import contextlib
import fcntl
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from tests.conftest import MODULES, ROOT, Server, Start, free_port, hub, toy, wait_for


def noted_files(home: Path) -> list[str]:
    return [path.name for path in (home / "conf").glob("*serving_*")]


@pytest.mark.parametrize("numbers", [[signal.SIGQUIT], [signal.SIGINT, signal.SIGINT]], ids=["quit", "ctrl-c twice"])
def test_an_end_at_once_waits_for_no_request_and_leaves_nothing(start: Start, home: Path, numbers: list[int]) -> None:
    server = start({"faulty": toy("faulty")})
    pids = server.instance_pids("faulty")
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(server.predict, "faulty", json={"how": "sleep", "text": "600"})
        wait_for(lambda: server.computing("faulty"))
        for number in numbers:
            server.process.send_signal(number)
            time.sleep(0.3)  # two signals at the same moment would be one
        assert server.process.wait(60) == 0
        with contextlib.suppress(requests.ConnectionError):
            assert answer.result(60).status_code >= 500
    assert noted_files(home) == []
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids))
    assert "Traceback" not in server.log.read_text()


def test_a_closed_terminal_ends_the_server_once_requests_are_answered(home: Path, tmp_path: Path) -> None:
    port = free_port()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "hubserve", "serving", "start", "-m", str(MODULES / "faulty"), "-p", str(port)]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, "HUB_HOME": str(home)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no other thread runs here
    )
    os.close(theirs)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(url + "/health/ready"))
        with ThreadPoolExecutor() as threads:
            answer = threads.submit(requests.post, f"{url}/predict/faulty", json={"how": "sleep", "text": "1"}, timeout=60)
            wait_for(lambda: requests.get(f"{url}/status", timeout=60).json()["modules"][0]["instances"][0]["in_flight"])
            os.close(ours)  # the kernel signals the server and its instances
            assert answer.result().json()["status"] == "000"
        assert process.wait(60) == 0
        assert noted_files(home) == []
    finally:
        process.kill()
        process.wait()


def test_under_nohup_a_closed_terminal_changes_nothing(home: Path, tmp_path: Path) -> None:
    port = free_port()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does; a child inherits it
    try:
        server = Server(["-m", str(MODULES / "shout"), "-p", str(port)], port, home, tmp_path / "log")
    finally:
        signal.signal(signal.SIGHUP, before)
    try:
        server.wait_until_ready().process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert server.results("shout", text="a") == "A!"
        assert server.stop() == 0
    finally:
        server.process.kill()
        server.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_signal_as_soon_as_the_server_is_noted_leaves_no_note(home: Path, tmp_path: Path, number: int) -> None:
    port = free_port()
    server = Server(["-m", str(MODULES / "shout"), "-p", str(port)], port, home, tmp_path / "log")
    try:
        wait_for((home / "conf" / f"serving_{port}.json").exists)
        server.process.send_signal(number)
        assert server.process.wait(60) == 0
        assert noted_files(home) == []
    finally:
        server.process.kill()
        server.process.wait()


def test_a_start_that_fails_late_leaves_no_note(home: Path, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        config = tmp_path / "config.json"
        settings = {"modules_info": {"shout": toy("shout")}, "port": free_port(), "grpc_port": other.getsockname()[1]}
        config.write_text(json.dumps(settings))
        failed = hub("serving", "start", "-c", config, home=home)
    assert (failed.returncode, "cannot listen for gRPC" in failed.stderr) == (1, True)
    assert noted_files(home) == []


# --- hub serving stop ---


@pytest.fixture
def bystander() -> Iterator["subprocess.Popen[bytes]"]:
    """Start a process that is not a server but has the command line of one."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "hub", "serving", "start"])
    yield process
    process.kill()
    process.wait()


def stop_refuses(port: int, home: Path, bystander: "subprocess.Popen[bytes]") -> str:
    done = hub("serving", "stop", "-p", port, "--timeout_s", 5, home=home)
    assert done.returncode == 1
    assert bystander.poll() is None
    return done.stderr


def test_stop_spares_a_process_that_has_the_id_of_a_killed_server(
    start: Start, home: Path, tmp_path: Path, bystander: "subprocess.Popen[bytes]"
) -> None:
    server = start({"shout": toy("shout")})
    server.process.kill()
    server.process.wait()
    rename_pid(home, server.port, bystander.pid)
    told = stop_refuses(server.port, home, bystander)
    assert f"process {bystander.pid}, which it names, is not ended" in told
    assert f"kill {bystander.pid}" in told, "what to do if it is a server of an older release"
    status = hub("serving", "status", "-p", server.port, home=home)
    assert (status.returncode, "no hub server answers" in status.stderr) == (1, True)
    again = Server(["-m", str(MODULES / "shout"), "-p", str(server.port)], server.port, home, tmp_path / "again.log")
    try:
        again.wait_until_ready()
        assert hub("serving", "stop", "-p", server.port, home=home).returncode == 0
        assert again.process.wait(60) == 0
    finally:
        again.process.kill()
        again.process.wait()


def test_stop_spares_a_process_that_is_named_in_the_file_of_a_running_server(
    start: Start, home: Path, bystander: "subprocess.Popen[bytes]"
) -> None:
    server = start({"shout": toy("shout")})
    rename_pid(home, server.port, bystander.pid)
    stop_refuses(server.port, home, bystander)
    assert server.results("shout", text="a") == "A!"


def rename_pid(home: Path, port: int, pid: int) -> None:
    path = home / "conf" / f"serving_{port}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pid": pid}))


def test_stop_removes_what_a_killed_server_left(start: Start, home: Path) -> None:
    server = start({"shout": toy("shout")})
    server.process.kill()
    server.process.wait()
    done = hub("serving", "stop", "-p", server.port, home=home)
    assert (done.returncode, "no hub server runs on port" in done.stderr) == (1, True)
    assert not (home / "conf" / f"serving_{server.port}.json").exists()


def test_status_says_of_another_program_that_it_is_no_hub_server(home: Path, tmp_path: Path) -> None:
    (tmp_path / "status").write_text("{}")
    with web_server(tmp_path) as port:
        done = hub("serving", "status", "-p", port, home=home)
    assert (done.returncode, "is not a hub server" in done.stderr, "Traceback" in done.stderr) == (1, True, False)


@contextlib.contextmanager
def web_server(folder: Path) -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"], cwd=folder, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/status"))
        yield port
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(url, timeout=10).ok
    return False

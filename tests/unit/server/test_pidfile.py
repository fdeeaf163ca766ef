"""Identify a server's process by its pid file."""

import contextlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hubserve.server import pidfile

PORT = 8123
HOLD = f"""
import sys, time
from hubserve.server import pidfile
with pidfile.held({PORT}, ["shout"]):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(home: Path) -> Iterator["subprocess.Popen[str]"]:
    """Start a process that holds the lock on the pid file of PORT."""
    process = subprocess.Popen([sys.executable, "-c", HOLD], env={**os.environ, "HUB_HOME": str(home)}, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.fixture
def bystander() -> Iterator["subprocess.Popen[bytes]"]:
    """Start a process that is not a server but has the command line of one."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "serving", "start", "-p", str(PORT)])
    yield process
    process.kill()
    process.wait()


def note(pid: int) -> None:
    """Write a process id to the pid file, in place."""
    path = pidfile.path_for(PORT)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"pid": pid, "module": ["shout"], "start_time": time.time()}))


def test_the_process_that_holds_the_lock_is_the_server(holder: "subprocess.Popen[str]") -> None:
    found = pidfile.find(PORT)
    assert found
    assert (found.pid, found.modules, found.process.is_alive) == (holder.pid, ["shout"], True)
    assert pidfile.running_servers().keys() == {PORT}


def test_the_file_of_a_killed_server_names_no_process_and_is_removed(holder: "subprocess.Popen[str]") -> None:
    found = pidfile.find(PORT)
    holder.kill()
    holder.wait()
    assert pidfile.find(PORT) is None
    assert found
    assert not found.process.is_alive
    assert pidfile.find_unproven(PORT) is None
    pidfile.remove_stale(PORT)
    assert list(pidfile.conf_dir().iterdir()) == []


def test_a_process_with_the_command_line_of_a_server_is_not_trusted(home: Path, bystander: "subprocess.Popen[bytes]") -> None:
    note(bystander.pid)
    assert pidfile.find(PORT) is None
    assert pidfile.find_unproven(PORT) == bystander.pid
    pidfile.remove_stale(PORT)
    assert pidfile.path_for(PORT).exists(), "it may be the file of a server of an older release"


def test_a_process_without_the_lock_is_not_trusted_though_another_holds_it(
    holder: "subprocess.Popen[str]", bystander: "subprocess.Popen[bytes]"
) -> None:
    note(bystander.pid)
    assert pidfile.find(PORT) is None
    note(holder.pid)
    assert pidfile.find(PORT)


@pytest.mark.parametrize("content", ["", "[]", "null", "{", '{"pid": "x"}', '{"pid": -1, "module": [], "start_time": 0}', "\xff"])
def test_an_invalid_pid_file_names_no_process(home: Path, content: str) -> None:
    path = pidfile.path_for(PORT)
    path.parent.mkdir(parents=True)
    path.write_text(content, "latin-1")
    assert pidfile.find(PORT) is None
    assert pidfile.find_unproven(PORT) is None
    pidfile.remove_stale(PORT)
    assert not path.exists()


def test_the_file_is_gone_after_an_error_and_a_successors_file_stays(home: Path) -> None:
    with contextlib.suppress(RuntimeError), pidfile.held(PORT, []):
        assert pidfile.find(PORT)
        raise RuntimeError
    assert not pidfile.path_for(PORT).exists()
    with pidfile.held(PORT, ["first"]):
        second = pidfile.held(PORT, ["second"])
        second.__enter__()
    found = pidfile.find(PORT)
    assert found
    assert found.modules == ["second"]
    second.__exit__(None, None, None)
    assert not pidfile.path_for(PORT).exists()


def test_an_ended_process_that_was_not_reaped_counts_as_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    seen = pidfile.find_process(process.pid)
    assert seen
    assert seen.is_alive
    process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30
    while seen.is_alive and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not seen.is_alive
    process.wait()


def test_a_later_process_of_the_same_id_is_another_one() -> None:
    own = pidfile.find_process(os.getpid())
    assert own
    assert own.is_alive
    assert not own._replace(start_ticks=own.start_ticks - 1).is_alive


def test_servers_that_start_and_end_at_once_leave_no_file(home: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_hold_often) for _ in range(3)]
    for each in processes:
        each.start()
    for each in processes:
        each.join(60)
        assert each.exitcode == 0
    assert list((home / "conf").iterdir()) == []


def _hold_often() -> None:
    for _ in range(100):
        with pidfile.held(PORT, []):
            pass
        pidfile.remove_stale(PORT)

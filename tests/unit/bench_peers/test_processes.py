"""A server's processes are all found, measured and ended."""

import subprocess
import sys
from pathlib import Path

from bench.peers import processes
from tests.conftest import wait_for

# a server whose child outlives it, in a session of its own
SERVER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; kept = b'x' * 30_000_000; time.sleep(600)"], start_new_session=True)
time.sleep(600)
"""


def start(folder: Path) -> "subprocess.Popen[bytes]":
    server = processes.start([sys.executable, "-c", SERVER], {}, folder, folder / "log")
    wait_for(lambda: len(processes.tree(server.pid)) == 2)
    return server


def test_server_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    server = start(tmp_path)
    family = processes.tree(server.pid)
    processes.stop(server)
    assert not any(alive(pid) for pid in family)


def test_memory_counts_the_children_too(tmp_path: Path) -> None:
    server = start(tmp_path)
    try:
        child = processes.tree(server.pid)[1]
        wait_for(lambda: processes.memory_bytes(child) > 30_000_000)
        assert processes.memory_bytes(server.pid) > processes.memory_bytes(child)
    finally:
        processes.stop(server)


def test_process_that_has_ended_has_no_memory(tmp_path: Path) -> None:
    server = start(tmp_path)
    processes.stop(server)
    assert processes.memory_bytes(server.pid) == 0


def alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended may still wait for its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False

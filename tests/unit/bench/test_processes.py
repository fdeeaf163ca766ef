"""What processes use, held against processes of the test's own."""

import os
import subprocess
import sys

import psutil

from hubserve.bench import processes


def test_a_tree_holds_children_and_their_children_until_they_end() -> None:
    script = "import subprocess, sys; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True); "
    script += "sys.stdin.read(); child.kill(); child.wait()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        assert processes.tree(process.pid) == [process.pid, child]
        assert child in processes.tree(os.getpid())
        process.communicate("")
    assert processes.tree(process.pid) == []


def test_time_and_memory_are_what_psutil_reads() -> None:
    own = psutil.Process()
    times = own.cpu_times()
    before = times.user + times.system + times.children_user + times.children_system
    assert 0 < before - 0.05 <= processes.cpu_s([own.pid])
    held = bytearray(os.urandom(30_000_000))
    assert abs(processes.resident_bytes([own.pid]) - own.memory_info().rss) < len(held) / 2
    assert processes.cpu_s([]) == processes.resident_bytes([]) == 0


def test_the_time_of_children_that_have_ended_counts() -> None:
    meter = processes.Meter(os.getpid())
    meter(True)
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.2: pass"], check=True)
    meter(False)
    assert meter.usage.cpu_s >= 0.15
    assert meter.usage.resident_bytes > 1e6


def test_command_line_environment_and_folder_of_a_process_are_read() -> None:
    command, environ = ["sh", "-c", "echo; read line"], {"A": "b=c", "PATH": os.environ["PATH"]}
    with subprocess.Popen(command, env=environ, cwd="/", stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()  # a process that has only just been started has no words yet
        assert processes.words(process.pid) == command
        assert processes.environ(process.pid)["A"] == "b=c"
        assert str(processes.working_directory(process.pid)) == "/"
        process.communicate(b"\n")

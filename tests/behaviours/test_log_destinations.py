"""Logs that cannot be written: requests are answered all the same, also while modules write a lot."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
import requests

from tests.conftest import ROOT, Server, free_port, toy, wait_for

WRONG = {"data": b"no json", "headers": {"Content-Type": "application/json"}, "timeout": 60}
MODULES = {"talkative": toy("talkative"), "shout": toy("shout")}


def use(url: str, rounds: int) -> None:
    """Have the server write some MB, and check each answer."""
    for number in range(rounds):
        wrote = requests.post(url + "/predict/talkative", json={"text": f"{number}" + "x" * 1000, "count": 100}, timeout=60)
        assert wrote.json()["status"] == "000"
        assert requests.post(url + "/predict/shout", json={"text": "hi"}, timeout=60).json()["results"] == "HI!"
        assert requests.post(url + "/predict/shout", **WRONG).status_code == 400


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk with room for 16 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_costs_lines_and_no_requests(start, small_disk):
    log, access = small_disk / "hub.log", small_disk / "access.log"
    files = {"log_file": str(log), "access_log_file": str(access)}
    server = start(MODULES, log_format="json", access_log="json", **files)
    filler = small_disk / "filler"
    for size in (1 << 16, 1 << 12):
        with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):  # until no space is left
            while True:
                file.write(bytes(size))
    use(server.url, 4)
    for _ in range(60):  # more lines of the access log than fit into the rest of its last page
        assert requests.post(server.url + "/predict/shout", **WRONG).status_code == 400
    time.sleep(3)  # they are written every 0.2 s
    filler.unlink()

    def both_say_so() -> bool:
        requests.post(server.url + "/predict/shout", **WRONG)
        return all("lines are missing here" in each.read_text("utf-8", "replace") for each in (log, access))

    wait_for(both_say_so)
    for each in (log, access):
        assert (
            "missing" in json.loads(next(line for line in each.read_text("utf-8", "replace").splitlines() if "missing" in line))["message"]
        )
    assert server.stop() == 0


def test_a_device_that_takes_nothing_costs_no_requests(start):
    server = start(MODULES, access_log="json", log_file="/dev/full", access_log_file="/dev/full")
    use(server.url, 2)
    assert server.stop() == 0


@pytest.fixture
def piped(home: Path, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A server whose standard error is a pipe."""
    port = free_port()
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"modules_info": MODULES, "port": port, "access_log": "json", "log_format": "json"}))
    command = [sys.executable, "-m", "hubserve", "serving", "start", "-c", str(config)]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "HUB_HOME": str(home)}, stderr=subprocess.PIPE) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            wait_for(lambda: _is_ready(url), 240)
            yield process, url
        finally:
            process.kill()
            assert process.stderr is not None
            process.stderr.close()


def _is_ready(url: str) -> bool:
    try:
        return requests.get(url + "/health/ready", timeout=10).status_code == 200
    except requests.ConnectionError:
        return False


def _stderr(process: subprocess.Popen[bytes]) -> IO[bytes]:
    assert process.stderr is not None
    return process.stderr


def test_a_reader_of_standard_error_that_has_stopped_holds_up_nothing(piped):
    process, url = piped
    use(url, 5)
    found = threading.Event()

    def read() -> None:
        for line in _stderr(process):
            if b"written at last" in line:
                found.set()

    reader = threading.Thread(target=read)
    reader.start()
    requests.post(url + "/predict/talkative", json={"text": "written at last"}, timeout=60)
    assert found.wait(30)
    process.terminate()
    assert process.wait(60) == 0
    reader.join(60)


def test_a_reader_of_standard_error_that_has_gone_holds_up_nothing(piped):
    process, url = piped
    _stderr(process).close()
    use(url, 5)
    process.terminate()
    assert process.wait(60) == 0


def test_a_server_whose_standard_error_nobody_reads_can_be_stopped(piped):
    process, url = piped
    use(url, 5)
    process.terminate()
    assert process.wait(60) == 0


def _moved(file: Path) -> None:
    file.rename(file.with_name("moved"))


def _truncated(file: Path) -> None:
    os.truncate(file, 0)


def _folder_removed(file: Path) -> None:
    file.unlink()
    file.parent.rmdir()


@pytest.mark.parametrize("change", [_moved, Path.unlink, _truncated, _folder_removed])
def test_files_are_written_again_whatever_other_programs_do_to_them(start, tmp_path, change: Callable[[Path], None]):
    path = tmp_path / "logs" / "hub.log"
    server: Server = start(MODULES, log_file=str(path), access_log="text")
    for text in ("before", "after"):
        server.predict("talkative", json={"text": f"written {text}"}, headers={"X-Request-Id": f"id-{text}"})
        words = (f"[request id-{text}] written {text}", f"request_id=id-{text}")
        wait_for(lambda words=words: path.exists() and all(each in path.read_text() for each in words))
        if text == "before":
            change(path)
    assert "written before" not in path.read_text()

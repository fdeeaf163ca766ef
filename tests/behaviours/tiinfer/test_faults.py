"""Processes of a script that end or hang while requests wait."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import requests

from tests.behaviours.tiinfer.conftest import script
from tests.conftest import Start, wait_for

REQUESTS = 300


def test_no_request_is_lost_when_processes_are_killed_under_load(start: Start) -> None:
    server = start({"chain": script("chain", workers=2)})
    stop = threading.Event()
    killed: list[int] = []

    def kill() -> None:
        while True:  # at once, and then now and again: the requests may be answered within a moment
            pids = server.instance_pids("chain")
            if len(pids) == 2:  # else a request whose process was killed could meet the same fate in the other one
                os.kill(pids[0], signal.SIGKILL)
                killed.append(pids[0])
            if stop.wait(0.3):
                return

    def ask(number: int) -> bool:
        time.sleep(0.005)
        answer = requests.post(f"{server.url}/inference", json={"numbers": [number]}, timeout=60)
        return answer.status_code == 200 and answer.json()["result"]["first"] == 2 * number

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with ThreadPoolExecutor(8) as threads:
            right = list(threads.map(ask, range(REQUESTS)))
    finally:
        stop.set()
        killer.join()
    assert killed
    assert all(right)


def test_requests_computed_together_survive_a_killed_process(start: Start) -> None:
    server = start({"together": script("together", environ={"TI_INFERENCE_MAX_BATCH_SIZE": "8"})})
    (pid,) = server.instance_pids("together")
    with ThreadPoolExecutor(32) as threads:
        asked = [threads.submit(requests.post, f"{server.url}/inference", json={"n": number}, timeout=60) for number in range(64)]
        time.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
        assert [each.result().json()["n"] for each in asked] == list(range(64))


def test_a_request_that_ends_processes_is_refused_and_costs_no_other(start: Start) -> None:
    server = start({"chain": script("chain", workers=2)})
    answer = requests.post(f"{server.url}/inference", json={"exit": True}, timeout=60)
    assert answer.status_code == 500
    wait_for(lambda: server.status("chain")["ready"])
    assert server.results("chain", numbers=[1])["result"]["first"] == 2


def test_a_process_that_hangs_is_replaced(start: Start) -> None:
    server = start({"chain": script("chain", compute_timeout_s=2)})
    (pid,) = server.instance_pids("chain")
    os.kill(pid, signal.SIGSTOP)
    assert requests.post(f"{server.url}/inference", json={"numbers": [3]}, timeout=60).json()["result"]["first"] == 6
    assert server.instance_pids("chain") != [pid]

"""Instances that hang, stop, leak or run out of memory are replaced, and nobody's answer is lost by it."""

import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import requests

from hubserve.module import encode_array
from tests.conftest import Server, Start, toy, wait_for


def double(server: Server, numbers: list[float]) -> dict[str, Any]:
    data, about = encode_array(np.asarray(numbers, np.float32).reshape(-1, 1))
    return server.predict("moody", json={"data": data, "about": about}).json()


def check_doubled(answers: list[dict[str, Any]]) -> None:
    assert [each["status"] for each in answers] == ["000"] * len(answers), answers
    assert [each["results"]["y"] for each in answers] == [[[2.0 * number]] for number in range(len(answers))]


def test_requests_of_a_hung_instance_are_answered_by_another(start: Start, tmp_path: Path) -> None:
    module = {**toy("moody", hangs_once=str(tmp_path / "hung")), "compute_timeout_s": 4.0, "workers": 2}
    server = start({"moody": module})
    before = server.instance_pids("moody")
    with ThreadPoolExecutor(8) as threads:
        check_doubled(list(threads.map(lambda each: double(server, [each]), range(40))))
    wait_for(lambda: len(server.instance_pids("moody")) == 2)
    assert len(set(before) & set(server.instance_pids("moody"))) == 1
    assert server.status("moody")["restarts"] == 1
    assert "was ended because it did not answer within 4 s" in server.log.read_text()


def test_an_idle_instance_that_is_stopped_makes_the_server_not_ready_and_is_replaced(start: Start) -> None:
    server = start({"shout": toy("shout")}, ready_timeout_s=5.0)
    (stopped,) = server.instance_pids("shout")
    os.kill(stopped, signal.SIGSTOP)

    def refusal() -> dict[str, Any] | None:
        answer = requests.get(server.url + "/health/ready", timeout=10)
        return answer.json() if answer.status_code == 503 else None

    not_ready = wait_for(refusal)["not_ready"]["shout"]
    assert "none of its 1 running instances has answered for" in not_ready
    wait_for(lambda: server.instance_pids("shout") not in ([], [stopped]))
    assert server.results("shout", text="back") == "BACK!"
    assert requests.get(server.url + "/health/ready", timeout=10).status_code == 200
    wait_for(lambda: not psutil.pid_exists(stopped))
    assert "was ended because it did not answer within 10 s" in server.log.read_text()
    assert restarts(server, "shout") == {"hung"}


def restarts(server: Server, module: str) -> set[str]:
    """The causes for which metrics have restarts of a module's instances."""
    text = requests.get(server.url + "/metrics", timeout=10).text
    counts = re.findall(rf'hubserve_instance_restarts_total{{cause="(\w+)",module="{module}",version="[^"]*"}} (\S+)', text)
    return {cause for cause, count in counts if float(count)}


def test_an_instance_over_its_memory_bound_is_replaced_between_batches(start: Start) -> None:
    server = start({"moody": {**toy("moody", leaks_mb=10), "max_memory_mb": 200, "workers": 1}})
    (before,) = server.instance_pids("moody")
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda each: double(server, [each]), range(120)))
    check_doubled(answers)
    wait_for(lambda: server.status("moody")["restarts"])
    assert before not in server.instance_pids("moody")
    assert "and max_memory_mb is 200" in server.log.read_text()
    assert restarts(server, "moody") == {"memory_limit"}
    wait_for(lambda: not psutil.pid_exists(before))


def test_out_of_memory_is_answered_in_smaller_batches_and_by_a_fresh_process(start: Start) -> None:
    server = start({"moody": {**toy("moody", most_items=4), "workers": 1}})
    before = server.instance_pids("moody")
    answer = double(server, list(range(16)))
    assert answer["results"]["y"] == [[2.0 * each] for each in range(16)]
    assert server.status("moody")["max_batch_size"] == 4
    wait_for(lambda: server.instance_pids("moody") not in ([], before))
    wait_for(lambda: "ran out of memory with" in server.log.read_text())
    check_doubled([double(server, [each]) for each in range(3)])


def test_memory_for_not_even_one_item_is_the_requests_own_error(start: Start) -> None:
    server = start({"moody": {**toy("moody", most_items=0), "workers": 1}})
    answer = double(server, [1.0])
    assert (answer["status"], answer["msg"]) == ("101", "the module ran out of memory: no room for 1")

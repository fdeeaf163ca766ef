"""What goes wrong in a module stays there: the others, and the server, answer on."""

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubserve.module import encode_array
from tests.behaviours.test_metrics import scrape, total
from tests.conftest import Server, Start, hub, toy, wait_for


def double(server: Server, numbers: list[float]) -> dict:
    data, about = encode_array(np.asarray([numbers], np.float32))
    return server.predict("doubler", json={"data": data, "about": about}).json()


def test_a_module_that_calls_sys_exit_is_answered_and_its_instance_lives_on(start: Start) -> None:
    server = start({"faulty": toy("faulty")})
    before = server.instance_pids("faulty")
    answer = server.predict("faulty", json={"how": "exit"}).json()
    assert answer == {"status": "101", "msg": "the module called sys.exit(3) while it answered", "results": ""}
    assert server.instance_pids("faulty") == before


@pytest.mark.parametrize(("how", "words"), [("segfault", "was killed by SIGSEGV"), ("kill", "exited with status 7")])
def test_a_request_that_ends_instances_is_told_how_and_the_next_is_answered(start: Start, how: str, words: str) -> None:
    server = start({"faulty": toy("faulty"), "shout": toy("shout")})
    answer = server.predict("faulty", json={"how": how})
    assert answer.status_code == 500
    assert answer.json()["status"] == "101"
    assert words in answer.json()["msg"]
    assert "module 'faulty'" in answer.json()["msg"]
    assert server.results("shout", text="me too") == "ME TOO!"
    assert server.results("faulty", text="again")["text"] == "again"
    assert server.status("faulty")["instances"][0]["restarts"] == 2, "it was tried once more before it was given up"


def test_an_idle_instance_that_is_killed_is_replaced(start: Start) -> None:
    server = start({"shout": toy("shout")})
    (before,) = server.instance_pids("shout")
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: server.instance_pids("shout") not in ([], [before]))
    assert server.results("shout", text="back") == "BACK!"


def test_killed_instance_is_replaced_and_its_requests_are_retried(start: Start, tmp_path: Path) -> None:
    server, go_on = start({"faulty": toy("faulty", delay_s=0.1)}), tmp_path / "go on"
    (before,) = server.instance_pids("faulty")
    with ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(server.results, "faulty", how="until", text=str(go_on))]
        wait_for(lambda: server.computing("faulty"))
        waiting += [threads.submit(server.results, "faulty", text=str(each)) for each in (1, 2)]
        wait_for(lambda: server.computing("faulty") + server.waiting("faulty") == 3)
        os.kill(before, signal.SIGKILL)
        go_on.touch()
        answers = [each.result() for each in waiting]
    assert [each["text"] for each in answers] == [str(go_on), "1", "2"]
    assert before not in {each["pid"] for each in answers}


def test_requests_are_merged_while_the_instance_is_busy_and_each_gets_its_own_answer(start: Start) -> None:
    server = start({"doubler": toy("doubler", delay_s=0.3)})
    with ThreadPoolExecutor(10) as threads:
        answers = list(threads.map(lambda each: double(server, [each, each + 0.5]), range(10)))
    assert [each["results"]["y"] for each in answers] == [[[2.0 * each, 2.0 * each + 1]] for each in range(10)]
    assert max(each["results"]["together"] for each in answers) > 1


def test_a_bad_item_in_a_merged_batch_fails_alone(start: Start) -> None:
    server = start({"doubler": toy("doubler", delay_s=0.2)})
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda each: double(server, [float("nan") if each == 5 else each]), range(8)))
    assert answers[5] == {"status": "101", "msg": "not a number among the numbers", "results": ""}
    assert [each["results"]["y"] for each in answers if each is not answers[5]] == [[[2.0 * each]] for each in (0, 1, 2, 3, 4, 6, 7)]


def test_an_item_that_kills_the_instance_of_a_merged_batch_is_the_only_one_refused(start: Start) -> None:
    server = start({"doubler": toy("doubler", delay_s=0.2)})
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda each: double(server, [float("inf") if each == 3 else each]), range(6)))
    assert "exited with status 9" in answers[3]["msg"]
    assert [each["status"] for each in answers] == ["000", "000", "000", "101", "000", "000"]


def test_arrays_of_other_lengths_are_not_merged_and_all_are_answered(start: Start) -> None:
    server = start({"doubler": toy("doubler", delay_s=0.1)})
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda each: double(server, [1.0] * (1 + each % 3)), range(8)))
    assert [len(each["results"]["y"][0]) for each in answers] == [1 + each % 3 for each in range(8)]


def test_a_request_larger_than_the_largest_batch_is_computed_in_parts(start: Start) -> None:
    server = start({"doubler": toy("doubler")})
    data, about = encode_array(np.arange(50, dtype=np.float32).reshape(50, 1))
    results = server.results("doubler", data=data, about=about)
    assert results["y"] == [[2.0 * each] for each in range(50)]
    assert results["together"] == 50 - 3 * 16


def test_one_bad_module_does_not_keep_the_others_from_being_served(start: Start, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "module.py").write_text(
        'import no_such_package\nfrom hubserve.module import moduleinfo\n@moduleinfo(name="broken", version="1.0.0")\nclass B: pass\n'
    )
    modules = {
        "shout": toy("shout"),
        "faulty": toy("faulty", at_start="raise"),
        "broken": {"init_args": {"directory": str(tmp_path / "broken")}},
    }
    server = start(modules, wait=False)
    wait_for(lambda: "loaded in" in server.log.read_text())
    assert server.results("shout", text="served") == "SERVED!"
    answer = server.predict("faulty", json={}).json()
    assert answer["status"] == "111"
    assert "RuntimeError: it was asked to" in answer["msg"]
    assert "it imports 'no_such_package', which is not installed" in server.predict("broken", json={}).json()["msg"]


@pytest.mark.parametrize(
    ("how", "words"), [("raise", "RuntimeError: it was asked to"), ("exit", "SystemExit: 3"), ("segfault", "was killed by SIGSEGV")]
)
def test_a_server_whose_only_module_cannot_start_ends_with_the_reason(start: Start, how: str, words: str) -> None:
    server = start({"faulty": toy("faulty", at_start=how)}, wait=False)
    assert server.process.wait(60) == 1
    log = server.log.read_text()
    assert "hub: " in log
    assert words in log.splitlines()[-1], "the last line says why it ended"
    assert log.count("the load is tried once more") == (how == "segfault"), "what raises fails again"


CRASHES_ONCE = """
import os
from pathlib import Path
from typing import Any
from hubserve.module import moduleinfo, serving

@moduleinfo(name="crashes", version="1.0.0")
class Crashes:
    def _initialize(self):
        loads = Path({loads!r})
        with loads.open("a") as file:
            print(os.getpid(), file=file)
        if len(loads.read_text().splitlines()) <= {crashes}:
            os.kill(os.getpid(), {signal})

    @serving
    def pid(self):
        return os.getpid()
"""


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL], ids=lambda each: each.name)
def test_a_crash_while_loading_is_tried_once_more(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    server = start({"crashes": crashing(tmp_path, number, crashes=1)})
    crashed, loaded = (tmp_path / "loads").read_text().split()
    assert str(server.results("crashes")) == loaded
    warning = f"the process of module 'crashes' (pid {crashed}) was killed by {number.name} while it loaded; the load is tried once more"
    assert server.log.read_text().count(warning) == 1


def test_a_module_that_crashes_at_each_load_is_not_tried_a_third_time(start: Start, tmp_path: Path) -> None:
    server = start({"crashes": crashing(tmp_path, signal.SIGSEGV, crashes=99), "shout": toy("shout")}, wait=False)
    wait_for(lambda: "cannot be loaded" in server.log.read_text())
    assert server.results("shout", text="served") == "SERVED!"
    assert "was killed by SIGSEGV" in server.predict("crashes", json={}).json()["msg"]
    assert len((tmp_path / "loads").read_text().split()) == 2


def crashing(folder: Path, number: signal.Signals, crashes: int) -> dict[str, Any]:
    """Write a module whose first loads end by a signal; return its entry of ``modules_info``."""
    text = CRASHES_ONCE.format(loads=str(folder / "loads"), signal=int(number), crashes=crashes)
    (folder / "crashes").mkdir()
    (folder / "crashes" / "module.py").write_text(text)
    return {"workers": 1, "init_args": {"directory": str(folder / "crashes")}}


def test_wrong_init_args_are_told_by_name(start: Start) -> None:
    server = start({"shout": toy("shout", sufix="?")}, wait=False)
    assert server.process.wait(60) == 1
    assert "unexpected keyword argument 'sufix'" in server.log.read_text()


def test_a_module_that_takes_too_long_to_load_is_given_up(start: Start) -> None:
    server = start({"faulty": {**toy("faulty", at_start="sleep"), "load_timeout_s": 1.0}}, wait=False)
    assert server.process.wait(60) == 1
    assert "did not load within 1 s" in server.log.read_text()


def test_a_request_that_takes_too_long_is_answered_504(start: Start) -> None:
    server = start({"faulty": toy("faulty")}, request_timeout_s=0.5)
    answer = server.predict("faulty", json={"how": "sleep", "text": "2"})
    assert answer.status_code == 504
    assert "did not come in time" in answer.json()["msg"]


def test_a_full_queue_is_answered_at_once_with_429_and_retry_after(start: Start, tmp_path: Path) -> None:
    server, go_on = start({"faulty": {**toy("faulty", delay_s=0.1), "max_queue_size": 2}}), tmp_path / "go on"
    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(server.predict, "faulty", json={"how": "until", "text": str(go_on)}) for _ in range(8)]
        wait_for(lambda: sum(each.done() for each in asked) == 8 - 3)
        go_on.touch()
        answers = [each.result() for each in asked]
    refused = [each for each in answers if each.status_code == 429]
    assert len(refused) == 8 - 3
    assert all(each.headers["Retry-After"] == "1" and "limit" in each.json()["msg"] for each in refused)


def test_several_instances_compute_side_by_side(start: Start, tmp_path: Path) -> None:
    server, go_on = start({"faulty": toy("faulty")}, use_multiprocess=True, workers=3), tmp_path / "go on"
    with ThreadPoolExecutor(3) as threads:
        asked = [threads.submit(server.results, "faulty", how="until", text=str(go_on)) for _ in range(3)]
        wait_for(lambda: all(each["in_flight"] for each in server.status("faulty")["instances"]))
        go_on.touch()
        pids = {each.result()["pid"] for each in asked}
    assert pids == set(server.instance_pids("faulty"))
    assert len(pids) == 3


def test_no_instance_outlives_a_killed_gateway(start: Start) -> None:
    server = start({"faulty": toy("faulty"), "shout": toy("shout")}, use_multiprocess=True, workers=2)
    pids = server.instance_pids("faulty") + server.instance_pids("shout")
    assert len(pids) == 4
    server.process.kill()
    server.process.wait()
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_hub_run_ends_with_the_modules_own_status_and_says_what_it_raised(home: Path, tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(
        "import sys\nfrom hubserve.module import moduleinfo, runnable\n"
        '@moduleinfo(name="ends", version="1.0.0")\nclass Ends:\n    @runnable\n    def run(self, argv):\n'
        '        if argv:\n            raise RuntimeError("its own words")\n        sys.exit(4)\n'
    )
    assert hub("run", tmp_path, home=home).returncode == 4
    raised = hub("run", tmp_path, "x", home=home)
    assert raised.returncode == 1
    assert raised.stderr.splitlines()[-1] == "hub: its own words"


def test_a_hung_instance_is_replaced_and_the_next_requests_are_answered(start: Start) -> None:
    server = start({"faulty": toy("faulty")}, request_timeout_s=3.0)
    (hung,) = server.instance_pids("faulty")
    answer = server.predict("faulty", json={"how": "sleep", "text": "600"})
    assert answer.status_code == 504
    wait_for(lambda: server.instance_pids("faulty") not in ([], [hung]))
    assert server.results("faulty", text="well again")["text"] == "well again"
    assert "did not answer within 3 s" in server.log.read_text()


def test_a_request_whose_client_has_left_is_not_computed(start: Start, tmp_path: Path) -> None:
    server, go_on = start({"faulty": toy("faulty", delay_s=0.1)}), tmp_path / "go on"
    request = b"POST /predict/faulty HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(server.results, "faulty", how="until", text=str(go_on))
        wait_for(lambda: server.computing("faulty"))
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(request)
            wait_for(lambda: server.waiting("faulty") == 1)
        wait_for(lambda: total(scrape(server.url), "hubserve_requests_total", module="faulty") == 1)  # the server has noticed it
        last = threads.submit(server.results, "faulty")
        wait_for(lambda: server.status("faulty")["requests"] == 3)
        go_on.touch()
        assert [first.result()["calls"], last.result()["calls"]] == [1, 2]

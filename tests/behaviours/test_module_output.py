"""What modules write, in the server's log."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from tests.conftest import Server, toy, wait_for
from tests.v2 import served_under


@pytest.fixture(scope="module")
def talkative(shared_home: Path, tmp_path_factory: pytest.TempPathFactory):
    from tests.conftest import servers

    with servers(shared_home, tmp_path_factory.mktemp("talkative")) as start:
        yield start({"talkative": toy("talkative")}, log_format="json")


def lines_of(server: Server) -> list[dict]:
    """The complete lines of the server's log, all of which are JSON."""
    return [json.loads(line) for line in server.log.read_text().rpartition("\n")[0].splitlines()]


def said(server: Server, text: str, count: int = 1) -> list[dict]:
    """Wait for lines with a text."""

    def found() -> list[dict]:
        lines = [each for each in lines_of(server) if text in each["message"]]
        return lines if len(lines) >= count else []

    return wait_for(found)


def ask(server: Server, how: str, text: str, request_id: str = "", **more) -> requests.Response:
    headers = {"X-Request-Id": request_id} if request_id else {}
    return server.predict("talkative", json={"how": how, "text": text, **more}, headers=headers)


@pytest.mark.parametrize(
    ("how", "level", "logger"),
    [
        ("print", "info", None),
        ("log", "error", "talkative.inner"),
        ("warning", "warning", None),
        ("write", "info", None),
        ("puts", "info", None),
        ("thread", "info", None),
        ("child", "info", None),
        ("fork", "info", None),
        ("failing_thread", "error", None),
    ],
)
def test_whatever_a_module_writes_has_its_name_version_instance_and_request(talkative, how, level, logger):
    for number in range(2):  # the first output of native code is attributed otherwise than later ones
        text = f"{how} writes {number}"
        ask(talkative, how, text, f"id-{how}-{number}")
        line = said(talkative, text)[-1]
        about = {key: line.get(key) for key in ("module", "version", "instance", "request_id", "level", "logger")}
        expected = {"module": "talkative", "version": "1.2.3", "instance": "0", "request_id": f"id-{how}-{number}"}
        assert about == {**expected, "level": level, "logger": logger}
    if how == "log":
        assert line["message"] == f"{text}\nsecond line"


def test_output_while_a_module_loads_has_its_name(talkative):
    for text in ("imported", "constructed", "native while loading"):
        (line,) = said(talkative, text)
        assert (line["module"], line["version"], line["instance"]) == ("talkative", "1.2.3", "0")
        assert "request_id" not in line


def test_output_has_an_id_though_neither_the_client_nor_a_log_asked_for_one(talkative):
    ask(talkative, "print", "without an id")
    (line,) = said(talkative, "without an id")
    assert line["request_id"]


def test_a_traceback_has_everything_too_and_comes_once(talkative):
    ask(talkative, "raise", "it raises", "id-raise")
    (line,) = said(talkative, "ValueError: it raises")
    assert line["message"].startswith("a request failed in module code: Traceback")
    assert (line["module"], line["version"], line["request_id"]) == ("talkative", "1.2.3", "id-raise")


def test_long_lines_are_cut_and_garbage_is_escaped(talkative):
    ask(talkative, "long", "a long line")
    (line,) = said(talkative, "a long line")
    assert len(line["message"]) < 10_000
    assert line["message"].endswith(f"({1_000_000 + len('a long line') - 8192} more bytes)")
    ask(talkative, "binary", "some garbage")
    lines = said(talkative, "some garbage", 2)
    assert "\\xff" in lines[0]["message"]
    assert "\\xfe" in lines[1]["message"]
    assert "\x1b" not in talkative.log.read_text(), "no control character reaches a terminal"


def test_a_module_that_redirects_its_output_finds_no_marks_in_it(talkative):
    ask(talkative, "redirected", "to a pipe")
    (line,) = said(talkative, "captured")
    assert line["message"] == r"captured b'to a pipe\n'"


@pytest.mark.parametrize("how", ["crash", "exit", "leave_child"])
def test_the_last_words_of_a_process_are_logged_before_its_end(start, how):
    server = start({"talkative": toy("talkative")}, log_format="json")
    answer = ask(server, how, "last words", "id-last")
    assert answer.json()["status"] == "101"
    end = said(server, "the process of module 'talkative'")[0]
    assert (end["module"], end["version"], end["request_id"]) == ("talkative", "1.2.3", "id-last")
    lines = lines_of(server)
    before = [each for each in lines[: lines.index(end)] if each.get("request_id") == "id-last"]
    assert "last words" in [each["message"] for each in before]
    if how == "crash":
        fatal = [each for each in before if "Fatal Python error: Segmentation fault" in each["message"]]
        assert [each["level"] for each in fatal] == ["error"]
        assert any("module.py" in each["message"] and each["level"] == "error" for each in before)
    wait_for(lambda: server.status("talkative")["ready"])
    if how == "leave_child":
        left = next(each["message"] for each in before if each["message"].isdigit())
        os.kill(int(left), signal.SIGKILL)


def test_a_module_that_writes_without_end_stops_nobody(start):
    server = start({"talkative": toy("talkative"), "shout": toy("shout")}, log_format="json")
    assert ask(server, "endless", "on and on").json()["status"] == "000"
    lost = said(server, "lines of the module's output were left out")[0]
    assert (lost["level"], lost["module"]) == ("warning", "talkative")
    assert int(lost["message"].split()[0]) > 0
    assert server.results("shout", text="hi")
    assert ask(server, "print", "still there").json()["status"] == "000", "the module itself goes on"
    assert server.log.stat().st_size < 20_000_000


def test_text_lines_name_all_of_it_and_the_level_counts(start):
    server = start({"talkative": toy("talkative")}, log_level="warning")
    ask(server, "print", "not shown")
    ask(server, "log", "a shown one", "id-1")
    wait_for(lambda: "a shown one" in server.log.read_text())
    assert "ERROR [talkative@1.2.3 #0] [request id-1] a shown one\n  second line\n" in server.log.read_text()
    assert "not shown" not in server.log.read_text()


COROUTINES = """
import asyncio
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    async def execute(self, requests):
        answers = []
        for request in requests:
            value = int(pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()[0])
            print(f"begins with {value}")
            await asyncio.sleep(0.5)
            pb_utils.Logger.log_warn(f"ends with {value}")
            answers.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([value], np.int32))]))
        return answers
"""
CONFIG = """
name: "coroutines" backend: "python" max_batch_size: 0
input [ { name: "IN" data_type: TYPE_INT32 dims: [ 1 ] } ]
output [ { name: "OUT" data_type: TYPE_INT32 dims: [ 1 ] } ]
"""


@pytest.mark.parametrize("sends_ids", [True, False])
def test_coroutines_that_run_at_the_same_time_name_the_request_of_their_own(start, tmp_path, sends_ids):
    (tmp_path / "coroutines" / "1").mkdir(parents=True)
    (tmp_path / "coroutines" / "config.pbtxt").write_text(CONFIG)
    (tmp_path / "coroutines" / "1" / "model.py").write_text(COROUTINES)
    server = start({"coroutines": {"init_args": {"directory": str(tmp_path / "coroutines")}}}, log_format="json")

    def infer(value: int) -> requests.Response:
        body = {"inputs": [{"name": "IN", "datatype": "INT32", "shape": [1], "data": [value]}]}
        headers = {"X-Request-Id": f"id-{value}"} if sends_ids else {}
        return requests.post(f"{server.url}/v2/models/coroutines/infer", json=body, headers=headers, timeout=60)

    with ThreadPoolExecutor(3) as threads:
        assert [answer.status_code for answer in threads.map(infer, range(3))] == [200] * 3
    begun, ended = said(server, "begins with", 3), said(server, "ends with", 3)
    ids = {each["message"].split()[-1]: each["request_id"] for each in begun}
    assert len(set(ids.values())) == 3
    assert {each["message"].split()[-1]: each["request_id"] for each in ended} == ids
    assert {each["level"] for each in ended} == {"warning"}
    if sends_ids:
        assert ids == {str(value): f"id-{value}" for value in range(3)}


def test_what_is_written_for_a_batch_names_all_of_its_requests(start, tmp_path):
    module = served_under("doubler", "printing", tmp_path, {"time.sleep(self.delay_s)": "os.write(1, b'native\\n'); print('sum', x.sum())"})
    server = start({"printing": {**module, "workers": 1, "max_queue_delay_ms": 20_000, "preferred_batch_sizes": [3]}}, log_format="json")

    def infer(value: float, request_id: str) -> requests.Response:
        body = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [value]}]}
        headers = {"X-Request-Id": request_id} if request_id else {}
        return requests.post(f"{server.url}/v2/models/printing/infer", json=body, headers=headers, timeout=60)

    with ThreadPoolExecutor(3) as threads:
        answers = list(threads.map(infer, (10.0, 20.0, 30.0), ("id-1", "id-2", "")))
    assert [each.status_code for each in answers] == [200] * 3
    assert [each.json()["outputs"][0]["data"] for each in answers] == [[20.0], [40.0], [60.0]]
    (line,) = said(server, "sum 60.0")
    named = line["request_id"].split(",")
    assert len(named) == 3
    assert {"id-1", "id-2"} < set(named), "the third has one that was made for this line"
    native = wait_for(lambda: [each for each in lines_of(server) if each["message"] == "native" and "request_id" in each])
    assert set(native[-1]["request_id"].split(",")) >= {"id-1", "id-2"}

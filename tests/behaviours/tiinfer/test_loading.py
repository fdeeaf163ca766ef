"""Processes of a script, and scripts that cannot be loaded."""

import os
import shutil
from pathlib import Path

import pytest
import requests

from tests.behaviours.tiinfer.conftest import SCRIPTS, script
from tests.conftest import Start, hub, toy, wait_for

HEAD = "import tiinfer\n\n\nclass Mine(tiinfer.Model):\n    def __init__(self, model_dir):\n        super().__init__(model_dir)\n"


def written(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "model_service.py").write_text(text)
    return folder


def test_a_load_that_returns_false_is_shown_with_what_the_script_logged(start: Start) -> None:
    server = start({"unready": script("unready"), "chain": script("chain")}, wait=False)
    wait_for(lambda: "loaded in" in server.log.read_text())
    reason = requests.get(server.url + "/health/ready", timeout=60).json()["not_ready"]["unready"]
    assert "load() returned False, and logged: load model failed: [Errno 2] No such file or directory: '" in reason
    assert server.status("unready")["reason"] == reason
    answer = requests.post(server.url + "/predict/unready", json={}, timeout=60).json()
    assert answer["status"] == "111"
    assert reason in answer["msg"]
    assert "load model failed" in hub("serving", "status", "-p", server.port, home=server.home).stdout
    assert server.results("chain", numbers=[1])["result"]["first"] == 2


def test_inference_says_why_its_only_script_is_not_loaded(start: Start) -> None:
    server = start({"unready": script("unready"), "shout": toy("shout")}, wait=False)
    wait_for(lambda: "loaded in" in server.log.read_text())
    answer = requests.post(server.url + "/inference", json={}, timeout=60)
    assert answer.status_code == 503
    assert "load model failed" in answer.text


@pytest.mark.parametrize(
    ("rest", "reason"),
    [
        ("    def load(self):\n        raise OSError('no disk')\n", "Mine.load() failed: OSError: no disk"),
        ("    def load(self):\n        pass\n", "Mine.load() returned None instead of True without logging an error"),
        ("        1 / 0\n", "cannot construct 'Mine': ZeroDivisionError"),
        ("import nowhere_to_be_found\n", "imports 'nowhere_to_be_found', which is not installed"),
    ],
)
def test_other_failures_are_named(start: Start, tmp_path: Path, rest: str, reason: str) -> None:
    folder = written(tmp_path / "mine", HEAD + rest)
    server = start({"mine": {"init_args": {"directory": str(folder)}}, "shout": toy("shout")}, wait=False)
    wait_for(lambda: "loaded in" in server.log.read_text())
    assert reason in requests.get(server.url + "/health/ready", timeout=60).json()["not_ready"]["mine"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import tiinfer\n", "has no subclass of tiinfer.Model"),
        ("import tiinfer\ntiinfer.append_worker(object)\n", "it has no mosec, whose workers tiinfer.append_worker adds"),
        ("class Broken(:\n", "is not valid Python"),
    ],
)
def test_a_script_of_another_form_is_refused_at_its_install(home: Path, tmp_path: Path, text: str, reason: str) -> None:
    done = hub("install", written(tmp_path / "mine", text), home=home)
    assert done.returncode != 0
    assert reason in done.stderr


def test_a_script_without_load_and_other_methods_passes_requests_through(start: Start, tmp_path: Path) -> None:
    server = start({"mine": {"init_args": {"directory": str(written(tmp_path / "mine", HEAD))}}})
    assert requests.post(server.url + "/inference", json={"a": 1}, timeout=60).json() == {"a": 1}


@pytest.mark.parametrize(
    ("line", "environ", "settings", "count"),
    [
        ("", {}, {}, 1),
        ("        self.workers = 2\n", {}, {}, 2),
        ("        self.workers = 2\n", {"TI_INFERENCE_NUMS": "3"}, {}, 3),
        ("        self.workers = 2\n", {"TI_INFERENCE_NUMS": "3"}, {"workers": 1}, 1),
        ("        self.workers = N\nN = 2\n", {}, {}, 2),
    ],
)
def test_a_script_asks_for_processes(
    start: Start, tmp_path: Path, line: str, environ: dict[str, str], settings: dict[str, int], count: int
) -> None:
    folder = written(tmp_path / "mine", HEAD + line)
    server = start({"mine": {"init_args": {"directory": str(folder)}, "environ": environ, **settings}})
    assert len(server.instance_pids("mine")) == count


def test_the_servers_own_variables_count_as_well(start: Start) -> None:
    server = start({"chain": script("chain")}, environ={"TI_INFERENCE_NUMS": "2"})
    assert len(server.instance_pids("chain")) == 2


def test_a_variable_that_is_not_a_number_is_refused(start: Start) -> None:
    server = start({"chain": script("chain", environ={"TI_INFERENCE_MAX_BATCH_SIZE": "many"}), "shout": toy("shout")}, wait=False)
    assert server.process.wait(60) != 0
    assert "TI_INFERENCE_MAX_BATCH_SIZE is 'many'; give a whole number from 1 up" in server.log.read_text()


def test_the_model_may_lie_in_another_folder(start: Start, tmp_path: Path) -> None:
    text = HEAD + "        self.where = model_dir\n\n    def predict(self, request):\n        return self.where\n"
    folder, other = written(tmp_path / "mine", text), tmp_path / "other"
    other.mkdir()
    module = {"init_args": {"directory": str(folder)}}
    assert requests.post(start({"mine": module}).url + "/inference", json={}, timeout=60).json() == str(folder)
    server = start({"mine": {**module, "environ": {"TI_MODEL_DIR": str(other)}}})
    assert requests.post(server.url + "/inference", json={}, timeout=60).json() == str(other)


def test_the_same_script_is_served_from_two_folders_under_names_of_its_own(home: Path, tmp_path: Path) -> None:
    shutil.copytree(SCRIPTS / "chain", tmp_path / "copy")
    done = hub("serving", "start", "-m", SCRIPTS / "chain", "-m", tmp_path / "copy", home=home)
    assert "-m NAME=PATH" in done.stderr
    done = hub("serving", "start", "-m", SCRIPTS / "chain", "-m", f"b={SCRIPTS / 'nothing'}", home=home)
    assert done.returncode != 0


def test_python_of_a_scripts_children_finds_its_files(start: Start, tmp_path: Path) -> None:
    text = (
        "import multiprocessing\nfrom helper import double\n"
        + HEAD
        + (
            "    def predict(self, request):\n"
            "        with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
            "            return pool.map(double, request)\n"
        )
    )
    folder = written(tmp_path / "mine", text)
    (folder / "helper.py").write_text("def double(x):\n    return 2 * x\n")
    server = start({"mine": {"init_args": {"directory": str(folder)}}})
    assert requests.post(server.url + "/inference", json=[1, 2], timeout=60).json() == [2, 4]
    assert os.path.isdir(folder)

"""Starting, looking at and stopping servers."""

import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from tests.conftest import MODULES, ROOT, Server, Start, free_port, hub, hub_here, toy, wait_for


def test_start_by_flags_then_status_then_stop(home: Path, tmp_path: Path) -> None:
    port = free_port()
    server = Server(["-m", str(MODULES / "shout"), str(MODULES / "faulty"), "-p", str(port), "-w", "2"], port, home, tmp_path / "log")
    try:
        server.wait_until_ready()
        noted = json.loads((home / "conf" / f"serving_{port}.json").read_text())
        assert noted.keys() == {"pid", "module", "start_time"}
        assert (noted["pid"], noted["module"]) == (server.process.pid, ["shout", "faulty"])
        status = hub("serving", "status", "-p", port, home=home)
        assert status.returncode == 0
        assert "shout" in status.stdout
        assert len(server.instance_pids("shout")) == 2
        described = json.loads(hub("serving", "status", "-p", port, "--json", home=home).stdout)
        assert [each["name"] for each in described["modules"]] == ["shout", "faulty"]
        stop = hub("serving", "stop", "-p", port, home=home)
        assert (stop.returncode, "stopped the server" in stop.stdout) == (0, True)
        assert server.process.wait(60) == 0
        assert not (home / "conf" / f"serving_{port}.json").exists()
    finally:
        server.process.kill()
        server.process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_lets_requests_finish_and_leaves_no_process(start: Start, number: int) -> None:
    server = start({"faulty": toy("faulty", delay_s=1.5)})
    pids = server.instance_pids("faulty")
    with ThreadPoolExecutor() as threads:
        waiting = [threads.submit(server.results, "faulty", text="0")]
        wait_for(lambda: server.computing("faulty"))
        waiting.append(threads.submit(server.results, "faulty", text="1"))
        wait_for(lambda: server.computing("faulty") + server.waiting("faulty") == 2)
        server.process.send_signal(number)
        assert [each.result()["text"] for each in waiting] == ["0", "1"]
    assert server.process.wait(60) == 0
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in pids))
    with pytest.raises(requests.ConnectionError):
        requests.get(server.url, timeout=5)


def test_a_signal_while_a_module_loads_ends_the_server(start: Start) -> None:
    server = start({"faulty": toy("faulty", at_start="sleep")}, wait=False)
    wait_for(lambda: "loading" in server.log.read_text())
    assert server.stop() == 0


def test_ctrl_c_in_a_terminal_reaches_instances_too_and_still_drains(start: Start, home: Path, tmp_path: Path) -> None:
    port = free_port()
    code = "import os, sys; os.setsid(); os.execv(sys.executable, [sys.executable, '-m', 'hubserve', *sys.argv[1:]])"
    command = [sys.executable, "-c", code, "serving", "start", "-m", str(MODULES / "shout"), "-p", str(port)]
    with (tmp_path / "log").open("w") as log:
        group = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "HUB_HOME": str(home)}, stdout=log, stderr=log)
    wait_for(lambda: "ready: POST" in (tmp_path / "log").read_text())
    os.killpg(group.pid, signal.SIGINT)
    assert group.wait(60) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_second_server_on_the_port_is_refused_by_name(start: Start, home: Path) -> None:
    server = start({"shout": toy("shout")})
    second = hub("serving", "start", "-m", MODULES / "shout", "-p", server.port, home=home)
    assert second.returncode == 1
    assert f"port {server.port} is already served by hub serving (pid {server.process.pid}, modules shout)" in second.stderr
    assert server.results("shout", text="undisturbed") == "UNDISTURBED!"


def test_a_port_in_use_by_another_program_is_told(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        refused = hub("serving", "start", "-m", MODULES / "shout", "-p", other.getsockname()[1], home=home)
    assert refused.returncode == 1
    assert "Address already in use" in refused.stderr
    assert "Choose another port" in refused.stderr


def test_a_pid_file_left_by_a_killed_server_does_not_hinder_the_next(start: Start, home: Path, tmp_path: Path) -> None:
    server = start({"shout": toy("shout")})
    server.process.kill()
    server.process.wait()
    assert (home / "conf" / f"serving_{server.port}.json").exists()
    stop = hub("serving", "stop", "-p", server.port, home=home)
    assert (stop.returncode, "no hub server runs" in stop.stderr) == (1, True)
    again = Server(["-m", str(MODULES / "shout"), "-p", str(server.port)], server.port, home, tmp_path / "again.log")
    again.wait_until_ready()
    assert again.stop() == 0


def test_stopping_what_does_not_run_says_so(home: Path) -> None:
    stop = hub("serving", "stop", "-p", free_port(), home=home)
    assert (stop.returncode, "no hub server runs on port" in stop.stderr) == (1, True)
    status = hub("serving", "status", "-p", free_port(), home=home)
    assert (status.returncode, "no hub server answers" in status.stderr) == (1, True)


def test_only_this_machine_can_reach_a_server_unless_told_otherwise(start: Start) -> None:
    server = start({"shout": toy("shout")})
    listening = {each.laddr.ip for each in psutil.Process(server.process.pid).net_connections() if each.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def test_requests_that_come_while_a_module_loads_wait_for_it(start: Start) -> None:
    server = start({"shout": toy("shout"), "faulty": {**toy("faulty", at_start="sleep"), "load_timeout_s": 5.0}}, wait=False)
    wait_for(lambda: "is open" in server.log.read_text())
    health = requests.get(server.url + "/health/ready", timeout=10)
    assert health.status_code == 503
    assert health.json()["not_ready"]["faulty"] == "it is being loaded"
    assert requests.get(server.url + "/health/live", timeout=10).status_code == 200
    answer = server.predict("faulty", json={}).json()
    assert answer["status"] == "111"
    assert "did not load within 5 s" in answer["msg"]


def test_the_gateway_without_models_stays_small(start: Start) -> None:
    server = start({"shout": toy("shout")})
    assert server.results("shout", text="x") == "X!"
    assert psutil.Process(server.process.pid).memory_info().rss < 90 << 20


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ('{"modules_info": {"shout": {}}, "prot": 1}', "unknown key 'prot'; did you mean 'port'?"),
        ('{"modules_info": {"shout": {"init_arg": {}}}}', "unknown key 'modules_info.shout.init_arg'; did you mean 'init_args'?"),
        ('{"modules_info": {"shout": {}}, "port": "eighty"}', "Expected `int`, got `str` - at `port`"),
        ('{"modules_info": {"shout": {}}, "port": 70000}', "at `port`"),
        ('{"modules_info": {}}', "names no module"),
        ('{"port": 1}', "modules_info"),
        ('{"modules_info": ', "is not JSON"),
        ("[]", "Expected `object`, got `array`"),
        ('{"modules_info": {"nobody": {}}}', "no module 'nobody' is installed"),
        ('{"modules_info": {"shout": {"init_args": {"directory": "/nowhere"}}}}', "/nowhere"),
    ],
)
def test_a_wrong_config_is_told_by_key_reason_and_remedy(home: Path, tmp_path: Path, config: str, words: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(config)
    refused = hub("serving", "start", "-c", path, home=home)
    assert refused.returncode == 1
    assert words in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_module_that_is_called_otherwise_is_told(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"modules_info": {"whisper": toy("shout")}}))
    refused = hub("serving", "start", "-c", path, home=home)
    assert (refused.returncode, "is called 'shout'; use that name" in refused.stderr) == (1, True)


def test_a_config_that_is_not_there_is_told(home: Path, tmp_path: Path) -> None:
    refused = hub("serving", "start", "-c", tmp_path / "none.json", home=home)
    assert (refused.returncode, "cannot read the configuration" in refused.stderr) == (1, True)


@pytest.mark.parametrize("arguments", [["start"], ["begin"], ["start", "-m", "x", "-p", "http"]])
def test_bad_options_are_status_2(home: Path, arguments: list[str]) -> None:
    assert hub_here("serving", *arguments, home=home).returncode == 2


def test_use_gpu_without_saying_which_is_refused_before_anything_starts(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"modules_info": {"shout": toy("shout")}, "use_gpu": True}))
    refused = hub("serving", "start", "-c", path, home=home, environ={"CUDA_VISIBLE_DEVICES": ""})
    assert refused.returncode == 1
    assert "CUDA_VISIBLE_DEVICES" in refused.stderr


def test_several_instances_are_spread_over_the_gpus(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "where"
    folder.mkdir()
    (folder / "module.py").write_text(
        "import os\nfrom hubserve.module import moduleinfo, serving\n"
        '@moduleinfo(name="where", version="1.0.0")\nclass Where:\n'
        "    def __init__(self, use_gpu=False):\n        self.use_gpu = use_gpu\n"
        "    @serving\n    def where(self):\n        import time\n"
        '        gpu = os.environ["CUDA_VISIBLE_DEVICES"]\n'
        f"        folder = {str(tmp_path)!r}\n"
        "        open(os.path.join(folder, 'gpu' + gpu), 'w').close()\n"
        "        while not all(os.path.exists(os.path.join(folder, 'gpu' + each)) for each in '23'):\n"  # until both compute
        "            time.sleep(0.01)\n"
        "        return [self.use_gpu, gpu]\n"
    )
    where = {"where": {"init_args": {"directory": str(folder)}}}
    server = start(where, use_gpu=True, gpu="2,3", use_multiprocess=True, workers=2)
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(lambda _: server.results("where"), range(2)))
    assert sorted(answers) == [[True, "2"], [True, "3"]]

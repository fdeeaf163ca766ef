"""New versions, other settings and fresh instances take over while requests go on."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from tests.conftest import Server, Start, hub, toy, wait_for

#: between two requests of a thread, so that clients leave the cores to the commands and servers under test
LOAD_PAUSE_S = 0.01
SOURCE = """
from hubserve.module import moduleinfo, serving

@moduleinfo(name="teller", version="{version}")
class Teller:
    def __init__(self):
        {at_start}

    @serving
    def tell(self, **arguments):
        return {{"version": "{version}", **arguments}}
"""


@pytest.fixture
def install(home: Path, tmp_path: Path):  # type: ignore[no-untyped-def]  # gives a function
    """Install a version of the module ``teller``."""

    def function(version: str, at_start: str = "pass", *options: str):  # type: ignore[no-untyped-def]
        folder = tmp_path / f"teller-{version}"
        folder.mkdir(exist_ok=True)
        (folder / "module.py").write_text(SOURCE.format(version=version, at_start=at_start))
        return hub("install", folder, *options, home=home)

    return function


@contextmanager
def load(server: Server, threads: int = 4) -> Iterator[list[dict[str, object]]]:
    """Ask hundreds of times a second, and collect every answer; a request that fails is an answer with an ``error``."""
    answers: list[dict[str, object]] = []
    stop = threading.Event()

    def ask(number: int) -> None:
        session = requests.Session()
        count = 0
        while not stop.is_set():
            sent = f"{number}-{count}"
            try:
                told = session.post(f"{server.url}/predict/teller", json={"sent": sent}, timeout=30).json()
                answers.append(told["results"] if told["status"] == "000" else {"error": told})
            except (requests.RequestException, ValueError) as error:
                answers.append({"error": str(error)})
                continue
            if "error" not in answers[-1] and told["results"]["sent"] != sent:
                answers.append({"error": f"{told} is another's answer"})
            count += 1
            stop.wait(LOAD_PAUSE_S)

    running = [threading.Thread(target=ask, args=(number,)) for number in range(threads)]
    for each in running:
        each.start()
    try:
        yield answers
    finally:
        stop.set()
        for each in running:
            each.join()


def test_installing_a_new_version_moves_the_traffic_and_loses_no_request(install, start: Start) -> None:  # type: ignore[no-untyped-def]
    assert install("1.0.0").returncode == 0
    server = start({"teller": {}})
    old = server.instance_pids("teller")
    with load(server) as answers:
        wait_for(lambda: len(answers) > 8)
        done = install("1.1.0", "__import__('time').sleep(0.5)")
        assert (done.returncode, "teller 1.1.0 answers now, in place of 1.0.0" in done.stdout) == (0, True), done.stdout + done.stderr
        at_swap = len(answers)
        wait_for(lambda: len(answers) > at_swap + 20)
    assert [each for each in answers if "error" in each] == []
    assert {each["version"] for each in answers} == {"1.0.0", "1.1.0"}
    assert {each["version"] for each in answers[at_swap + 8 :]} == {"1.1.0"}
    assert server.status("teller")["version"] == "1.1.0"
    wait_for(lambda: not any(psutil.pid_exists(pid) for pid in old))


def test_the_same_version_installed_again_is_loaded_again(install, start: Start) -> None:  # type: ignore[no-untyped-def]
    install("1.0.0")
    server = start({"teller": {}})
    old = server.instance_pids("teller")
    done = install("1.0.0")
    assert "teller 1.0.0 answers now, loaded again" in done.stdout
    assert server.instance_pids("teller") != old
    assert server.results("teller", a=1) == {"version": "1.0.0", "a": 1}


def test_a_version_that_does_not_load_leaves_the_old_one_in_service_and_says_so(install, start: Start) -> None:  # type: ignore[no-untyped-def]
    install("1.0.0")
    server = start({"teller": {}})
    old = server.instance_pids("teller")
    done = install("2.0.0", "raise ValueError('no weights')")
    assert done.returncode == 1
    assert "teller 1.0.0 is kept: " in done.stdout
    assert "no weights" in done.stdout
    assert server.instance_pids("teller") == old
    assert server.results("teller", a=1)["version"] == "1.0.0"
    told = json.loads(install("2.0.1", "raise ValueError('no weights')", "--json").stdout)["servers"]
    assert [(each["module"], each["state"], each["port"]) for each in told] == [("teller", "kept", server.port)]


def test_a_server_that_names_a_version_stays_with_it(install, start: Start) -> None:  # type: ignore[no-untyped-def]
    install("1.0.0")
    server = start({"teller": {"init_args": {"version": "1.0.0"}}})
    done = install("1.1.0")
    assert (done.returncode, "server on port" in done.stdout) == (0, False)
    assert server.results("teller")["version"] == "1.0.0"


def test_reload_follows_the_configuration_file(install, start: Start, home: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    install("1.0.0")
    server = start({"teller": {}})
    path = tmp_path / f"config-{server.port}.json"
    config = json.loads(path.read_text())
    shout, old = toy("shout"), server.instance_pids("teller")

    path.write_text(json.dumps({**config, "modules_info": {"teller": {"workers": 2}, "shout": shout}}))
    done = hub("serving", "reload", "-p", server.port, home=home)
    assert done.stdout.splitlines() == ["teller 1.0.0 answers now, loaded again", "shout 1.0.0 is served"]
    assert server.results("shout", text="a") == "A!"
    assert len(server.instance_pids("teller")) == 2
    assert not set(old) & set(server.instance_pids("teller"))

    path.write_text(json.dumps({**config, "modules_info": {"shout": shout}}))
    done = hub("serving", "reload", "-p", server.port, home=home)
    assert "teller 1.0.0 is no longer served" in done.stdout
    assert server.predict("teller", json={}).json()["status"] == "111"
    assert [each.pid for each in psutil.Process(server.process.pid).children()] == server.instance_pids("shout")

    path.write_text(json.dumps({**config, "modules_inf": {}}))
    done = hub("serving", "reload", "-p", server.port, home=home)
    assert (done.returncode, "did you mean 'modules_info'?" in done.stderr) == (1, True)
    assert server.results("shout", text="a") == "A!"


def test_reload_of_named_modules_touches_no_other(start: Start, home: Path) -> None:
    server = start({"shout": toy("shout"), "faulty": toy("faulty")})
    before = {name: server.instance_pids(name) for name in ("shout", "faulty")}
    assert json.loads(hub("serving", "reload", "shout", "-p", server.port, "--json", home=home).stdout)[0]["state"] == "loaded"
    assert server.instance_pids("shout") != before["shout"]
    assert server.instance_pids("faulty") == before["faulty"]
    wrong = hub("serving", "reload", "shoot", "-p", server.port, home=home)
    assert (wrong.returncode, "'shoot'" in wrong.stderr) == (1, True)


def test_reload_without_a_server_says_so(home: Path) -> None:
    done = hub("serving", "reload", "-p", 1, home=home)
    assert (done.returncode, "no hub server of this user's home answers on port 1" in done.stderr) == (1, True)


def test_only_the_user_may_open_the_servers_socket(start: Start, home: Path) -> None:
    server = start({"shout": toy("shout")})
    path = home / "conf" / f"serving_{server.port}.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    assert server.stop() == 0
    assert not path.exists()

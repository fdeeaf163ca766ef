"""Instances of a Flask application: started at its first request, in each of its processes, and ended with it."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import requests

from hubserve.flask import blueprint
from tests.behaviours.flask.applications import APP, application, environ
from tests.conftest import MODULES, free_port, wait_for


def test_nothing_runs_before_the_first_request_nor_after_close_and_a_later_request_starts_again() -> None:
    before = children()
    made = blueprint([str(MODULES / "shout")])
    client = application(made).test_client()
    assert children() == before
    for _ in range(2):
        assert client.post("/predict/shout", json={"text": "a"}).status_code == 200
        assert children() - before
        made.close()
        assert children() == before


def children() -> set[int]:
    return {each.pid for each in psutil.Process().children()}


def test_a_process_that_ends_takes_its_instances_along(tmp_path: Path, home: Path) -> None:
    code = APP + "print(app.test_client().post('/predict/faulty', json={}).json['results']['pid'])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ(tmp_path, home), capture_output=True, text=True, timeout=180, check=True
    )
    wait_for(lambda: not psutil.pid_exists(int(done.stdout)))
    assert done.stderr == ""


def test_a_fork_after_the_first_request_starts_instances_of_its_own(tmp_path: Path, home: Path) -> None:
    code = (
        APP
        + """
ask = lambda: app.test_client().post("/predict/faulty", json={}).json["results"]["pid"]
first = ask()
child = os.fork()
if child == 0:
    print(ask() != first, flush=True)
    raise SystemExit(0)
print(os.waitpid(child, 0)[1] == 0, ask() == first, flush=True)
"""
    )
    # a deprecation warning of Python 3.12 and later tells that threads run at the fork, which is what is tried here
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code]
    done = subprocess.run(command, env=environ(tmp_path, home), capture_output=True, text=True, timeout=180, check=True)
    assert (done.stdout, done.stderr) == ("True\nTrue True\n", "")


@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["usual", "preload"])
def test_under_gunicorn_every_worker_has_instances_of_its_own_that_end_with_it(tmp_path: Path, home: Path, options: list[str]) -> None:
    pytest.importorskip("gunicorn")
    (tmp_path / "somebody.py").write_text(APP)
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "--workers", "2", "--threads", "4", *options, "somebody:app"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=environ(tmp_path, home), stdout=log, stderr=log, cwd=tmp_path)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: reachable(url + "/pid"))
        workers = psutil.Process(process.pid).children()
        assert not [each for worker in workers for each in worker.children()], "nothing runs before the first request"
        instances: set[int] = set()

        def both() -> bool:
            instances.add(requests.post(url + "/predict/faulty", json={}, timeout=60).json()["results"]["pid"])
            return len(instances) == 2

        wait_for(both)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    wait_for(lambda: not any(psutil.pid_exists(each) for each in instances))
    assert "Traceback" not in (tmp_path / "log").read_text()


def reachable(url: str) -> bool:
    with contextlib.suppress(requests.ConnectionError, requests.Timeout):
        return requests.get(url, timeout=10).ok
    return False


def test_without_flask_the_error_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "flask.py").write_text("raise ModuleNotFoundError(\"No module named 'flask'\", name='flask')")
    code = "import hubserve.flask"
    done = subprocess.run([sys.executable, "-c", code], env=environ(tmp_path, tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'hubserve[flask]'" in done.stderr

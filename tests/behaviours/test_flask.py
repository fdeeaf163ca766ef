"""Modules in somebody's own Flask application: the same answers as the server's, and nothing else of the application changed."""

import base64
import contextlib
import gzip
import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import requests
from flask import Flask, request
from PIL import Image
from werkzeug.serving import make_server

from hubserve.errors import ConfigError, HubError, ModuleNotFound
from hubserve.flask import HubBlueprint, blueprint
from hubserve.registry.installer import Installer
from tests.conftest import MODULES, ROOT, Server, free_port, servers, toy, wait_for
from tests.triton_models import write_scale

JSON = {"Content-Type": "application/json"}
SETTINGS: dict[str, Any] = {"max_body_bytes": 1 << 20}


def served() -> dict[str, Any]:
    modules = {"shout": toy("shout"), "old-style": toy("old_style", prefix=">"), "faulty": toy("faulty"), "doubler": toy("doubler")}
    # without learning, so that requests are divided into the same calls on both sides
    modules["doubler"] |= {"workers": 1, "preferred_batch_sizes": [2]}
    return modules


@contextlib.contextmanager
def running(app: Flask) -> Iterator[str]:
    """The application under a real server with a thread for each request."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def application(*blueprints: HubBlueprint) -> Flask:
    app = Flask("somebody's")
    for each in blueprints:
        app.register_blueprint(each)

    @app.post("/own")
    def own() -> dict[str, Any]:
        return {"sent": request.get_json()}

    return app


@pytest.fixture(scope="module", autouse=True)
def _home(shared_home: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUB_HOME", str(shared_home))
        yield


@pytest.fixture(scope="module")
def server(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers(shared_home, tmp_path_factory.mktemp("server")) as start:
        yield start(served(), **SETTINGS)


@pytest.fixture(scope="module")
def mounted() -> Iterator[HubBlueprint]:
    made = blueprint(config={"modules_info": served(), **SETTINGS}, pages=True)
    yield made
    made.close()


@pytest.fixture(scope="module")
def url(mounted: HubBlueprint) -> Iterator[str]:
    with running(application(mounted)) as address:
        yield address


def picture() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3)).save(file, "PNG")
    return file.getvalue()


def form(*files: bytes, **fields: str) -> dict[str, Any]:
    """A multipart body with a boundary that is the same each time."""
    parts = [(f'form-data; name="images"; filename="{index}.png"', data) for index, data in enumerate(files)]
    parts += [(f'form-data; name="{name}"', value.encode()) for name, value in fields.items()]
    body = b"".join(b"--cut\r\nContent-Disposition: %s\r\n\r\n%s\r\n" % (head.encode(), data) for head, data in parts) + b"--cut--\r\n"
    return {"data": body, "headers": {"Content-Type": "multipart/form-data; boundary=cut"}}


def array(values: Any, **headers: str) -> dict[str, Any]:
    raw = np.asarray(values, np.float32)
    about = {"X-Hub-Shape": ",".join(map(str, raw.shape)), "X-Hub-Dtype": "float32"}
    return {"data": raw.tobytes(), "headers": {"Content-Type": "application/octet-stream", **about, **headers}}


def text(body: bytes | str, **headers: str) -> dict[str, Any]:
    return {"data": body, "headers": {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}}


LARGE = json.dumps({"text": "a" * 900_000})
INPUTS = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}
REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "v2": ("GET", "/v2", {}),
    "v2 metadata": ("GET", "/v2/models/doubler", {}),
    "v2 inference": ("POST", "/v2/models/doubler/infer", text(json.dumps({**INPUTS, "parameters": {"binary_data_output": True}}))),
    "v2 error": ("POST", "/v2/models/nobody/infer", text("{}")),
    "v2 method": ("DELETE", "/v2/models/doubler", {}),
    "json": ("POST", "/predict/shout", text('{"text": "grüß dich"}'.encode())),
    "large json": ("POST", "/predict/shout", text(LARGE)),
    "chunked": ("POST", "/predict/shout", {"data": "iterator", "headers": JSON}),
    "base class": ("POST", "/predict/old-style", text('{"texts": ["abc"], "times": 2}')),
    "array as json": ("POST", "/predict/doubler", text('{"data": "AACAPwAAAEA=", "about": {"shape": [1, 2], "dtype": "float32"}}')),
    "array": ("POST", "/predict/doubler", array([[1, 2, 3], [4, 5, 6]])),
    "large array": ("POST", "/predict/doubler", array(np.ones((4, 20_000)))),
    "picture": ("POST", "/predict/doubler", {"data": picture(), "headers": {"Content-Type": "image/png"}}),
    "pictures": ("POST", "/predict/doubler", form(picture(), picture())),
    "nan in an array": ("POST", "/predict/doubler", array([[np.nan]])),
    "no picture": ("POST", "/predict/doubler", {"data": b"no picture", "headers": {"Content-Type": "image/png"}}),
    "a field in the form": ("POST", "/predict/doubler", form(picture(), note="hello")),
    "a picture as json": ("POST", "/predict/doubler", text(json.dumps({"data": base64.encodebytes(picture()).decode()}))),
    "pictures as json that are none": ("POST", "/predict/doubler", text('{"data": ["AA%A"]}')),
    "texts in the form": ("POST", "/predict/shout", form(text="grüß dich")),
    "packed": ("POST", "/predict/shout", text(gzip.compress(b'{"text": "packed"}'), Content_Encoding="gzip")),
    "packed in another way": ("POST", "/predict/shout", text(b"x", Content_Encoding="br")),
    "options of a page": ("OPTIONS", "/health/live", {}),
    "slashes in front": ("POST", "//predict/shout", text('{"text": "a"}')),
    "slashes within": ("POST", "/predict//shout", text('{"text": "a"}')),
    "a form that is none": ("POST", "/predict/doubler", {"data": b"--x", "headers": {"Content-Type": "multipart/form-data"}}),
    "a picture for a module without": ("POST", "/predict/shout", {"data": picture(), "headers": {"Content-Type": "image/png"}}),
    "wrong shape": ("POST", "/predict/doubler", array([[1]], **{"X-Hub-Shape": "two"})),
    "wrong dtype": ("POST", "/predict/doubler", array([[1]], **{"X-Hub-Dtype": "complex"})),
    "wrong timeout": ("POST", "/predict/shout", text('{"text": "a"}', X_Hub_Timeout_Ms="soon")),
    "wrong priority": ("POST", "/predict/shout", text('{"text": "a"}', X_Hub_Priority="high")),
    "priority": ("POST", "/predict/shout", text('{"text": "a"}', X_Hub_Priority="-5")),
    "timeout": ("POST", "/predict/faulty", text('{"how": "sleep", "text": "1"}', X_Hub_Timeout_Ms="50")),
    "raises": ("POST", "/predict/faulty", text('{"how": "raise", "text": "ärger"}'.encode())),
    "missing argument": ("POST", "/predict/old-style", text("{}")),
    "no json in the answer": ("POST", "/predict/faulty", text('{"how": "not json"}')),
    "bad json": ("POST", "/predict/shout", text(b"\xff{")),
    "empty": ("POST", "/predict/shout", text(b"")),
    "a list": ("POST", "/predict/shout", text("[1]")),
    "null": ("POST", "/predict/shout", text("null")),
    "old content type": ("POST", "/predict/shout", {"data": "text=x", "headers": {"Content-Type": "application/x-www-form-urlencoded"}}),
    "no content type": ("POST", "/predict/shout", {"data": b"x"}),
    "unknown module": ("POST", "/predict/nobody", text("{")),
    "get": ("GET", "/predict/shout", {}),
    "head": ("HEAD", "/predict/shout", {}),
    "options": ("OPTIONS", "/predict/shout", {}),
    "delete": ("DELETE", "/predict/shout", text("{}")),
    "get of an unknown module": ("GET", "/predict/nobody", {}),
    "slash behind": ("POST", "/predict/shout/", text("{}")),
    "no name": ("POST", "/predict/", text("{}")),
    "deeper": ("POST", "/predict/a/b", text("{}")),
    "quoted": ("POST", "/predict/sh%6fut", text('{"text": "a"}')),
    "quoted nonsense": ("POST", "/predict/%C3%BC%2520", text("{}")),
    "too large": ("POST", "/predict/shout", text(b"x" * (3 << 20))),
    "too large for an unknown module": ("POST", "/predict/nobody", text(b"x" * (3 << 20))),
    "too large, chunked": ("POST", "/predict/shout", {"data": "large iterator", "headers": JSON}),
    "live": ("GET", "/health/live", {}),
    "ready": ("GET", "/health/ready", {}),
}


def ask(address: str, method: str, path: str, options: dict[str, Any]) -> requests.Response:
    bodies = {"iterator": [b'{"text": ', b'"piece by piece"}'], "large iterator": [b"x" * (1 << 20)] * 3}
    data = options.get("data")
    if isinstance(data, str) and data in bodies:
        options = {**options, "data": iter(bodies[data])}
    return requests.request(method, address + path, timeout=60, **options)


def what_matters(answer: requests.Response) -> dict[str, Any]:
    names = ("Content-Type", "Content-Length", "Allow", "Retry-After")
    return {"status": answer.status_code, "body": answer.content, **{name: answer.headers.get(name) for name in names}}


@pytest.mark.parametrize("case", REQUESTS)
def test_the_answer_is_the_servers_own(server: Server, url: str, case: str) -> None:
    wanted = what_matters(ask(server.url, *REQUESTS[case]))
    assert wanted["body"] or REQUESTS[case][0] in ("HEAD", "OPTIONS")
    assert what_matters(ask(url, *REQUESTS[case])) == wanted


def test_the_servers_own_answers_are_of_every_kind(server: Server) -> None:
    statuses = {ask(server.url, *each).status_code for each in REQUESTS.values()}
    assert statuses == {200, 400, 404, 405, 413, 415, 504}


def test_the_applications_own_routes_are_as_before(url: str) -> None:
    assert requests.post(url + "/own", json=[1], timeout=10).json() == {"sent": [1]}
    missing = requests.get(url + "/nothing", timeout=10)
    assert (missing.status_code, missing.headers["Content-Type"]) == (404, "text/html; charset=utf-8")
    assert requests.get(url + "/", timeout=10).status_code == 404, "the server's front page is not put into other people's applications"


def test_requests_of_several_threads_are_computed_together_and_each_gets_its_own() -> None:
    slow = toy("doubler", delay_s=0.1)
    slow["workers"] = 1
    made = blueprint(config={"modules_info": {"doubler": slow}})
    made.start()

    def double(number: int) -> Any:
        return requests.post(url + "/predict/doubler", timeout=60, **array([[number]])).json()["results"]

    with running(application(made)) as url, ThreadPoolExecutor(16) as threads:
        results = list(threads.map(double, range(48)))
    made.close()
    assert [each["y"] for each in results] == [[[2.0 * number]] for number in range(48)]
    assert max(each["together"] for each in results) > 1


def test_an_instance_that_is_killed_is_replaced_and_its_requests_are_answered(mounted: HubBlueprint, url: str) -> None:
    def pid(_: int = 0) -> int:
        return int(requests.post(url + "/predict/faulty", json={"how": "sleep", "text": "0.2"}, timeout=60).json()["results"]["pid"])

    first = pid()
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(pid, number) for number in range(4)]
        os.kill(first, signal.SIGKILL)
        assert {each.result() for each in waiting} - {first}
    assert pid() != first


def refused(made: HubBlueprint, module: str, body: dict[str, Any], count: int) -> list[requests.Response]:
    with running(application(made)) as url:
        requests.post(f"{url}/predict/{module}", json={}, timeout=60)
        with ThreadPoolExecutor(count) as threads:
            answers = list(threads.map(lambda _: requests.post(f"{url}/predict/{module}", json=body, timeout=60), range(count)))
    made.close()
    return [each for each in answers if each.status_code != 200]


def test_more_requests_than_the_queue_takes_are_refused_with_429() -> None:
    made = blueprint(config={"modules_info": {"faulty": toy("faulty", delay_s=0.3)}, "max_queue_size": 1})
    answers = refused(made, "faulty", {}, 8)
    assert answers
    assert {each.status_code for each in answers} == {429}
    assert all(each.headers["Retry-After"] and each.json()["status"] == "101" for each in answers)


@pytest.mark.parametrize(("setting", "limit"), [("max_concurrency", 2), ("max_pending_bytes", 1_000_000)])
def test_more_than_the_server_takes_is_refused_with_503(setting: str, limit: int) -> None:
    made = blueprint(config={"modules_info": {"faulty": toy("faulty", delay_s=0.3)}, setting: limit})
    answers = refused(made, "faulty", {"text": "a" * 600_000}, 4)
    assert answers
    assert {each.status_code for each in answers} == {503}
    assert all(each.headers["Retry-After"] and setting in each.json()["msg"] for each in answers)


def test_a_module_that_cannot_be_loaded_is_a_111_with_the_reason_and_the_others_are_served() -> None:
    made = blueprint(config={"modules_info": {"faulty": toy("faulty", at_start="raise"), "shout": toy("shout")}})
    client = application(made).test_client()
    answer = client.post("/predict/faulty", json={})
    assert answer.json["status"] == "111"
    assert "it was asked to" in answer.json["msg"]
    assert client.post("/predict/shout", json={"text": "a"}).json["results"] == "A!"
    made.close()


def test_two_blueprints_in_one_application_and_flasks_own_test_client() -> None:
    one = blueprint([str(MODULES / "shout")])
    other = blueprint(config={"modules_info": {"shout": toy("shout", suffix="?")}}, url_prefix="/ml", name="other")
    client = application(one, other).test_client()
    assert client.post("/predict/shout", json={"text": "a"}).json["results"] == "A!"
    assert client.post("/ml/predict/shout", json={"text": "a"}).json["results"] == "A?"
    assert client.get("/ml/predict/shout").status_code == 405
    one.close()
    assert client.post("/ml/predict/shout", json={"text": "a"}).json["results"] == "A?"
    other.close()


def test_a_body_that_the_application_has_read_before_is_answered_all_the_same() -> None:
    made = blueprint([str(MODULES / "shout")])
    app = application(made)
    app.before_request(lambda: request.get_data() and None)
    assert app.test_client().post("/predict/shout", data=LARGE, headers=JSON).json["results"] == "A" * 900_000 + "!"
    made.close()


def test_a_body_that_the_application_has_used_up_is_a_400_that_says_so() -> None:
    made = blueprint([str(MODULES / "shout")])
    app = application(made)
    app.before_request(lambda: request.stream.read() and None)
    answer = app.test_client().post("/predict/shout", json={"text": "a"})
    assert answer.status_code == 400
    assert "another part of this application has read it" in answer.json["msg"]
    made.close()


@pytest.mark.parametrize("body", [b"x" * 300_000, [b"x" * 100_000] * 3], ids=["announced", "chunked"])
def test_the_applications_own_limit_of_bodies_counts_too(body: Any) -> None:
    made = blueprint([str(MODULES / "shout")])
    app = application(made)
    app.config["MAX_CONTENT_LENGTH"] = 100_000
    with running(app) as url:
        assert requests.post(url + "/predict/shout", data=body if isinstance(body, bytes) else iter(body), timeout=60).status_code == 413
        assert requests.post(url + "/predict/shout", json={"text": "a"}, timeout=60).json()["results"] == "A!"
    made.close()


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


def test_a_close_while_requests_run_answers_them_first() -> None:
    made = blueprint(config={"modules_info": {"faulty": toy("faulty", delay_s=0.3)}})
    client = application(made).test_client()
    made.start()
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(client.post, "/predict/faulty", json={"text": "last"})
        wait_for(lambda: made._gateway and made._gateway._tasks)
        made.close()
        assert asked.result().json["results"]["text"] == "last"


HEAD = b"POST /predict/shout HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 300000\r\n\r\n"


def test_a_client_that_leaves_while_it_sends_takes_nothing_with_it() -> None:
    made = blueprint(config={"modules_info": {"shout": toy("shout")}, "max_concurrency": 1})
    with running(application(made)) as url:
        made.start()
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
            connection.sendall(HEAD + b"{")
            wait_for(lambda: made._gateway and made._gateway._tasks)
            assert requests.post(url + "/predict/shout", json={"text": "a"}, timeout=60).status_code == 503
        wait_for(lambda: made._gateway and not made._gateway._tasks)
        assert requests.post(url + "/predict/shout", json={"text": "a"}, timeout=60).json()["results"] == "A!"
    made.close()


def test_a_client_that_is_too_slow_with_its_body_is_told() -> None:
    made = blueprint(config={"modules_info": {"shout": toy("shout")}, "client_timeout_s": 0.3})
    with running(application(made)) as url:
        made.start()
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
            connection.sendall(HEAD + b"x")
            wait_for(lambda: made._gateway and made._gateway._tasks)
            wait_for(lambda: made._gateway and not made._gateway._tasks)
            connection.sendall(b"x" * 299_999)
            assert connection.recv(65536).split(b" ", 2)[1] == b"408"
    made.close()


def test_a_module_that_was_uninstalled_after_the_application_was_made_is_a_503_with_the_reason(home: Path) -> None:
    Installer().install(MODULES / "shout")
    made = blueprint(["shout"])
    client = application(made).test_client()
    Installer().uninstall("shout")
    answer = client.post("/predict/shout", json={"text": "a"})
    assert (answer.status_code, answer.headers["Retry-After"], answer.json["status"]) == (503, "5", "101")
    assert "no module 'shout' is installed" in answer.json["msg"]
    Installer().install(MODULES / "shout")
    assert client.post("/predict/shout", json={"text": "a"}).json["results"] == "A!"
    made.close()


def test_a_set_up_that_fails_is_told_to_every_request_and_to_start() -> None:
    made = blueprint(config={"modules_info": {"shout": toy("shout")}, "trace_dir": "~nobody-of-this-name/traces"})
    client = application(made).test_client()
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: client.post("/predict/shout", json={"text": "a"}), range(8)))
    answers.append(client.get("/v2/models/shout"))
    for answer in answers:
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert "'trace_dir' is '~nobody-of-this-name/traces'" in answer.json["msg"] == answer.json["error"]
    with pytest.raises(ConfigError, match="'trace_dir' is"):
        made.start()
    made.close()


def test_after_a_set_up_that_failed_for_an_unknown_reason_a_later_request_tries_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> None:
        raise OSError("injected")

    made = blueprint([str(MODULES / "shout")])
    client = application(made).test_client()
    with monkeypatch.context() as patch:
        patch.setattr("hubserve.flask.gateway.build_app", fail)
        answer = client.post("/predict/shout", json={"text": "a"})
        assert (answer.status_code, "unexpected error" in answer.json["msg"], "injected" in answer.text) == (503, True, False)
    assert client.post("/predict/shout", json={"text": "a"}).json["results"] == "A!"
    made.close()


def test_a_request_that_meets_a_gateway_that_has_just_ended_is_answered_by_another_one() -> None:
    made = blueprint([str(MODULES / "shout")])
    client = application(made).test_client()
    made.start()
    assert made._gateway
    made._gateway.close()
    assert client.post("/predict/shout", json={"text": "a"}).json["results"] == "A!"
    made.close()


def test_a_failure_beside_the_modules_while_they_load_ends_waiting_requests_and_a_later_one_tries_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*_: Any) -> None:
        raise RuntimeError("injected")

    made = blueprint([str(MODULES / "shout")])
    client = application(made).test_client()
    with monkeypatch.context() as patch:
        patch.setattr("hubserve.flask.gateway.load_modules", fail)
        assert client.post("/predict/shout", json={"text": "a"}).status_code == 503
        with pytest.raises(HubError, match="an unexpected error while they were set up"):
            made.start()
    assert client.post("/predict/shout", json={"text": "a"}).json["results"] == "A!"
    made.close()


@pytest.mark.parametrize("headers", [{"X-Forwarded-For": "203.0.113.9"}, {"Host": "evil.example"}], ids=str)
def test_the_admin_surface_of_a_mount_is_for_direct_clients_that_call_it_by_a_name_of_this_machine(
    mounted: HubBlueprint, url: str, headers: dict[str, str]
) -> None:
    assert requests.get(url + "/v2/logging", timeout=30).status_code == 200
    for path in ("/v2/logging", "/status"):
        assert requests.get(url + path, headers=headers, timeout=30).status_code == 403
    assert requests.post(url + "/predict/shout", json={"text": "a"}, headers=headers, timeout=30).json()["results"] == "A!"


def test_pages_of_other_origins_are_refused_and_those_of_the_application_are_not(url: str) -> None:
    def ask_from(origin: str) -> int:
        return requests.post(url + "/predict/shout", json={"text": "a"}, headers={"Origin": origin}, timeout=30).status_code

    assert (ask_from("http://evil.example"), ask_from("null"), ask_from(url)) == (403, 403, 200)


APP = f"""
import os
from flask import Flask
import hubserve.flask
app = Flask(__name__)
mounted = hubserve.flask.blueprint([{str(MODULES / "faulty")!r}])
app.register_blueprint(mounted)
@app.get("/pid")
def pid():
    return str(os.getpid())
"""


def environ(folder: Path, home: Path) -> dict[str, str]:
    return {**os.environ, "HUB_HOME": str(home), "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}


def test_a_process_that_ends_takes_its_instances_along(tmp_path: Path, home: Path) -> None:
    code = APP + "print(app.test_client().post('/predict/faulty', json={}).json['results']['pid'])"
    done = subprocess.run([sys.executable, "-c", code], env=environ(tmp_path, home), capture_output=True, text=True, timeout=60, check=True)
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
    done = subprocess.run(command, env=environ(tmp_path, home), capture_output=True, text=True, timeout=60, check=True)
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
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(url, timeout=10).ok
    return False


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "takes either modules"),
        ({"modules": ["x"], "config": {}}, "takes either modules"),
        ({"modules": "shout"}, "write ['shout']"),
        ({"config": {"modules_infos": {}}}, "did you mean 'modules_info'?"),
        ({"config": "/no/config.json"}, "cannot read the configuration"),
    ],
)
def test_wrong_arguments_are_refused_when_the_application_is_made(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says.replace("[", r"\[").replace("?", r"\?")):
        blueprint(**arguments)


def test_a_module_that_is_not_installed_is_told_when_the_application_is_made() -> None:
    with pytest.raises(ModuleNotFound, match="nowhere"):
        blueprint(["nowhere"])


def test_without_flask_the_error_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "flask.py").write_text("raise ModuleNotFoundError(\"No module named 'flask'\", name='flask')")
    code = "import hubserve.flask"
    done = subprocess.run([sys.executable, "-c", code], env=environ(tmp_path, tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "pip install 'hubserve[flask]'" in done.stderr


def test_models_are_loaded_by_clients_and_shared_memory_must_be_asked_for(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    write_scale(tmp_path / "models", "double")
    ours = blueprint(
        config={"modules_info": {"shout": toy("shout")}, "model_store": [str(tmp_path / "models")], "model_control": "explicit"}
    )
    memory = {"key": "/anything", "offset": 0, "byte_size": 4}
    sent = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}
    try:
        with running(application(ours)) as url:
            assert requests.post(f"{url}/v2/repository/models/double/load", timeout=60).status_code == 200
            answer = requests.post(f"{url}/v2/models/double/infer", json=sent, timeout=60).json()
            assert answer["outputs"][0]["data"] == [2, 4, 6, 8]
            assert requests.post(f"{url}/v2/repository/models/double/unload", timeout=60).status_code == 200
            index = {each["name"]: each["state"] for each in requests.post(f"{url}/v2/repository/index", timeout=60).json()}
            assert index == {"shout": "READY", "double": "UNAVAILABLE"}
            told = requests.post(f"{url}/v2/systemsharedmemory/region/mine/register", json=memory, timeout=60)
            assert told.status_code == 501
            assert "shared memory is off on this server" in told.json()["error"]
    finally:
        ours.close()

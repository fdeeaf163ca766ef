"""Modules in a Flask application give the server's own answers, and change nothing else of the application."""

import base64
import gzip
import io
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from hubserve.flask import HubBlueprint, blueprint
from tests.behaviours.flask.applications import JSON, LARGE, application, array, running, text
from tests.conftest import Server, servers, toy

SETTINGS: dict[str, Any] = {"max_body_bytes": 1 << 20}


def served() -> dict[str, Any]:
    modules = {"shout": toy("shout"), "old-style": toy("old_style", prefix=">"), "faulty": toy("faulty"), "doubler": toy("doubler")}
    # without learning, so that requests are divided into the same calls on both sides
    modules["doubler"] |= {"workers": 1, "preferred_batch_sizes": [2]}
    return modules


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


def test_an_instance_that_is_killed_is_replaced_and_its_requests_are_answered(mounted: HubBlueprint, url: str) -> None:
    def pid(_: int = 0) -> int:
        return int(requests.post(url + "/predict/faulty", json={"how": "sleep", "text": "0.2"}, timeout=60).json()["results"]["pid"])

    first = pid()
    with ThreadPoolExecutor(4) as threads:
        waiting = [threads.submit(pid, number) for number in range(4)]
        os.kill(first, signal.SIGKILL)
        assert {each.result() for each in waiting} - {first}
    assert pid() != first


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


def test_metrics_count_what_the_application_was_asked(url: str) -> None:
    name = 'hubserve_requests_total{error="",module="shout",protocol="paddlehub",status="200",version="1.0.0"}'

    def count() -> float:
        lines = requests.get(url + "/metrics", timeout=30).text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(name)), 0.0)

    before = count()
    for _ in range(3):
        assert requests.post(url + "/predict/shout", json={"text": "hi"}, timeout=30).json()["results"] == "HI!"
    assert count() == before + 3


def test_an_application_keeps_its_own_metrics_unless_it_asks_for_pages() -> None:
    made = blueprint(config={"modules_info": served()})
    own = application(made)
    own.add_url_rule("/metrics", "metrics", lambda: "mine")
    try:
        with running(own) as address:
            assert requests.get(address + "/metrics", timeout=30).text == "mine"
    finally:
        made.close()

"""The limits of keys over every protocol: rates, requests at once, priorities, and a revoked key."""

import concurrent.futures
import contextlib
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from hubserve.flask import blueprint
from tests.behaviours.access.keys import add_key, bearer, remove_keys, tensors
from tests.behaviours.flask.applications import application, running
from tests.behaviours.grpc_clients import Answers
from tests.conftest import Server, Start, free_port, servers, toy, wait_for

SLOW_S = "1.5"
WAYS = ("predict", "v2", "grpc", "flask")
#: the servers look at their file once a second, so that every key is there from the start
LIMITS: dict[str, dict[str, Any]] = {
    "other": {},
    "clients that leave": {"concurrency": 2},
    "stream": {"rate": 0.01, "burst": 2},
    "revoked": {},
    **{f"rate {way}": {"rate": 0.01, "burst": 3} for way in WAYS},
    **{f"concurrency {way}": {"concurrency": 1} for way in WAYS},
}


@pytest.fixture(scope="module")
def slow_settings(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, str]]:
    file = tmp_path_factory.mktemp("limits") / "keys.json"
    texts = {name: add_key(file, name.replace(" ", "-"), ("faulty",), **limits) for name, limits in LIMITS.items()}
    modules = {"faulty": {**toy("faulty"), "workers": 1}}
    return {"modules_info": modules, "access_keys": str(file)}, texts


@pytest.fixture(scope="module")
def slow(
    slow_settings: tuple[dict[str, Any], dict[str, str]], shared_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    settings, _ = slow_settings
    with servers(shared_home, tmp_path_factory.mktemp("slow")) as start:
        port = free_port()
        yield start(settings["modules_info"], port=port, grpc_port=port, access_keys=settings["access_keys"])


@pytest.fixture(scope="module")
def slow_flask(slow_settings: tuple[dict[str, Any], dict[str, str]], shared_home: Path) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUB_HOME", str(shared_home))
        made = blueprint(config=slow_settings[0])
        made.start()
        with running(application(made)) as url:
            yield url
        made.close()


def over_predict(url: str, text: str, how: str) -> tuple[bool, str]:
    answer = requests.post(f"{url}/predict/faulty", json={"how": how, "text": SLOW_S}, headers=bearer(text), timeout=60)
    assert answer.status_code in (200, 429, 500), answer.text
    return answer.status_code == 429, answer.headers.get("Retry-After", "")


def over_v2(url: str, text: str, how: str) -> tuple[bool, str]:
    body = {"inputs": [{"name": "arguments", "datatype": "BYTES", "shape": [1], "data": [json.dumps({"how": how, "text": SLOW_S})]}]}
    answer = requests.post(f"{url}/v2/models/faulty/infer", json=body, headers={"X-API-Key": text}, timeout=60)
    assert answer.status_code in (200, 429, 500), answer.text
    return answer.status_code == 429, answer.headers.get("Retry-After", "")


def over_grpc(port: int, text: str, how: str) -> tuple[bool, str]:
    sent = np.array([json.dumps({"how": how, "text": SLOW_S})], dtype=np.object_)
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
        try:
            client.infer("faulty", tensors(tritonclient.grpc, "arguments", "BYTES", sent), headers={"x-api-key": text})
        except InferenceServerException as error:
            return error.status() == "StatusCode.RESOURCE_EXHAUSTED", "1"
    return False, ""


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ask(way: str, slow: Server, slow_flask: str) -> Any:
    """Send a request with a key; whether its limits refused it, and when to come back."""
    ways = {
        "predict": lambda text, how="": over_predict(slow.url, text, how),
        "v2": lambda text, how="": over_v2(slow.url, text, how),
        "grpc": lambda text, how="": over_grpc(slow.port, text, how),
        "flask": lambda text, how="": over_predict(slow_flask, text, how),
    }
    return ways[way]


@pytest.fixture
def limited(slow_settings: tuple[dict[str, Any], dict[str, str]]) -> dict[str, str]:
    """The keys of :data:`LIMITS`."""
    return slow_settings[1]


def test_a_rate_is_limited_with_a_time_to_come_back(way: str, ask: Any, limited: dict[str, str]) -> None:
    text, other = limited[f"rate {way}"], limited["other"]
    answers = [ask(text) for _ in range(5)]
    assert [refused for refused, _ in answers] == [False] * 3 + [True] * 2
    assert int(answers[-1][1]) >= 1
    assert ask(other) == (False, ""), "other keys are not concerned"


def test_requests_in_progress_are_limited_and_ended_ones_make_room(way: str, ask: Any, limited: dict[str, str]) -> None:
    text, other = limited[f"concurrency {way}"], limited["other"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        held = pool.submit(ask, text, "sleep")
        refused = []
        while not held.done():
            refused.append(ask(text)[0])
            if refused[-1]:
                assert ask(other) == (False, "")
        assert True in refused or held.result()[0]
    for _ in range(3):
        assert ask(text, "raise")[0] is False, "a request that failed is over, too"


def test_each_request_of_a_stream_is_limited(slow: Server, limited: dict[str, str]) -> None:
    text = limited["stream"]
    sent = np.array([json.dumps({})], dtype=np.object_)
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{slow.port}") as client:
        answers = Answers()
        client.start_stream(answers, headers={"x-api-key": text})
        for _ in range(4):
            client.async_stream_infer("faulty", tensors(tritonclient.grpc, "arguments", "BYTES", sent))
        got = [answers.next() for _ in range(4)]
        client.stop_stream()
    assert [isinstance(each, InferenceServerException) for each in got] == [False, False, True, True]
    assert "requests per second" in str(got[2])


def test_a_stream_ends_once_its_key_is_revoked(
    slow: Server, slow_settings: tuple[dict[str, Any], dict[str, str]], limited: dict[str, str]
) -> None:
    text = limited["revoked"]
    sent = np.array([json.dumps({})], dtype=np.object_)
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{slow.port}") as client:
        answers = Answers()
        client.start_stream(answers, headers={"x-api-key": text})
        request = tensors(tritonclient.grpc, "arguments", "BYTES", sent)
        client.async_stream_infer("faulty", request)
        assert not isinstance(answers.next(), InferenceServerException)
        remove_keys(Path(slow_settings[0]["access_keys"]), "revoked")
        wait_for(lambda: requests.post(f"{slow.url}/predict/faulty", json={}, headers=bearer(text), timeout=60).status_code == 401)
        client.async_stream_infer("faulty", request)
        ended = answers.next()
        assert isinstance(ended, InferenceServerException)
        assert "not valid" in str(ended)
        ended = answers.next()
        assert ended.status() == "StatusCode.UNAUTHENTICATED"
        client.stop_stream()


def test_clients_that_leave_hold_nothing(slow: Server, limited: dict[str, str]) -> None:
    text = limited["clients that leave"]
    for _ in range(5):
        with contextlib.suppress(requests.Timeout):
            requests.post(f"{slow.url}/predict/faulty", json={"how": "sleep", "text": "1"}, headers=bearer(text), timeout=0.05)
    wait_for(lambda: over_predict(slow.url, text, "")[0] is False)


def test_no_request_is_more_urgent_than_its_key(start: Start, tmp_path: Path) -> None:
    keys = {
        name: add_key(tmp_path / "keys.json", name, ("*",), priority=priority)
        for name, priority in (("late", 10), ("usual", 0), ("early", -10))
    }
    port = free_port()
    server = start({"faulty": {**toy("faulty", delay_s=0.4), "workers": 1}}, access_keys="keys.json", port=port, grpc_port=port)
    server.headers = bearer(add_key(tmp_path / "keys.json", "ops", scopes=("admin",)))
    wait_for(lambda: requests.get(f"{server.url}/status", headers=server.headers, timeout=60).ok)

    def predict(name: str, asked: int, **arguments: str) -> int:
        headers = {**bearer(keys[name]), "X-Hub-Priority": str(asked)}
        return int(server.predict("faulty", json=arguments, headers=headers).json()["results"]["calls"])

    def infer(module: Any, address: str, name: str, asked: int) -> int:
        with module.InferenceServerClient(address) as client:
            sent = tensors(module, "arguments", "BYTES", np.array(["{}"], dtype=np.object_))
            answer = client.infer("faulty", sent, priority=asked, headers={"x-api-key": keys[name]})
        return int(json.loads(answer.as_numpy("results").ravel()[0])["calls"])

    def order(*asks: Any) -> list[int]:
        """The place of each of several requests that come while another one is computed."""
        go_on = tmp_path / "go on"
        go_on.unlink(missing_ok=True)
        with concurrent.futures.ThreadPoolExecutor(1 + len(asks)) as pool:
            first = pool.submit(predict, "usual", 0, how="until", text=str(go_on))
            wait_for(lambda: server.computing("faulty"))
            waiting = [pool.submit(ask) for ask in asks]
            wait_for(lambda: server.waiting("faulty") == len(asks))
            go_on.touch()
            return [each.result() - first.result() for each in waiting]

    assert order(*(partial(predict, name, -100) for name in ("late", "usual", "early"))) == [3, 2, 1]
    assert order(partial(predict, "late", 0), partial(predict, "usual", 0)) == [2, 1], "also if nothing is asked for"
    for module in (tritonclient.http, tritonclient.grpc):
        address = f"127.0.0.1:{port}"
        assert order(partial(infer, module, address, "late", 1), partial(infer, module, address, "usual", 5)) == [2, 1]

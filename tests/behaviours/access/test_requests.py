"""Requests with keys over every protocol: what they may do, how much, and what is recorded of them."""

import base64
import concurrent.futures
import contextlib
import json
import os
import threading
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
from tritonclient.utils import shared_memory as regions

from hubserve.flask import blueprint
from tests.behaviours.access.conftest import Guarded
from tests.behaviours.access.keys import add_key, bearer, remove_keys
from tests.behaviours.flask.applications import application, running
from tests.behaviours.grpc_clients import Answers
from tests.behaviours.test_admin_address import over_socket
from tests.conftest import Server, Start, free_port, servers, toy, wait_for


def tensors(module: Any, name: str = "x", datatype: str = "FP32", array: Any = None) -> list[Any]:
    array = np.ones((1, 4), np.float32) if array is None else array
    sent = module.InferInput(name, list(array.shape), datatype)
    sent.set_data_from_numpy(array)
    return [sent]


def plan(module: Any, **call: Any) -> list[Any]:
    return tensors(module, "PLAN", "BYTES", np.array([json.dumps(call)], dtype=np.object_))


@pytest.mark.parametrize("header", ["bearer", "x-api-key"])
def test_the_right_key_is_answered_over_every_protocol(guarded: Guarded, header: str) -> None:
    def headers(name: str) -> dict[str, str]:
        text = guarded.keys[name]
        return {"authorization": f"Bearer {text}"} if header == "bearer" else {"x-api-key": text}

    said = requests.post(f"{guarded.url}/predict/shout", json={"text": "hi"}, headers=headers("shout"), timeout=60).json()
    assert said == {"status": "000", "msg": "", "results": "HI!"}
    chained = requests.post(f"{guarded.url}/inference", json={"numbers": [1]}, headers=headers("chain"), timeout=60)
    assert chained.status_code == 200, chained.text
    generated = requests.post(
        f"{guarded.url}/v2/models/pb_repeat/generate_stream", json={"COUNT": 2}, headers=headers("repeat"), timeout=60
    )
    assert generated.text.count("data: ") == 2
    page = requests.get(f"{guarded.url}/gradio/paged/app", headers=headers("paged"), timeout=60)
    assert page.status_code == 200, page.text
    http = tritonclient.http.InferenceServerClient(guarded.url.removeprefix("http://"))
    assert http.infer("double", tensors(tritonclient.http), headers=headers("double")).as_numpy("y").tolist() == [[2.0] * 4]
    with tritonclient.grpc.InferenceServerClient(guarded.address) as client:
        result = client.infer("double", tensors(tritonclient.grpc), headers=headers("double"))
        assert result.as_numpy("y").tolist() == [[2.0] * 4]
        answers = Answers()
        client.start_stream(answers, headers=headers("double"))
        client.async_stream_infer("double", tensors(tritonclient.grpc))
        client.async_stream_infer("half", tensors(tritonclient.grpc), request_id="7")
        assert answers.next().as_numpy("y").tolist() == [[2.0] * 4]
        assert "not served here; served are double" in str(answers.next())
        client.stop_stream()


def test_a_key_of_an_ensemble_needs_no_key_of_its_steps_nor_one_of_a_model_of_those_that_it_calls(guarded: Guarded) -> None:
    http = tritonclient.http.InferenceServerClient(guarded.url.removeprefix("http://"))
    headers = bearer(guarded.keys["ensemble"])
    assert http.infer("twofold", tensors(tritonclient.http), headers=headers).as_numpy("y").tolist() == [[1.0] * 4]
    with pytest.raises(InferenceServerException, match="not found"):
        http.infer("double", tensors(tritonclient.http), headers=headers)
    asked = plan(tritonclient.http, call="sum", values=[1, 2])
    for _ in range(2):
        answer = http.infer("pb_bls", asked, headers=bearer(guarded.keys["bls"]))
        assert json.loads(answer.as_numpy("RESULT")[0]) == [3.0]
    with tritonclient.grpc.InferenceServerClient(guarded.address) as client:
        again = client.infer("pb_bls", plan(tritonclient.grpc, call="sum", values=[1, 2]), headers={"x-api-key": guarded.keys["bls"]})
        assert json.loads(again.as_numpy("RESULT")[0]) == [3.0]


def test_a_page_gets_the_request_without_the_key(guarded: Guarded) -> None:
    for headers in (bearer(guarded.keys["paged"]), {"X-API-Key": guarded.keys["paged"], "Authorization": "Basic eDp5"}):
        seen = requests.get(f"{guarded.url}/gradio/paged/seen", headers={**headers, "X-Mine": "1"}, timeout=60)
        named = {name.lower() for name in seen.json()}
        assert "x-mine" in named
        assert not named & {"authorization", "x-api-key"}
        assert guarded.keys["paged"] not in seen.text


def test_only_the_list_of_a_key_is_shown(guarded: Guarded) -> None:
    def page(name: str) -> str:
        return requests.get(guarded.url, headers=bearer(guarded.keys[name]), timeout=30).text

    assert [name in page("shout") for name in ("shout", "doubler", "pb_bls")] == [True, False, False]
    assert [name in page("admin") for name in ("shout", "doubler", "pb_bls")] == [True, True, True]
    stats = requests.get(f"{guarded.url}/v2/models/stats", headers=bearer(guarded.keys["shout"]), timeout=30).json()
    assert [each["name"] for each in stats["model_stats"]] == ["shout"]
    config = requests.get(f"{guarded.url}/v2/models/twofold/config", headers=bearer(guarded.keys["ensemble"]), timeout=30)
    assert config.status_code == 200


def test_shared_caches_store_no_answer(guarded: Guarded) -> None:
    headers = {"X-API-Key": guarded.keys["shout"]}
    for path in ("/v2/models/shout", "/", "/openapi.json", "/v2/models/doubler"):
        answer = requests.get(guarded.url + path, headers=headers, timeout=30)
        assert "private" in answer.headers["Cache-Control"] or answer.headers["Cache-Control"] == "no-cache", path
    assert requests.get(f"{guarded.url}/v2", timeout=30).headers["Cache-Control"] == "no-store"
    assert "Cache-Control" not in requests.get(f"{guarded.url}/health/live", timeout=30).headers


def test_the_admin_surface_needs_a_key_of_an_admin(guarded: Guarded) -> None:
    for name, status in (("everything", 200), ("admin", 200), ("shout", 403), ("infer", 403), ("metrics", 403)):
        headers = bearer(guarded.keys[name])
        assert requests.get(f"{guarded.url}/status", headers=headers, timeout=30).status_code == status
        assert requests.post(f"{guarded.url}/v2/repository/index", headers=headers, timeout=30).status_code == status
    admin = bearer(guarded.keys["admin"])
    unloaded = requests.post(f"{guarded.url}/v2/repository/models/pb_sum/unload", headers=admin, timeout=60)
    assert (unloaded.status_code, unloaded.text) == (200, "")
    assert requests.post(f"{guarded.url}/v2/repository/models/pb_sum/load", headers=admin, timeout=60).status_code == 200
    assert requests.post(f"{guarded.url}/predict/shout", json={"text": "a"}, headers=admin, timeout=30).status_code == 403
    forwarded = {**admin, "X-Forwarded-For": "10.0.0.1"}
    assert requests.get(f"{guarded.url}/status", headers=forwarded, timeout=30).status_code == 403, "'admin' counts, too"


def test_an_admin_surface_apart_needs_a_key_of_an_admin_at_each_of_its_addresses(start: Start, tmp_path: Path) -> None:
    file, port = tmp_path / "keys.json", free_port()
    team, ops = add_key(file, "team", ("*",)), add_key(file, "ops", scopes=("admin",))
    server = start({"shout": toy("shout")}, access_keys="keys.json", admin_port=port, admin_socket="admin.sock")

    def statuses(path: str) -> list[tuple[int, int, int]]:
        found = []
        for key in ({}, bearer(team), bearer(ops)):
            public, own = (requests.get(f"http://127.0.0.1:{each}{path}", headers=key, timeout=30) for each in (server.port, port))
            found.append((public.status_code, own.status_code, over_socket(tmp_path / "admin.sock", "GET", path, **key)[0]))
        return found

    assert statuses("/status") == statuses("/v2/logging") == [(401, 401, 401), (404, 403, 403), (404, 200, 200)]


def test_shared_memory_is_for_admins_whatever_a_key_may_infer(guarded: Guarded) -> None:
    http = tritonclient.http.InferenceServerClient(guarded.url.removeprefix("http://"))
    name = f"access-{os.getpid()}"
    handle = regions.create_shared_memory_region("held", f"/{name}", 16)
    try:
        regions.set_shared_memory_region(handle, [np.ones((1, 4), np.float32)])
        http.register_system_shared_memory("held", f"/{name}", 16, headers=bearer(guarded.keys["everything"]))
        sent = tritonclient.http.InferInput("x", [1, 4], "FP32")
        sent.set_shared_memory("held", 16)
        assert http.infer("double", [sent], headers=bearer(guarded.keys["everything"])).as_numpy("y").tolist() == [[2.0] * 4]
        with pytest.raises(InferenceServerException, match=r"\[403\].*scope 'admin'"):
            http.infer("double", [sent], headers=bearer(guarded.keys["double"]))
        sent = tritonclient.grpc.InferInput("x", [1, 4], "FP32")
        sent.set_shared_memory("held", 16)
        with tritonclient.grpc.InferenceServerClient(guarded.address) as client, pytest.raises(InferenceServerException) as raised:
            client.infer("double", [sent], headers={"x-api-key": guarded.keys["double"]})
        assert raised.value.status() == "StatusCode.PERMISSION_DENIED"
    finally:
        regions.destroy_shared_memory_region(handle)


def test_metrics_need_their_scope_and_name_the_keys_and_the_reasons_of_refusals(guarded: Guarded) -> None:
    for _ in range(3):
        requests.post(f"{guarded.url}/predict/shout", json={"text": "a"}, headers=bearer(guarded.keys["infer"]), timeout=30)
    requests.post(f"{guarded.url}/predict/shout", json={"text": "a"}, timeout=30)
    requests.get(f"{guarded.url}/status", headers=bearer(guarded.keys["shout"]), timeout=30)
    answer = requests.get(f"{guarded.url}/metrics", headers=bearer(guarded.keys["metrics"]), timeout=30)
    assert answer.status_code == 200
    lines = dict(line.rsplit(" ", 1) for line in answer.text.splitlines() if not line.startswith("#"))
    assert float(lines['hubserve_key_requests_total{key="worker",module="shout"}']) >= 3
    for reason in ("key_missing", "key_scope"):
        assert float(lines[f'hubserve_refused_total{{reason="{reason}"}}']) >= 1
    assert "hsk_" not in answer.text


def test_the_access_log_names_the_client_and_never_the_key(guarded: Guarded) -> None:
    for number in range(2):
        headers = {**bearer(guarded.keys["shout"]), "X-Request-Id": f"logged-{number}"}
        requests.post(f"{guarded.url}/predict/{('shout', 'doubler')[number]}", json={"text": "a"}, headers=headers, timeout=30)
    with tritonclient.grpc.InferenceServerClient(guarded.address) as client, contextlib.suppress(InferenceServerException):
        client.infer("double", tensors(tritonclient.grpc), headers={"x-request-id": "logged-2"})
    with tritonclient.grpc.InferenceServerClient(guarded.address) as client:
        client.infer("double", tensors(tritonclient.grpc), headers={"x-api-key": guarded.keys["double"], "x-request-id": "logged-3"})

    def logged() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in guarded.server.log.read_text().splitlines() if line.startswith('{"time"')]
        return [line for line in lines if str(line.get("request_id", "")).startswith("logged-")]

    found = sorted(wait_for(lambda: logged() if len(logged()) == 4 else None), key=lambda line: line["request_id"])
    assert [(line["key"], line["error"], line["module"]) for line in found] == [
        ("team-shout", "", "shout"),
        ("team-shout", "module_not_found", ""),
        ("", "unauthenticated", ""),
        ("team-double", "", "double"),
    ]
    assert found[2]["status"] == "UNAUTHENTICATED"
    assert "hsk_" not in guarded.server.log.read_text()


def test_browsers_send_the_key_as_a_password_and_pages_of_other_origins_do_not(start: Start, tmp_path: Path) -> None:
    text = add_key(tmp_path / "keys.json", "person", ("*",))
    server = start({"shout": toy("shout")}, access_keys="keys.json", cors_origins=["https://app.example.com"])
    page = {"Accept": "text/html"}
    asked = requests.get(server.url, headers=page, timeout=30)
    assert asked.status_code == 401
    assert asked.headers["WWW-Authenticate"] == 'Bearer realm="hubserve", Basic realm="hubserve"'
    assert requests.get(server.url, headers=page, auth=("anyone", text), timeout=30).status_code == 200
    for wrong in ("Basic !", "Basic " + base64.b64encode(b"no colon").decode(), "Basic", f"Digest {text}"):
        assert requests.get(server.url, headers={"Authorization": wrong}, timeout=30).status_code == 401
    origin = {"Origin": "https://app.example.com"}
    basic = {"Authorization": "Basic " + base64.b64encode(f"x:{text}".encode()).decode()}
    url = f"{server.url}/predict/shout"
    assert requests.post(url, json={"text": "a"}, headers={**origin, **basic}, timeout=30).status_code == 401
    allowed = requests.post(url, json={"text": "a"}, headers={**origin, **bearer(text)}, timeout=30)
    assert allowed.json()["results"] == "A!"
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    refused = requests.post(url, json={"text": "a"}, headers=origin, timeout=30)
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == "https://app.example.com", "the page may read why"
    asks = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    preflight = requests.options(url, headers=asks, timeout=30)
    assert (preflight.status_code, preflight.headers["Access-Control-Allow-Headers"]) == (204, "authorization")


def test_health_needs_no_key_and_names_no_module(start: Start, tmp_path: Path) -> None:
    add_key(tmp_path / "keys.json", "any", ("*",))
    port, metrics = free_port(), free_port()
    modules = {"shout": toy("shout"), "faulty": toy("faulty", at_start="raise")}
    server = start(modules, access_keys="keys.json", grpc_port=port, metrics_port=metrics, wait=False)

    def ready() -> Any:
        with contextlib.suppress(requests.ConnectionError):
            answer = requests.get(f"{server.url}/health/ready", timeout=30)
            return [answer] if "is not served" in server.log.read_text() else None
        return None

    [answer] = wait_for(ready, 120)
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "not_ready": {}})
    v2 = requests.get(f"{server.url}/v2/health/ready", timeout=30)
    assert (v2.status_code, v2.json()) == (400, {"ready": False, "error": "not ready: 1 models"})
    assert requests.get(f"{server.url}/v2/health/live", timeout=30).status_code == 200
    assert requests.get(f"{server.url}/metrics", timeout=30).status_code == 401
    assert 'module="shout"' in requests.get(f"http://127.0.0.1:{metrics}/metrics", timeout=30).text, "that port is not for clients"
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{port}") as client:
        assert client.is_server_live()
        assert not client.is_server_ready()


# --- limits, over every protocol ---


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


# --- rotation ---


def shout(url: str, text: str, session: Any = requests) -> int:
    answer = session.post(f"{url}/predict/shout", json={"text": "a"}, headers=bearer(text), timeout=30)
    return int(answer.status_code)


class Load:
    """Clients that send one request after the other, with the key that is current.

    Attributes:
        key: that they use.
        counts: of each client's answers.
        wrong: what was no result.
    """

    def __init__(self, server: Server, key: str) -> None:
        self.key = key
        self.counts = [0] * 4
        self.wrong: list[str] = []
        self._server = server
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=(self._http, self._grpc)[number % 2], args=(number,)) for number in range(4)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def wait_for_all(self) -> None:
        """Wait until every client was answered twice: whatever it sends from now on has the key that is current now."""
        before = list(self.counts)
        wait_for(lambda: all(now > was + 1 for now, was in zip(self.counts, before, strict=True)))

    def _http(self, number: int) -> None:
        with requests.Session() as session:
            while not self._stop.is_set():
                status = shout(self._server.url, self.key, session)
                if status != 200:
                    self.wrong.append(str(status))
                self.counts[number] += 1

    def _grpc(self, number: int) -> None:
        sent = tensors(tritonclient.grpc, "arguments", "BYTES", np.array([json.dumps({"text": "a"})], dtype=np.object_))
        with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{self._server.port}") as client:
            while not self._stop.is_set():
                try:
                    client.infer("shout", sent, headers={"x-api-key": self.key})
                except InferenceServerException as error:
                    self.wrong.append(str(error))
                self.counts[number] += 1


def test_keys_are_rotated_under_load_without_a_lost_request(start: Start, tmp_path: Path) -> None:
    """Each round adds a key, moves every client to it, breaks the file for a while, and then removes the key before."""
    file, port = tmp_path / "keys.json", free_port()
    first = add_key(file, "round-0", ("*",))
    server = start({"shout": {**toy("shout"), "workers": 1}}, access_keys="keys.json", port=port, grpc_port=port)
    with Load(server, first) as load:
        for number in range(1, 3):
            before, after = load.key, add_key(file, f"round-{number}", ("*",))
            wait_for(partial(_is_answered, server, after))
            load.key = after
            load.wait_for_all()
            content = file.read_bytes()
            file.write_text("{")
            wait_for(partial(_says, server, "the last good keys stay in use", number))
            load.wait_for_all()
            file.write_bytes(content)
            remove_keys(file, f"round-{number - 1}")
            wait_for(partial(_is_refused, server, before))
            load.wait_for_all()
    assert load.wrong == []
    assert min(load.counts) > 10


def _is_answered(server: Server, text: str) -> bool:
    return shout(server.url, text) == 200


def _is_refused(server: Server, text: str) -> bool:
    return shout(server.url, text) == 401


def _says(server: Server, said: str, times: int) -> bool:
    return server.log.read_text().count(said) == times


# --- what operators are told ---


@pytest.mark.parametrize(
    ("settings", "said", "unsaid"),
    [
        ({"host": "0.0.0.0"}, "ANYONE who can reach", "unencrypted"),
        ({"host": "0.0.0.0", "access_keys": "keys.json"}, "unencrypted", "ANYONE"),
        ({}, "", "ANYONE"),
        ({"access_keys": "keys.json"}, "", "unencrypted"),
    ],
)
def test_an_open_server_says_so_loudly(start: Start, tmp_path: Path, settings: dict[str, Any], said: str, unsaid: str) -> None:
    add_key(tmp_path / "keys.json", "any", ("*",))
    log = start({"shout": toy("shout")}, **settings).log.read_text()
    assert said in log
    assert unsaid not in log


def test_a_server_without_its_file_of_keys_does_not_start(start: Start, tmp_path: Path) -> None:
    server = start({"shout": toy("shout")}, access_keys="keys.json", wait=False)
    assert server.process.wait(60) == 1
    assert "hub access create" in server.log.read_text()
    assert "Traceback" not in server.log.read_text()

"""Requests with keys over every protocol: what they may do, and what is recorded of them."""

import base64
import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException
from tritonclient.utils import shared_memory as regions

from tests.behaviours.access.conftest import Guarded
from tests.behaviours.access.keys import add_key, bearer, tensors
from tests.behaviours.grpc_clients import Answers
from tests.behaviours.test_admin_address import over_socket
from tests.conftest import Start, free_port, toy, wait_for


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

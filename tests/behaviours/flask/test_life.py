"""Modules in a Flask application: set-up, failures and closing."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from hubserve.errors import ConfigError, HubError, ModuleNotFound
from hubserve.flask import blueprint
from hubserve.registry.installer import Installer
from tests.behaviours.flask.applications import application, running
from tests.conftest import MODULES, toy, wait_for
from tests.triton_models import write_scale


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


def test_a_close_while_requests_run_answers_them_first() -> None:
    made = blueprint(config={"modules_info": {"faulty": toy("faulty", delay_s=1.5)}})
    client = application(made).test_client()
    made.start()
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(client.post, "/predict/faulty", json={"text": "last"})
        wait_for(lambda: made._gateway and made._gateway._tasks)
        made.close()
        assert asked.result().json["results"]["text"] == "last"


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

"""Load, large bodies and slow clients of modules in a Flask application."""

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from flask import request

from hubserve.flask import HubBlueprint, blueprint
from tests.behaviours.flask.applications import JSON, LARGE, application, array, running
from tests.conftest import MODULES, toy, wait_for


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


def refused(made: HubBlueprint, module: str, body: dict[str, Any], count: int) -> list[requests.Response]:
    with running(application(made)) as url:
        requests.post(f"{url}/predict/{module}", json={}, timeout=60)
        with ThreadPoolExecutor(count) as threads:
            answers = list(threads.map(lambda _: requests.post(f"{url}/predict/{module}", json=body, timeout=60), range(count)))
    made.close()
    return [each for each in answers if each.status_code != 200]


def test_more_requests_than_the_queue_takes_are_refused_with_429() -> None:
    made = blueprint(config={"modules_info": {"faulty": toy("faulty", delay_s=1.0)}, "max_queue_size": 1})
    answers = refused(made, "faulty", {}, 8)
    assert answers
    assert {each.status_code for each in answers} == {429}
    assert all(each.headers["Retry-After"] and each.json()["status"] == "101" for each in answers)


@pytest.mark.parametrize(("setting", "limit"), [("max_concurrency", 2), ("max_pending_bytes", 1_000_000)])
def test_more_than_the_server_takes_is_refused_with_503(setting: str, limit: int) -> None:
    made = blueprint(config={"modules_info": {"faulty": toy("faulty", delay_s=1.0)}, setting: limit})
    answers = refused(made, "faulty", {"text": "a" * 600_000}, 4)
    assert answers
    assert {each.status_code for each in answers} == {503}
    assert all(each.headers["Retry-After"] and setting in each.json()["msg"] for each in answers)


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
    made = blueprint(config={"modules_info": {"shout": toy("shout")}, "client_timeout_s": 2})
    with running(application(made)) as url:
        made.start()
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
            connection.sendall(HEAD + b"x")
            wait_for(lambda: made._gateway and made._gateway._tasks)
            wait_for(lambda: made._gateway and not made._gateway._tasks)
            connection.sendall(b"x" * 299_999)
            assert connection.recv(65536).split(b" ", 2)[1] == b"408"
    made.close()

"""PaddleHub Serving's protocol, as its clients see it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import Server, servers, toy

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def server(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers(shared_home, tmp_path_factory.mktemp("protocol")) as start:
        modules = {"shout": toy("shout"), "old-style": toy("old_style", prefix=">"), "faulty": toy("faulty"), "doubler": toy("doubler")}
        modules["shout"]["predict_args"] = {"text": "by default"}
        yield start(modules, max_body_bytes=1 << 20)


def test_json_arguments_reach_the_serving_method_and_the_answer_has_exactly_three_keys(server: Server) -> None:
    answer = server.predict("shout", json={"text": "grüß dich"})
    assert answer.status_code == 200
    assert answer.json() == {"status": "000", "msg": "", "results": "GRÜSS DICH!"}
    assert "GRÜSS" in answer.text, "answers are not ASCII-escaped"


def test_predict_args_are_laid_under_the_request(server: Server) -> None:
    assert server.results("shout") == "BY DEFAULT!"
    assert server.results("shout", text="given") == "GIVEN!"


def test_an_old_style_module_with_its_serving_method_on_a_base_class_is_served(server: Server) -> None:
    assert server.results("old-style", texts=["abc"], times=2) == [{"text": "cbacba", "prefix": ">"}]


def test_an_exception_in_the_module_is_status_101_with_its_text(server: Server) -> None:
    answer = server.predict("faulty", json={"how": "raise", "text": "ärger"})
    assert (answer.status_code, answer.json()) == (200, {"status": "101", "msg": "ärger", "results": ""})


def test_a_missing_or_unexpected_argument_is_a_101_that_says_what_the_module_takes(server: Server) -> None:
    answer = server.predict("old-style", json={}).json()
    assert answer["status"] == "101"
    assert answer["msg"] == (
        "the argument 'texts' is missing. This module takes the JSON arguments texts; optionally times (1); "
        'for example {"texts": ["some text"]}'
    )
    answer = server.predict("faulty", json={"wrong": 1}).json()
    assert answer["status"] == "101"
    assert answer["msg"].startswith("the argument 'wrong' is not known. This module takes the JSON arguments ")


def test_an_answer_that_is_no_json_is_a_101_that_says_so(server: Server) -> None:
    answer = server.predict("faulty", json={"how": "not json"}).json()
    assert answer["status"] == "101"
    assert "object is not a JSON type" in answer["msg"]


@pytest.mark.parametrize("body", [b"", b"{", b"not json", b"\xff\xfe", b"[" * 100_000])
def test_malformed_json_is_a_400(server: Server, body: bytes) -> None:
    answer = server.predict("shout", data=body, headers=JSON)
    assert answer.status_code == 400
    assert "not valid JSON" in answer.json()["msg"]


@pytest.mark.parametrize(("body", "what"), [("[1]", "a list"), ('"x"', "a text"), ("7", "a number"), ("true", "a boolean")])
def test_json_that_is_no_object_is_a_400_that_says_what_came(server: Server, body: str, what: str) -> None:
    answer = server.predict("shout", data=body, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["msg"].startswith(f"the body must be a JSON object of arguments, got {what}. This module takes the JSON arguments")


def test_nan_is_taken_as_pythons_parser_takes_it(server: Server) -> None:
    assert server.predict("faulty", data='{"text": NaN}', headers=JSON).json()["status"] == "000"


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", "", "application/octet-stream"])
def test_an_old_content_type_is_a_112_that_names_the_right_one(server: Server, content_type: str) -> None:
    answer = server.predict("shout", data="text=x", headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["status"]) == (200, "112")
    assert "application/json" in answer.json()["msg"]


def test_json_null_is_a_112(server: Server) -> None:
    assert server.predict("shout", data="null", headers=JSON).json()["status"] == "112"


def test_any_json_media_type_is_json(server: Server) -> None:
    for content_type in ("application/json; charset=utf-8", "application/vnd.api+json", "APPLICATION/JSON"):
        answer = server.predict("shout", data=b'{"text": "x"}', headers={"Content-Type": content_type})
        assert answer.json()["results"] == "X!"


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"[]"])
def test_an_unknown_module_is_a_111_whatever_the_body(server: Server, body: bytes) -> None:
    answer = server.predict("nobody", data=body, headers=JSON)
    assert (answer.status_code, answer.json()) == (200, {"status": "111", "msg": "Module nobody is not available.", "results": ""})


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "HEAD"])
def test_other_methods_are_405_with_allow(server: Server, method: str) -> None:
    answer = requests.request(method, server.url + "/predict/shout", timeout=10)
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/predict/", "/predict/a/b", "/nothing"])
def test_other_paths_are_404(server: Server, path: str) -> None:
    assert requests.post(server.url + path, json={}, timeout=10).status_code == 404


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_root_is_a_page_that_names_the_modules(server: Server, method: str) -> None:
    answer = requests.request(method, server.url + "/", timeout=10)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "/predict/old-style" in answer.text


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_a_413_that_names_the_setting(server: Server, announced: bool) -> None:
    body = b"x" * (3 << 20)
    chunks = body if announced else iter([body[: 1 << 20], body[1 << 20 : 2 << 20], body[2 << 20 :]])
    answer = server.predict("shout", data=chunks, headers=JSON)
    assert answer.status_code == 413
    assert "max_body_bytes" in answer.json()["msg"]
    assert server.results("shout", text="still here") == "STILL HERE!"


def test_a_100_mb_body_is_refused_and_the_server_goes_on(server: Server) -> None:
    headers = {**JSON, "Expect": "100-continue"}
    answer = server.predict("shout", data=b"x" * (100 << 20), headers=headers)
    assert answer.status_code == 413
    assert server.results("shout", text="still here") == "STILL HERE!"

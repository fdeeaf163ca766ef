"""Request ids, the access log, the server's log and HTTP statuses, as operators see them."""

import json
import subprocess

import pytest
import requests

from tests.conftest import Server, Start, toy, wait_for


@pytest.fixture
def logged(start: Start) -> Server:
    return start({name: toy(name) for name in ("shout", "faulty")}, access_log="json", log_format="json", status_codes="http")


def lines_of(server: Server) -> list[dict]:
    complete = server.log.read_text().rpartition("\n")[0]
    return [json.loads(line) for line in complete.splitlines() if line.startswith("{")]


def test_each_request_is_one_json_line_with_its_id_and_the_traceback_of_a_module_has_it_too(logged):
    answer = logged.predict("shout", json={"text": "hi"}, headers={"X-Request-Id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    failed = logged.predict("faulty", json={"how": "raise"})
    assert failed.status_code == 500
    made = failed.headers["x-request-id"]

    def both() -> dict[str, dict]:
        found = {each["request_id"]: each for each in lines_of(logged) if "bytes_in" in each}
        return found if {"mine-1", made} <= set(found) else {}

    found = wait_for(both)
    line = found["mine-1"]
    assert (line["module"], line["version"], line["protocol"], line["status"]) == ("shout", "1.0.0", "paddlehub", 200)
    assert line["client"] == "127.0.0.1"
    assert line["path"] == "/predict/shout"
    assert (line["bytes_in"], line["error"]) == (len('{"text": "hi"}'), "")
    assert line["ms"] >= line["compute_ms"] >= 0
    assert (found[made]["status"], found[made]["error"]) == (500, "module_failed")
    tracebacks = wait_for(lambda: [each for each in lines_of(logged) if "Traceback" in each.get("message", "")])
    assert [each["request_id"] for each in tracebacks] == [made]


def test_ids_that_cannot_be_logged_are_replaced_and_paths_cannot_forge_lines(logged):
    for sent in ("with space", "x" * 200):
        assert logged.predict("shout", json={"text": "hi"}, headers={"X-Request-Id": sent}).headers["x-request-id"] != sent
    requests.get(logged.url + "/predict/%0a%7b%22forged%22:1%7d?key=secret", timeout=10)
    wait_for(lambda: "forged" in logged.log.read_text())
    assert not any(line.startswith('{"forged') for line in logged.log.read_text().splitlines())
    assert "secret" not in logged.log.read_text()


def test_what_clients_do_wrong_leaves_no_traceback(logged):
    sent = [{"data": b"no json"}, {"json": [1]}, {"json": {"unknown": 1}}, {"data": b"x", "headers": {"Content-Type": "text/plain"}}]
    statuses = [logged.predict("shout", **each).status_code for each in sent]
    assert all(400 <= each < 500 for each in statuses), statuses
    requests.post(logged.url + "/v2/models/shout/infer", data=b"{", timeout=10)
    requests.post(logged.url + "/v2/models/absent/infer", json={"inputs": []}, timeout=10)
    wait_for(lambda: "/v2/models/absent/infer" in logged.log.read_text())
    assert "Traceback" not in logged.log.read_text()


@pytest.mark.parametrize(("codes", "status", "curl"), [("http", 404, 22), ("paddlehub", 200, 0)])
def test_curl_f_sees_failures_with_http_statuses_only(start, codes, status, curl):
    server = start({"shout": toy("shout")}, status_codes=codes)
    answer = server.predict("absent", json={})
    assert (answer.status_code, answer.json()["status"]) == (status, "111")
    done = subprocess.run(["curl", "-fs", "-d", "{}", server.url + "/predict/absent"], check=False, capture_output=True)
    assert done.returncode == curl


def test_no_ids_are_sent_unless_asked_for_or_the_answer_is_a_server_error(start):
    server = start({"shout": toy("shout")})
    assert "x-request-id" not in server.predict("shout", json={"text": "hi"}).headers
    assert "bytes_in" not in server.log.read_text()


def test_log_files_are_written_and_opened_again_after_logrotate(start, tmp_path):
    path = tmp_path / "logs" / "access.log"
    server = start({"shout": toy("shout")}, access_log="text", access_log_file=str(path))
    server.results("shout", text="hi")
    wait_for(lambda: path.exists() and "/predict/shout 200 shout@1.0.0" in path.read_text())
    path.rename(path.with_name("access.log.old"))
    server.results("shout", text="hi")
    wait_for(lambda: path.exists() and "/predict/shout 200" in path.read_text())

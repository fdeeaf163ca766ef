"""Requests that are computed together, and stages with objects of their own."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.behaviours.tiinfer.conftest import script
from tests.conftest import Server, Start, servers


def send(server: Server, bodies: list[dict[str, Any]]) -> list[requests.Response]:
    with ThreadPoolExecutor(len(bodies)) as threads:
        return list(threads.map(lambda body: requests.post(f"{server.url}/inference", json=body, timeout=60), bodies))


@pytest.fixture(scope="module")
def together(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with servers(shared_home, tmp_path_factory.mktemp("together")) as start:
        yield start(
            {
                "together": script(
                    "together", environ={"TI_INFERENCE_MAX_BATCH_SIZE": "4"}, preferred_batch_sizes=[4], max_queue_delay_ms=1000
                )
            }
        )


def test_waiting_requests_are_computed_together_up_to_the_scripts_size(together: Server) -> None:
    answers = [each.json() for each in send(together, [{"n": number} for number in range(24)])]
    assert [each["n"] for each in answers] == list(range(24))
    assert all(each["list"] for each in answers)
    assert max(each["together"] for each in answers) == 4
    assert together.status("together")["max_batch_size"] == 4


def test_one_request_is_a_list_of_one(together: Server) -> None:
    assert send(together, [{"n": 1}])[0].json() == {"n": 1, "together": 1, "list": True}


def test_a_request_that_fails_costs_the_others_nothing(together: Server) -> None:
    answers = send(together, [{"n": number, "fail": number == 5} for number in range(12)])
    assert [each.status_code for each in answers] == [500 if number == 5 else 200 for number in range(12)]
    assert answers[5].text == "asked to fail"


def test_a_script_that_returns_too_few_answers_is_reported(together: Server) -> None:
    answer = send(together, [{"n": 1, "drop": True}])[0]
    assert answer.status_code == 500
    assert "returned a list of 0: return a list with one answer for each" in answer.text


def test_the_statistics_count_each_size(together: Server) -> None:
    send(together, [{"n": number} for number in range(8)])
    stats = requests.get(f"{together.url}/v2/models/together/stats", timeout=60).json()["model_stats"][0]
    assert {each["batch_size"] for each in stats["batch_stats"]} >= {4}
    assert stats["execution_count"] < stats["inference_count"]


def test_the_setting_lowers_the_scripts_size(start: Start) -> None:
    server = start(
        {
            "together": script(
                "together",
                environ={"TI_INFERENCE_MAX_BATCH_SIZE": "8"},
                max_batch_size=2,
                preferred_batch_sizes=[2],
                max_queue_delay_ms=1000,
            )
        }
    )
    answers = [each.json() for each in send(server, [{"n": number} for number in range(12)])]
    assert max(each["together"] for each in answers) == 2


def test_without_the_variable_requests_are_computed_one_by_one(start: Start) -> None:
    server = start({"together": script("together")})
    answers = [each.json() for each in send(server, [{"n": number} for number in range(6)])]
    assert {each["together"] for each in answers} == {1}
    assert not any(each["list"] for each in answers)


def test_preprocess_and_postprocess_have_objects_and_threads_of_their_own(start: Start) -> None:
    environ = {"TI_INFERENCE_MAX_BATCH_SIZE": "4", "TI_PREPROCESS_NUMS": "4", "TI_POSTPROCESS_NUMS": "1"}
    server = start({"apart": script("apart", environ=environ, preferred_batch_sizes=[4], max_queue_delay_ms=20_000)})
    answers = [each.json() for each in send(server, [{"n": number} for number in range(4)])]
    assert [each["n"] for each in answers] == [0, 1, 2, 3]
    assert [each["predict"] for each in answers] == [[True, 4]] * 4
    assert all(each["preprocess"] == each["postprocess"] == [False, False] for each in answers)
    assert max(each["prepared_at_once"] for each in answers) > 1

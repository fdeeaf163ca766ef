"""Which requests are traced, and what is written of them."""

import asyncio
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubserve.errors import InvalidInput, ModuleNotFound
from hubserve.gateway.dataplane import DataPlane
from hubserve.protocols.open_inference.core import trace_files
from hubserve.protocols.open_inference.core.tracing import Traces
from hubserve.server.deployment import make_plans
from hubserve.settings import parse_settings
from hubserve.types import InferRequest
from tests.conftest import toy

EACH = {"trace_level": ["TIMESTAMPS"], "trace_rate": "1"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "traces"
    path.mkdir()
    return path


def dataplane() -> DataPlane:
    return DataPlane(make_plans(parse_settings({"modules_info": {"doubler": toy("doubler"), "shout": toy("shout")}, "workers": 1}, "test")))


def make(folder: Path | None) -> Traces:
    raw = {"modules_info": {"doubler": {}}, "trace_dir": str(folder or "")}
    return Traces(parse_settings(raw, "test"), dataplane())


def count(traces: Traces, requests: int, model: str = "doubler") -> int:
    """How many of so many requests are traced."""

    async def run() -> int:
        number = 0
        for _ in range(requests):
            with traces.sample(model, "1", f"r{number}") as marks:
                number += marks is not None
        traces.close()
        return number

    return asyncio.run(run())


def test_nothing_is_traced_at_first(folder: Path) -> None:
    traces = make(folder)
    assert traces.settings() == {
        "trace_level": ["OFF"],
        "trace_rate": "1000",
        "trace_count": "-1",
        "log_frequency": "0",
        "trace_file": "trace.json",
        "trace_mode": "triton",
    }
    assert count(traces, 2000) == 0
    assert list(folder.iterdir()) == []


def test_every_so_many_requests_one_is_traced(folder: Path) -> None:
    traces = make(folder)
    assert traces.update("", {"trace_level": ["TIMESTAMPS"], "trace_rate": "7"})["trace_rate"] == "7"
    assert count(traces, 20) == 2
    assert count(traces, 1) == 1
    told = json.loads((folder / "trace.json").read_bytes())
    assert [(each["id"], each["model_name"], each["model_version"], each["request_id"]) for each in told] == [
        (1, "doubler", 1, "r0"),
        (2, "doubler", 1, "r1"),
        (3, "doubler", 1, "r0"),
    ]
    assert [stamp["name"] for stamp in told[0]["timestamps"]] == ["REQUEST_START", "REQUEST_END"]


def test_no_more_than_trace_count_are_traced(folder: Path) -> None:
    traces = make(folder)
    traces.update("", {**EACH, "trace_count": 3})
    assert count(traces, 2) == 2
    assert traces.settings()["trace_count"] == "1"
    assert count(traces, 9) == 1
    assert traces.settings()["trace_count"] == "0"
    traces.update("", {"trace_rate": "1"})
    assert count(traces, 9) == 0
    traces.update("", {"trace_count": "-1"})
    assert count(traces, 4) == 4


def test_a_model_has_settings_of_its_own_until_they_are_taken_away(folder: Path) -> None:
    traces = make(folder)
    traces.update("doubler", {"trace_level": "TIMESTAMPS", "trace_rate": "2", "trace_file": "own.json"})
    assert traces.settings("doubler")["trace_level"] == ["TIMESTAMPS"]
    assert traces.settings("shout")["trace_level"] == ["OFF"]
    assert count(traces, 4, "shout") == 0
    assert count(traces, 4, "doubler") == 2
    assert [path.name for path in folder.iterdir()] == ["own.json"]
    traces.update("", {"trace_rate": "5"})
    assert traces.settings("doubler")["trace_rate"] == "2"
    told = traces.update("doubler", {"trace_level": None, "trace_rate": [], "trace_file": None})
    assert told == traces.settings()
    assert count(traces, 9, "doubler") == 0


def test_a_model_may_be_left_out(folder: Path) -> None:
    traces = make(folder)
    traces.update("", EACH)
    traces.update("shout", {"trace_level": ["OFF"]})
    assert count(traces, 3, "shout") == 0
    assert count(traces, 3, "doubler") == 3


def test_clearing_the_settings_of_all_models_brings_the_first_ones_back(folder: Path) -> None:
    traces = make(folder)
    before = traces.settings()
    traces.update("", {**EACH, "trace_count": "5", "log_frequency": "2", "trace_file": "other"})
    assert traces.update("", dict.fromkeys(["trace_level", "trace_rate", "trace_count", "log_frequency", "trace_file"])) == before


def test_with_log_frequency_so_many_traces_are_in_each_file(folder: Path) -> None:
    traces = make(folder)
    traces.update("", {**EACH, "log_frequency": "2", "trace_file": "t"})
    assert count(traces, 5) == 5
    assert {path.name: len(json.loads(path.read_bytes())) for path in folder.iterdir()} == {"t.0": 2, "t.1": 2, "t.2": 1}


def test_a_file_is_json_whenever_it_is_looked_at_and_begun_anew_by_each_server(folder: Path) -> None:
    traces = make(folder)
    traces.update("", EACH)
    lengths = []
    for _ in range(3):
        count(traces, 1)
        lengths.append(len(json.loads((folder / "trace.json").read_bytes())))
    assert lengths == [1, 2, 3]
    again = make(folder)
    again.update("", EACH)
    count(again, 1)
    assert len(json.loads((folder / "trace.json").read_bytes())) == 1


def test_what_waits_is_written_without_the_server_ending(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_files, "_WRITE_EVERY_S", 0.01)
    traces = make(folder)
    traces.update("", EACH)

    async def run() -> None:
        with traces.sample("doubler"):
            pass
        for _ in range(2000):
            if (folder / "trace.json").exists():
                break
            await asyncio.sleep(0.01)

    asyncio.run(run())
    assert len(json.loads((folder / "trace.json").read_bytes())) == 1


def test_a_request_that_failed_is_traced_with_the_reason(folder: Path) -> None:
    traces = make(folder)
    traces.update("", EACH)

    async def run() -> None:
        with pytest.raises(InvalidInput), traces.sample("doubler"):
            raise InvalidInput("too wide")
        traces.close()

    asyncio.run(run())
    assert json.loads((folder / "trace.json").read_bytes())[0]["error"] == "too wide"


def test_the_way_of_a_request_through_its_instance_is_told(folder: Path) -> None:
    async def run() -> None:
        plane = dataplane()
        await plane.start()
        try:
            traces = Traces(parse_settings({"modules_info": {"doubler": {}}, "trace_dir": str(folder)}, "test"), plane)
            traces.update("", EACH)
            with traces.sample("doubler") as marks:
                request = InferRequest("doubler", tensors={"x": np.ones((1, 2), np.float32)})
                request.marks = marks
                await plane.infer(request)
            traces.close()
        finally:
            await plane.stop(5)

    asyncio.run(run())
    stamps = json.loads((folder / "trace.json").read_bytes())[0]["timestamps"]
    assert [stamp["name"] for stamp in stamps] == [
        "REQUEST_START",
        "QUEUE_START",
        "COMPUTE_START",
        "COMPUTE_INPUT_END",
        "COMPUTE_OUTPUT_START",
        "COMPUTE_END",
        "REQUEST_END",
    ]
    # the clock's seconds are held as floats on the way, hence the microsecond
    assert all(one["ns"] <= other["ns"] + 1000 for one, other in pairwise(stamps))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"trace_speed": "1"}, "there is no trace setting 'trace_speed'"),
        ({"trace_level": ["TENSORS"]}, "trace_level must be a list of OFF or TIMESTAMPS"),
        ({"trace_level": 7}, "trace_level must be a list"),
        ({"trace_level": [["TIMESTAMPS"]]}, "trace_level must be a list"),
        ({"trace_rate": "0"}, "trace_rate must be a whole number from 1 up"),
        ({"trace_rate": True}, "trace_rate must be a whole number"),
        ({"trace_rate": "1" * 40}, "trace_rate must be a whole number"),
        ({"trace_rate": ["1", "2"]}, "trace_rate takes one value, got 2"),
        ({"trace_rate": {}}, "trace_rate must be a whole number"),
        ({"trace_count": "-2"}, "trace_count must be a whole number from -1 up"),
        ({"log_frequency": "1.5"}, "log_frequency must be a whole number from 0 up"),
        ({"trace_mode": "opentelemetry"}, "trace_mode can not be updated"),
        ({"trace_file": "/etc/passwd"}, "must be the name of a file in the server's trace_dir"),
        ({"trace_file": "../x"}, "must be the name of a file in the server's trace_dir"),
        ({"trace_file": ".hidden"}, "must be the name of a file in the server's trace_dir"),
        ({"trace_file": "x\n"}, "must be the name of a file in the server's trace_dir"),
        ({"trace_file": 7}, "must be the name of a file in the server's trace_dir"),
        ([1], "trace settings must be an object"),
    ],
)
def test_what_cannot_be_set_is_refused_and_changes_nothing(folder: Path, changes: Any, told: str) -> None:
    traces = make(folder)
    before = traces.settings()
    with pytest.raises(InvalidInput, match=told):
        traces.update("", {"trace_rate": "3", **changes} if isinstance(changes, dict) and "trace_rate" not in changes else changes)
    assert traces.settings() == before


def test_a_model_that_is_not_served_has_no_settings(folder: Path) -> None:
    traces = make(folder)
    with pytest.raises(ModuleNotFound):
        traces.settings("nobody")
    with pytest.raises(ModuleNotFound):
        traces.update("nobody", EACH)


def test_without_a_folder_for_traces_a_client_cannot_have_files_written() -> None:
    traces = make(None)
    assert traces.settings()["trace_file"] == ""
    with pytest.raises(InvalidInput, match="this server's setting 'trace_dir' names no folder"):
        traces.update("", {"trace_file": "x"})
    with pytest.raises(InvalidInput, match="trace_level can only be OFF: this server's setting 'trace_dir' names no folder"):
        traces.update("", EACH)
    assert traces.update("", {"trace_rate": "9", "trace_level": ["OFF"]})["trace_rate"] == "9"


def test_a_folder_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="the server cannot write to its trace_dir"):
        make(tmp_path / "nothing").update("", EACH)


def test_a_link_in_the_folder_is_not_followed_and_the_requests_go_on(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "precious").write_text("precious")
    (folder / "trace.json").symlink_to(tmp_path / "precious")
    traces = make(folder)
    traces.update("", EACH)
    assert count(traces, 300) == 300
    assert (tmp_path / "precious").read_text() == "precious"
    assert len([record for record in caplog.records if "no more traces are written" in record.message]) == 1


def test_files_are_bounded_in_number_and_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_files, "_MOST_FILES", 3)
    traces = make(folder)
    traces.update("", {**EACH, "log_frequency": "1"})
    count(traces, 10)
    assert len(list(folder.iterdir())) == 3
    monkeypatch.setattr(trace_files, "_MOST_BYTES", 2000)
    traces = make(folder)
    traces.update("", {**EACH, "trace_file": "long"})
    for _ in range(40):
        count(traces, 1)
    assert 1000 < (folder / "long").stat().st_size < 2500

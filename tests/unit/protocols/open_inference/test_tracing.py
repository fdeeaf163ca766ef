"""Trace settings, sampling and trace files."""

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
from hubserve.protocols.open_inference.core.tracing import Tracer
from hubserve.server.deployment import make_plans
from hubserve.settings import parse_settings
from hubserve.telemetry.request_record import CURRENT, RequestRecord
from hubserve.telemetry.traces import Traces
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


def make(folder: Path | None) -> Tracer:
    raw = {"modules_info": {"doubler": {}}, "trace_dir": str(folder or "")}
    return Tracer(parse_settings(raw, "test"), dataplane())


def with_spans(folder: Path | None) -> tuple[Tracer, RequestRecord]:
    """A tracer of a server with an endpoint for spans of which none are chosen, and the record of a request."""
    raw = {"modules_info": {"doubler": {}}, "trace_dir": str(folder or "")}
    return Tracer(parse_settings(raw, "test"), dataplane(), Traces(0, lambda _: None)), RequestRecord(0.0)


def count(tracer: Tracer, requests: int, model: str = "doubler") -> int:
    """How many of so many requests are traced."""

    async def run() -> int:
        number = 0
        for _ in range(requests):
            with tracer.sample(model, "1", f"r{number}") as marks:
                number += marks is not None
        tracer.close()
        return number

    return asyncio.run(run())


def test_nothing_is_traced_by_default(folder: Path) -> None:
    tracer = make(folder)
    assert tracer.settings() == {
        "trace_level": ["OFF"],
        "trace_rate": "1000",
        "trace_count": "-1",
        "log_frequency": "0",
        "trace_file": "trace.json",
        "trace_mode": "triton",
    }
    assert count(tracer, 2000) == 0
    assert list(folder.iterdir()) == []


def test_every_nth_request_is_traced(folder: Path) -> None:
    tracer = make(folder)
    assert tracer.update("", {"trace_level": ["TIMESTAMPS"], "trace_rate": "7"})["trace_rate"] == "7"
    assert count(tracer, 20) == 2
    assert count(tracer, 1) == 1
    written = json.loads((folder / "trace.json").read_bytes())
    assert [(each["id"], each["model_name"], each["model_version"], each["request_id"]) for each in written] == [
        (1, "doubler", 1, "r0"),
        (2, "doubler", 1, "r1"),
        (3, "doubler", 1, "r0"),
    ]
    assert [stamp["name"] for stamp in written[0]["timestamps"]] == ["REQUEST_START", "REQUEST_END"]


def test_no_more_than_trace_count_are_traced(folder: Path) -> None:
    tracer = make(folder)
    tracer.update("", {**EACH, "trace_count": 3})
    assert count(tracer, 2) == 2
    assert tracer.settings()["trace_count"] == "1"
    assert count(tracer, 9) == 1
    assert tracer.settings()["trace_count"] == "0"
    tracer.update("", {"trace_rate": "1"})
    assert count(tracer, 9) == 0
    tracer.update("", {"trace_count": "-1"})
    assert count(tracer, 4) == 4


def test_a_model_has_its_own_settings_until_they_are_reset(folder: Path) -> None:
    tracer = make(folder)
    tracer.update("doubler", {"trace_level": "TIMESTAMPS", "trace_rate": "2", "trace_file": "own.json"})
    assert tracer.settings("doubler")["trace_level"] == ["TIMESTAMPS"]
    assert tracer.settings("shout")["trace_level"] == ["OFF"]
    assert count(tracer, 4, "shout") == 0
    assert count(tracer, 4, "doubler") == 2
    assert [path.name for path in folder.iterdir()] == ["own.json"]
    tracer.update("", {"trace_rate": "5"})
    assert tracer.settings("doubler")["trace_rate"] == "2"
    settings = tracer.update("doubler", {"trace_level": None, "trace_rate": [], "trace_file": None})
    assert settings == tracer.settings()
    assert count(tracer, 9, "doubler") == 0


def test_a_model_may_be_left_out(folder: Path) -> None:
    tracer = make(folder)
    tracer.update("", EACH)
    tracer.update("shout", {"trace_level": ["OFF"]})
    assert count(tracer, 3, "shout") == 0
    assert count(tracer, 3, "doubler") == 3


def test_clearing_the_settings_of_all_models_restores_the_defaults(folder: Path) -> None:
    tracer = make(folder)
    before = tracer.settings()
    tracer.update("", {**EACH, "trace_count": "5", "log_frequency": "2", "trace_file": "other"})
    assert tracer.update("", dict.fromkeys(["trace_level", "trace_rate", "trace_count", "log_frequency", "trace_file"])) == before


def test_log_frequency_is_the_number_of_traces_in_each_file(folder: Path) -> None:
    tracer = make(folder)
    tracer.update("", {**EACH, "log_frequency": "2", "trace_file": "t"})
    assert count(tracer, 5) == 5
    assert {path.name: len(json.loads(path.read_bytes())) for path in folder.iterdir()} == {"t.0": 2, "t.1": 2, "t.2": 1}


def test_a_file_is_valid_json_at_any_time_and_overwritten_by_each_server(folder: Path) -> None:
    tracer = make(folder)
    tracer.update("", EACH)
    lengths = []
    for _ in range(3):
        count(tracer, 1)
        lengths.append(len(json.loads((folder / "trace.json").read_bytes())))
    assert lengths == [1, 2, 3]
    again = make(folder)
    again.update("", EACH)
    count(again, 1)
    assert len(json.loads((folder / "trace.json").read_bytes())) == 1


def test_buffered_traces_are_written_while_the_server_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_files, "_WRITE_EVERY_S", 0.01)
    tracer = make(folder)
    tracer.update("", EACH)

    async def run() -> None:
        with tracer.sample("doubler"):
            pass
        for _ in range(2000):
            if (folder / "trace.json").exists():
                break
            await asyncio.sleep(0.01)

    asyncio.run(run())
    assert len(json.loads((folder / "trace.json").read_bytes())) == 1


def test_a_request_that_failed_is_traced_with_the_reason(folder: Path) -> None:
    tracer = make(folder)
    tracer.update("", EACH)

    async def run() -> None:
        with pytest.raises(InvalidInput), tracer.sample("doubler"):
            raise InvalidInput("too wide")
        tracer.close()

    asyncio.run(run())
    assert json.loads((folder / "trace.json").read_bytes())[0]["error"] == "too wide"


def test_a_trace_has_the_timestamps_of_the_instance(folder: Path) -> None:
    async def run() -> None:
        plane = dataplane()
        await plane.start()
        try:
            tracer = Tracer(parse_settings({"modules_info": {"doubler": {}}, "trace_dir": str(folder)}, "test"), plane)
            tracer.update("", EACH)
            with tracer.sample("doubler") as marks:
                request = InferRequest("doubler", tensors={"x": np.ones((1, 2), np.float32)})
                request.marks = marks
                await plane.infer(request)
            tracer.close()
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
    ("changes", "message"),
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
def test_what_cannot_be_set_is_refused_and_changes_nothing(folder: Path, changes: Any, message: str) -> None:
    tracer = make(folder)
    before = tracer.settings()
    with pytest.raises(InvalidInput, match=message):
        tracer.update("", {"trace_rate": "3", **changes} if isinstance(changes, dict) and "trace_rate" not in changes else changes)
    assert tracer.settings() == before


def test_a_model_that_is_not_served_has_no_settings(folder: Path) -> None:
    tracer = make(folder)
    with pytest.raises(ModuleNotFound):
        tracer.settings("absent")
    with pytest.raises(ModuleNotFound):
        tracer.update("absent", EACH)


def test_without_a_folder_for_traces_a_client_cannot_have_files_written() -> None:
    tracer = make(None)
    assert tracer.settings()["trace_file"] == ""
    with pytest.raises(InvalidInput, match="this server's setting 'trace_dir' names no folder"):
        tracer.update("", {"trace_file": "x"})
    with pytest.raises(InvalidInput, match="trace_level can only be OFF: this server's setting 'trace_dir' names no folder"):
        tracer.update("", EACH)
    assert tracer.update("", {"trace_rate": "9", "trace_level": ["OFF"]})["trace_rate"] == "9"


def test_a_missing_folder_is_reported_at_once(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="the server cannot write to its trace_dir"):
        make(tmp_path / "nothing").update("", EACH)


def test_a_link_in_the_folder_is_not_followed_and_the_requests_go_on(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "precious").write_text("precious")
    (folder / "trace.json").symlink_to(tmp_path / "precious")
    tracer = make(folder)
    tracer.update("", EACH)
    assert count(tracer, 300) == 300
    assert (tmp_path / "precious").read_text() == "precious"
    assert len([record for record in caplog.records if "no more traces are written" in record.message]) == 1


def test_files_are_bounded_in_number_and_size(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_files, "_MAX_FILES", 3)
    tracer = make(folder)
    tracer.update("", {**EACH, "log_frequency": "1"})
    count(tracer, 10)
    assert len(list(folder.iterdir())) == 3
    monkeypatch.setattr(trace_files, "_MAX_BYTES", 2000)
    tracer = make(folder)
    tracer.update("", {**EACH, "trace_file": "long"})
    for _ in range(40):
        count(tracer, 1)
    assert 1000 < (folder / "long").stat().st_size < 2500


def test_with_an_endpoint_for_spans_the_mode_is_opentelemetry_and_needs_no_folder() -> None:
    tracer, record = with_spans(None)
    assert tracer.settings()["trace_mode"] == "opentelemetry"
    settings = tracer.update("doubler", {"trace_level": ["TIMESTAMPS"], "trace_rate": "2", "trace_mode": []})
    assert (settings["trace_level"], settings["trace_mode"]) == (["TIMESTAMPS"], "opentelemetry")
    token = CURRENT.set(record)
    try:
        for model, is_traced in (("shout", False), ("doubler", False), ("doubler", True)):
            with tracer.sample(model) as marks:
                assert marks is None
            assert (record.trace is not None) == is_traced
    finally:
        CURRENT.reset(token)
    with pytest.raises(InvalidInput, match="trace_mode can not be updated to triton: this server offers 'opentelemetry'"):
        tracer.update("", {"trace_mode": "triton"})


def test_a_server_with_both_writes_files_until_its_mode_is_changed_for_all_models(folder: Path) -> None:
    tracer, _ = with_spans(folder)
    assert tracer.settings()["trace_mode"] == "triton"
    tracer.update("", EACH)
    assert count(tracer, 2) == 2
    with pytest.raises(InvalidInput, match="for one model"):
        tracer.update("doubler", {"trace_mode": "opentelemetry"})
    assert tracer.update("", {"trace_mode": ["opentelemetry"]})["trace_mode"] == "opentelemetry"
    assert tracer.update("doubler", {"trace_mode": None})["trace_mode"] == "opentelemetry"
    assert count(tracer, 2) == 0
    assert tracer.update("", {"trace_mode": None})["trace_mode"] == "triton"
    assert count(tracer, 2) == 2

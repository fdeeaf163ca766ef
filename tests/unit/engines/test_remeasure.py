"""Measuring an engine choice again."""

import json
import subprocess
import sys

import pytest

from hubserve.engines.base import EngineOptions
from hubserve.engines.remeasure import remeasure
from hubserve.engines.selection_cache import Verdict, all_kept, keep, read_kept
from hubserve.errors import LoadFailed
from tests.unit.engines import onnx_classifier


def measured(again="the machine was busy with other work", busy=False, **ms):
    engines = {name: {"ms_per_item": {"1": each}} for name, each in ms.items()}
    return {"engines": engines, "load": {"busy": busy}, "again": again, "choice": "c0ffee"}


@pytest.fixture
def kept(home, tmp_path):
    """Store a choice of Paddle that was made under load."""
    asked = {"graph": str(onnx_classifier.write(tmp_path / "model.onnx")), "weights": None, "options": list(EngineOptions())}
    path = home / "cache" / "engines" / "choice.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    keep(path, Verdict("paddle", "auto: paddle", True, measured(paddle=1.0)), asked)
    return path


def finds(monkeypatch, verdict):
    """Replace the measurement by a given verdict: these tests do not depend on the speed of engines."""
    monkeypatch.setattr("hubserve.engines.remeasure.check", lambda *_: verdict)


@pytest.mark.parametrize(("openvino_ms", "engine"), [(0.89, "openvino"), (0.95, "paddle")])
def test_another_engine_takes_over_only_if_it_is_10_percent_faster(kept, monkeypatch, openvino_ms, engine):
    finds(monkeypatch, Verdict("openvino", "auto: openvino", True, measured("close", paddle=1.0, openvino=openvino_ms)))
    told = remeasure(kept, 1.1, only_if_idle=True)
    assert (told["was"], told["engine"], told["state"]) == ("paddle", engine, "kept" if engine == "paddle" else "changed")
    now = read_kept(kept).verdict
    assert (now.engine, now.measured["again"], now.measured["choice"]) == (engine, "", "c0ffee")
    if engine == "paddle":
        assert now.reason == "auto: paddle, as before: openvino is 5% faster, less than 10% (auto: openvino)"


def test_the_user_gets_the_fastest_by_any_margin_and_the_server_may_still_measure_again(kept, monkeypatch):
    finds(monkeypatch, Verdict("openvino", "auto: openvino", True, measured("close", paddle=1.0, openvino=0.99)))
    assert remeasure(kept)["engine"] == "openvino"
    assert read_kept(kept).verdict.measured["again"] == "close"


def test_an_engine_that_no_longer_agrees_is_replaced_by_any_that_does(kept, monkeypatch):
    found = measured(openvino=5.0)
    found["engines"]["paddle"] = {"ms_per_item": {"1": 1.0}, "left_out": "output 0 differs"}
    finds(monkeypatch, Verdict("openvino", "auto: openvino", True, found))
    assert remeasure(kept, 1.1, only_if_idle=True)["engine"] == "openvino"


def test_what_is_found_on_a_busy_machine_is_not_kept(kept, monkeypatch):
    before = kept.read_text()
    finds(monkeypatch, Verdict("openvino", "auto: openvino", True, measured(busy=True, paddle=1.0, openvino=0.1)))
    told = remeasure(kept, 1.1, only_if_idle=True)
    assert (told["engine"], told["state"]) == ("paddle", "busy")
    assert kept.read_text() == before


def test_a_choice_whose_model_is_gone_or_could_not_be_measured_stays(kept, monkeypatch, tmp_path):
    before = kept.read_text()
    finds(monkeypatch, Verdict("paddle", "it ran out of memory", False))
    with pytest.raises(LoadFailed, match="could not be measured: it ran out of memory"):
        remeasure(kept)
    assert kept.read_text() == before
    keep(kept, Verdict("paddle", "auto: paddle", True, measured()), {"graph": str(tmp_path / "no.onnx"), "weights": None, "options": []})
    with pytest.raises(LoadFailed, match="no longer exists"):
        remeasure(kept)
    kept.write_text("{}")
    with pytest.raises(LoadFailed, match="no engine choice"):
        remeasure(kept)
    assert all_kept() == []


def test_a_process_measures_and_tells_the_result_as_json_alone(kept):
    command = [sys.executable, "-m", "hubserve.engines.remeasure", str(kept), "1.1", ""]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    told = json.loads(done.stdout)
    assert told["was"] == "paddle"
    assert told["engine"] == read_kept(kept).verdict.engine
    assert {"onnxruntime", "openvino"} <= set(told["measured"]["engines"])
    assert "measuring openvino ..." in done.stderr

"""Engines that ``auto`` chose on a busy machine: measured again when it is idle, swapped without a gap, listed and measured by hand."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvloop

from hubserve.engines import ENGINES
from hubserve.engines.machine_load import Used
from hubserve.engines.selection_cache import all_kept, keep
from hubserve.gateway.dataplane import DataPlane
from hubserve.registry.engine_note import read_engine_note
from hubserve.registry.remeasuring import remeasure_command
from hubserve.server import engine_watch
from hubserve.server.deployment import find_modules, make_plans
from hubserve.settings import parse_settings
from hubserve.types import InferRequest
from tests.conftest import hub
from tests.unit.engines import onnx_classifier

MODULE = """
from hubserve.models import ModelModule
from hubserve.module import moduleinfo


@moduleinfo(name="chosen", version="1.0.0")
class Chosen(ModelModule):
    @staticmethod
    def get_config():
        return {{"Global": {{"inference_model_dir": {model!r}, "cpu_num_threads": 1}}}}
"""


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """Write a module that chooses between two engines, one of them several times slower for so small a model."""
    (tmp_path / "model").mkdir()
    onnx_classifier.write(tmp_path / "model" / "inference.onnx")
    folder = tmp_path / "chosen"
    folder.mkdir()
    (folder / "module.py").write_text(MODULE.format(model=str(tmp_path / "model")))
    return folder


def made_under_load() -> str:
    """Make the slowest engine the only choice in the home, as if chosen on a busy machine; return its name."""
    (kept,) = all_kept()
    measured = kept.verdict.measured or {}
    usable = {name: min(each["ms_per_item"].values()) for name, each in measured["engines"].items() if not each.get("left_out")}
    slowest = max(usable, key=lambda name: usable[name])
    changed = {**measured, "again": "the machine was busy with other work"}
    keep(kept.path, kept.verdict._replace(engine=slowest, reason=f"auto: {slowest}, by noise", measured=changed), kept.asked)
    return slowest


def test_hub_engines_lists_what_is_there_and_measures_a_module_now(module: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_HOME", str(home))
    first = hub("engines", "measure", module, home=home)
    assert first.returncode == 0, first.stderr
    listed = json.loads(hub("engines", "--json", home=home).stdout)
    assert [each["engine"] for each in listed["engines"]] == list(ENGINES)
    (choice,) = listed["choices"]
    assert choice["reason"] == first.stdout.splitlines()[0].partition("; the machine")[0]
    assert choice["measured"]["clock"] == "processor time"
    slowest = made_under_load()
    assert "to be measured once more when it is idle" in " ".join(hub("engines", home=home).stdout.split())
    again = json.loads(hub("engines", "measure", module, "--json", home=home).stdout)
    (result,) = again["choices"]
    assert (again["module"], result["was"]) == ("chosen", slowest)
    assert result["engine"] == all_kept()[0].verdict.engine != slowest
    refused = hub("engines", "measure", "nowhere", home=home)
    assert (refused.returncode, "no module 'nowhere'" in refused.stderr) == (1, True)


def test_a_choice_made_under_load_is_measured_again_once_and_swapped_without_a_gap(
    module: Path, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HUB_HOME", str(home))
    assert hub("engines", "measure", module, home=home).returncode == 0
    slowest = made_under_load()
    # only the check for an idle machine is replaced; the measuring is real
    monkeypatch.setattr(engine_watch, "used", lambda: Used(0.0, 0.0))
    started: list[Any] = []

    def command(path: Path, margin: float, only_if_idle: bool, python: str) -> Any:
        started.append(only_if_idle)
        return remeasure_command(path, margin, only_if_idle=False, python=python)

    monkeypatch.setattr(engine_watch, "remeasure_command", command)
    caplog.set_level(logging.INFO, "hubserve")
    settings = parse_settings({"modules_info": find_modules([str(module)]), "workers": 1}, "test")
    plan = make_plans(settings, [])[0]
    x = np.random.default_rng(2).standard_normal((2, 3, 32, 32)).astype("float32")

    async def serve() -> None:
        plane = DataPlane([plan])
        await plane.start()
        watch = engine_watch.EngineWatch(plane, after_idle_s=0.3)
        try:
            served = plane.get("chosen")
            assert (served.description.engine or {})["name"] == slowest
            pid, answers = served.pool.slots[0].instance.pid, []  # type: ignore[union-attr]
            watch.start()
            for _ in range(6000):
                answers.append((await plane.infer(InferRequest("chosen", tensors={"x": x}, wants_json=False))).tensors)
                if served.description.engine["name"] != slowest:  # type: ignore[index]
                    break
                await asyncio.sleep(0.05)
            assert served.description.engine["name"] == all_kept()[0].verdict.engine != slowest, caplog.text  # type: ignore[index]
            assert served.pool.slots[0].instance.pid != pid  # type: ignore[union-attr]
            for each in answers:
                assert each is not None
                np.testing.assert_allclose(next(iter(each.values())), next(iter(answers[0].values())), atol=1e-5)  # type: ignore[union-attr]
            await asyncio.sleep(1)
            assert len(started) == 1, "once is enough"
        finally:
            await watch.stop()
            await plane.stop(1)

    uvloop.run(serve())  # as the gateway does
    assert started == [True], "the server asks for figures of an idle machine only"
    note = read_engine_note(plan.info, module)
    assert note is not None
    assert note["name"] != slowest
    assert f"computes it faster than {slowest}" in caplog.text


def test_measuring_again_can_be_switched_off() -> None:
    async def watch() -> None:
        off = engine_watch.EngineWatch(DataPlane([]), after_idle_s=0)
        off.start()
        assert off._task is None
        await off.stop()

    asyncio.run(watch())

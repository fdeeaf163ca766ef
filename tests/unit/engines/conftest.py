"""Real Paddle models, exported once, and what Paddle's own predictor answers on them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hubserve.engines.package_imports import import_paddle

FORMS = ("pdmodel", "json")


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Folder of <form>/<name>/inference.*"""
    root = tmp_path_factory.mktemp("models")
    script = Path(__file__).with_name("make_models.py")
    running = []
    for form in FORMS:
        environment = {**os.environ, "FLAGS_enable_pir_api": str(int(form == "json"))}
        command = [sys.executable, "-W", "ignore", str(script), str(root / form)]
        running.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    outputs = [process.communicate(timeout=120)[0] for process in running]
    for process, output in zip(running, outputs, strict=True):
        assert process.returncode == 0, output.decode()
    return root


@pytest.fixture(scope="session")
def shared_home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def home(shared_home, monkeypatch):
    """The cache is this test session's own; conversions are made once for all tests."""
    monkeypatch.setenv("HUB_HOME", str(shared_home))
    return shared_home


@pytest.fixture
def fresh_home(home, tmp_path, monkeypatch):
    """A home without remembered choices; conversions made so far are there."""
    fresh = tmp_path / "home"
    fresh.mkdir()
    if (home / "cache" / "onnx").is_dir():
        shutil.copytree(home / "cache" / "onnx", fresh / "cache" / "onnx")
    monkeypatch.setenv("HUB_HOME", str(fresh))
    return fresh


@pytest.fixture
def copy_of(models, tmp_path):
    """Copy a model to where it may be spoiled."""

    def copy(form, name="classifier"):
        return Path(shutil.copytree(models / form / name, tmp_path / f"{form}-{name}"))

    return copy


@pytest.fixture(scope="session")
def paddle_answers():
    """Ask Paddle's own predictor, with none of hubserve's code in between."""
    inference = import_paddle().inference

    def answers(folder, inputs):
        graph = next(folder / name for name in ("inference.pdmodel", "inference.json") if (folder / name).exists())
        weights = folder / "inference.pdiparams"
        config = inference.Config(str(graph), str(weights) if weights.exists() else "")
        config.disable_glog_info()
        config.disable_mkldnn()
        predictor = inference.create_predictor(config)
        for name in predictor.get_input_names():
            array = np.ascontiguousarray(inputs[name])
            handle = predictor.get_input_handle(name)
            handle.reshape(array.shape)
            handle.copy_from_cpu(array)
        predictor.run()
        return [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]

    return answers


@pytest.fixture
def converter(tmp_path, monkeypatch):
    """Puts a package of the converter's name first on the path: how the real one fails differs by model and version."""

    def write(body):
        (tmp_path / "first").mkdir()
        (tmp_path / "first" / "paddle2onnx.py").write_text(f"import os, sys\ndef export(model, weights, output, **options):\n    {body}\n")
        monkeypatch.syspath_prepend(str(tmp_path / "first"))

    return write

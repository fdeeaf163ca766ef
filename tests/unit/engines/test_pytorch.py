"""TorchScript files, where PyTorch is installed; without it, what is told."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubserve.engines import EngineOptions, ModelFiles, load_engine
from hubserve.engines.base import Engine, Signature
from hubserve.errors import HubError, LoadFailed, MissingDependency, ModuleFailed
from hubserve.types import ANY, TensorSpec
from tests.engines_here import HAS_TORCH

A, B = TensorSpec("a", "float32", (ANY, 2)), TensorSpec("b", "float32", (ANY, 2))
SUM, DIFFERENCE = TensorSpec("sum", "float32", (ANY, 2)), TensorSpec("difference", "float32", (ANY, 2))


def load(files: ModelFiles, inputs: Any = (A, B), outputs: Any = (SUM, DIFFERENCE)) -> Engine:
    return load_engine(files, "pytorch", EngineOptions(signature=Signature(inputs, outputs)))


def one(value: float) -> np.ndarray:
    return np.full((3, 2), value, np.float32)


def test_without_pytorch_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.pt").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependency, match="pip install torch"):
        load(ModelFiles(tmp_path / "model.pt", None))


if HAS_TORCH:
    from tests import torch_models

    def save(path: Path, model: str) -> ModelFiles:
        return ModelFiles(torch_models.save(path, getattr(torch_models, model)()), None)

    @pytest.mark.parametrize("source", ["Both", "Named"])
    def test_tensors_are_found_by_their_names(tmp_path: Path, source: str) -> None:
        engine = load(save(tmp_path / "model.pt", source), inputs=(B, A))
        total, difference = engine.run({"a": one(5), "b": one(2)})
        np.testing.assert_array_equal(total, one(7))
        np.testing.assert_array_equal(difference, one(3))
        assert engine.describe()["name"] == "pytorch"

    @pytest.mark.parametrize("names", [("INPUT__1", "INPUT__0"), ("INPUT_1", "INPUT_0"), ("x__1", "x__0")])
    def test_tensors_are_found_by_the_place_that_their_names_say(tmp_path: Path, names: "tuple[str, str]") -> None:
        second, first = names
        outputs = (SUM._replace(name="OUTPUT__0"), SUM._replace(name="OUTPUT__1"))
        engine = load(save(tmp_path / "model.pt", "Both"), (A._replace(name=second), A._replace(name=first)), outputs)
        np.testing.assert_array_equal(engine.run({first: one(5), second: one(2)})[1], one(3))

    def test_a_model_that_computes_in_place_leaves_the_callers_read_only_array_alone(tmp_path: Path) -> None:
        engine = load(save(tmp_path / "model.pt", "InPlace"), outputs=(SUM,))
        given = np.frombuffer(one(1).tobytes(), np.float32).reshape(3, 2)
        np.testing.assert_array_equal(engine.run({"a": given, "b": one(1)})[0], one(2))
        np.testing.assert_array_equal(given, one(1))

    def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
        files = save(tmp_path / "model.pt", "Both")
        with pytest.raises(LoadFailed, match=r"takes 2 tensors \(a, b\), and 1 are configured"):
            load(files, inputs=(A,))
        with pytest.raises(ModuleFailed, match="it gave 2 tensors, and 3 are configured"):
            load(files, outputs=(SUM, SUM, SUM)).run({"a": one(1), "b": one(1)})
        with pytest.raises(ModuleFailed, match="output 'sum' is configured as float64, and the file gave float32"):
            load(files, outputs=(SUM._replace(dtype="float64"),)).run({"a": one(1), "b": one(1)})

    def test_a_damaged_file_is_told(tmp_path: Path) -> None:
        files = save(tmp_path / "model.pt", "Both")
        files.graph.write_bytes(files.graph.read_bytes()[:500])
        with pytest.raises(HubError, match=r"the pytorch engine cannot load model\.pt"):
            load(files)

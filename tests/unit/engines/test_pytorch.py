"""TorchScript files, where PyTorch is installed; without it, what is told."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubserve.engines import EngineOptions, ModelFiles, load_engine
from hubserve.engines.base import Engine, Signature
from hubserve.errors import HubError, LoadFailed, MissingDependency, ModuleFailed
from hubserve.kinds import find_kind
from hubserve.types import ANY, REST, TensorSpec
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

    def test_a_dictionary_is_taken_and_nested_answers_are_found(tmp_path: Path) -> None:
        engine = load(save(tmp_path / "model.pt", "ByKey"), outputs=(SUM._replace(name="OUTPUT__0"), DIFFERENCE))
        total, difference = engine.run({"a": one(5), "b": one(2)})
        np.testing.assert_array_equal(total, one(7))
        np.testing.assert_array_equal(difference, one(3))
        outputs = [SUM._replace(name=f"OUTPUT__{index}") for index in range(4)]
        given = load(save(tmp_path / "model.pt", "Deep"), outputs=outputs).run({"a": one(5), "b": one(2)})
        assert [each[0, 0] for each in given] == [7, 3, 5, 2]

    @pytest.mark.parametrize(
        ("model", "inputs", "outputs"),
        [
            ("Pictures", [("picture", "float32", (ANY, 3, ANY, ANY))], [("OUTPUT__0", "float32", (ANY, 5))]),
            ("Words", [("ids", "int64", (REST,))], [("OUTPUT__0", "float32", (REST,))]),
            (
                "ByKey",
                [("a", "float32", (REST,)), ("b", "float32", (REST,))],
                [("OUTPUT__0", "float32", (REST,)), ("difference", "float32", (REST,))],
            ),
        ],
    )
    def test_what_nothing_says_is_found_out(tmp_path: Path, model: str, inputs: Any, outputs: Any) -> None:
        engine = load_engine(save(tmp_path / "model.pt", model), "pytorch")
        assert ([tuple(each) for each in engine.inputs], [tuple(each) for each in engine.outputs]) == (inputs, outputs)

    def test_the_documented_parameters_are_honoured(tmp_path: Path) -> None:
        import torch

        files = save(tmp_path / "model.pt", "Both")
        tuning = [
            ("INFERENCE_MODE", "0"),
            ("DISABLE_OPTIMIZED_EXECUTION", "1"),
            ("ENABLE_JIT_PROFILING", "0"),
            ("INTER_OP_THREAD_COUNT", "1"),
        ]
        tuning += [("ENABLE_TENSOR_FUSER", "0"), ("ENABLE_JIT_EXECUTOR", "1"), ("DISABLE_CUDNN", "1")]
        engine = load_engine(files, "pytorch", EngineOptions(signature=Signature((A, B), (SUM, DIFFERENCE)), tuning=tuning))
        try:
            assert torch.backends.cudnn.enabled is False
            np.testing.assert_array_equal(engine.run({"a": one(5), "b": one(2)})[0], one(7))
        finally:
            torch.backends.cudnn.enabled = True
            torch._C._jit_set_profiling_mode(True)

    def test_a_plain_file_is_a_module(tmp_path: Path) -> None:
        save(tmp_path / "net.pt", "Pictures")
        kind = find_kind(tmp_path / "net.pt")
        module = kind.load(tmp_path / "net.pt", "net", {}, {})
        assert (kind.name, module.description.max_batch_size, module.description.batched) == ("model", 32, True)
        given = module.call_tensors({"picture": np.ones((2, 3, 40, 50), np.float32)})
        assert given["OUTPUT__0"].shape == (2, 5)

    def test_a_damaged_file_is_told(tmp_path: Path) -> None:
        files = save(tmp_path / "model.pt", "Both")
        files.graph.write_bytes(files.graph.read_bytes()[:500])
        with pytest.raises(HubError, match=r"the pytorch engine cannot load model\.pt"):
            load(files)

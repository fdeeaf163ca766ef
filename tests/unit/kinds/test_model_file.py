"""Test model files as a kind of module: names, folders, settings."""

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubserve.errors import ConfigError, LoadFailed
from hubserve.kinds import find_kind
from hubserve.kinds.model_file import CARD, all_files, all_graphs, valid_name
from hubserve.kinds.model_settings import read_settings
from tests.triton_models import scale


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("resnet50-v1.5", "resnet50-v1_5"),
        ("my model (2)", "my_model_2"),
        ("--x", "x"),
        ("...", "model"),
        ("模型", "模型"),
        ("ä" * 80, "ä" * 50),
    ],
)
def test_any_file_s_name_becomes_one_that_a_module_can_have(text: str, name: str) -> None:
    assert valid_name(text) == name


def test_only_models_in_a_folder_count(tmp_path: Path) -> None:
    scale(tmp_path / "net.onnx")
    with zipfile.ZipFile(tmp_path / "best.pt", "w") as archive:
        archive.writestr("best/data.pkl", pickle.dumps({"a": 1}, 2))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "layout.xml").write_text("<page/>")
    info = find_kind(tmp_path).describe(tmp_path)
    assert (info.kind, info.name, info.summary) == ("model", tmp_path.name, "net.onnx, as it is")
    assert all_graphs(tmp_path) == []
    scale(tmp_path / "other.onnx")
    assert [each.name for each in all_graphs(tmp_path)] == ["net.onnx", "other.onnx"]
    with pytest.raises(LoadFailed, match="holds 2 models: net.onnx, other.onnx"):
        find_kind(tmp_path).describe(tmp_path)


@pytest.mark.parametrize(("folder", "name"), [("net/model", "net"), ("net", "net")])
def test_a_folder_that_is_one_model_asks_for_its_engine_s_environment(tmp_path: Path, folder: str, name: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "model.mlir").write_text("module {}")
    info = find_kind(tmp_path / folder).describe(tmp_path / folder)
    assert (info.name, info.type, info.environment) == (name, "model/oneflow", {"engine": "oneflow"})


def test_the_same_model_in_both_of_paddle_s_forms_is_one(tmp_path: Path) -> None:
    for name in ("inference.pdmodel", "inference.json", "inference.pdiparams"):
        (tmp_path / name).write_text('{"pir"')
    assert find_kind(tmp_path).describe(tmp_path).summary == "inference.pdmodel, as it is"


def test_the_error_for_a_folder_of_weights_alone_says_what_they_are(tmp_path: Path) -> None:
    header = b'{"fc.weight":{}}'
    (tmp_path / "net.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(LoadFailed, match=r"'net\.safetensors' cannot be served: it is weights only \(fc\.weight\)"):
        find_kind(tmp_path).describe(tmp_path)


def test_weights_beside_their_code_are_a_model_with_the_files_that_it_needs(tmp_path: Path) -> None:
    header = b'{"fc.weight":{}}'
    (tmp_path / "net.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (tmp_path / "model.py").write_text("import torch\nfrom layers.first import First\nimport helper\n")
    (tmp_path / "helper.py").write_text("from other import x")
    (tmp_path / "other.py").write_text("")
    (tmp_path / "train.py").write_text("")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "layers").mkdir()
    for name in ("__init__.py", "first.py"):
        (tmp_path / "layers" / name).write_text("")
    info = find_kind(tmp_path).describe(tmp_path)
    assert (info.kind, info.summary, info.environment) == ("model", "net.safetensors, as it is", {"engine": "pytorch"})
    listed = [each.relative_to(tmp_path).as_posix() for each in all_files(tmp_path / "net.safetensors")]
    assert listed == ["net.safetensors", "model.py", "layers/__init__.py", "layers/first.py", "helper.py", "other.py", "config.json"]


@pytest.mark.parametrize("card", ["{", "[]", '{"name": "x"}', '{"name": "x", "version": "1", "file": "../x.onnx"}'])
def test_a_damaged_card_is_reported(tmp_path: Path, card: str) -> None:
    (tmp_path / CARD).write_text(card)
    with pytest.raises(LoadFailed, match="Install the model again"):
        find_kind(tmp_path).describe(tmp_path)


def test_openvino_s_own_files_are_computed(tmp_path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    openvino.save_model(openvino.convert_model(str(scale(tmp_path / "net.onnx"))), str(tmp_path / "ir" / "net.xml"), compress_to_fp16=False)
    kind = find_kind(tmp_path / "ir")
    assert kind.describe(tmp_path / "ir").name == "ir"
    module = kind.load(tmp_path / "ir", "ir", {}, {})
    assert module.description.engine is not None
    assert module.description.engine["name"] == "openvino"
    np.testing.assert_array_equal(module.call_tensors({"x": np.ones((2, 4), np.float32)})["y"], np.full((2, 4), 2))
    (tmp_path / "ir" / "net.bin").unlink()
    with pytest.raises(LoadFailed, match=r"its weights 'net\.bin' are missing"):
        kind.load(tmp_path / "ir", "ir", {}, {})


def settings(backend: str = "onnxruntime", **init_args: Any) -> Any:
    return read_settings("m", backend, json.loads(json.dumps(init_args)), use_gpu=False)


def test_settings_are_engine_options_and_documented_parameters() -> None:
    read = settings(engine="openvino", cpu_num_threads=3, max_batch_size=4, enable_mem_arena=False, intra_op_thread_count=0)
    assert (read.engine, read.max_batch_size, read.options.cpu_num_threads, read.options.max_batch_size) == ("openvino", 4, 3, 4)
    assert read.options.tuning == [("enable_mem_arena", "0")]
    tensor = {"name": "x", "datatype": "FP32", "shape": [-1, 3]}
    read = settings("pytorch", inputs=[tensor], outputs=[{**tensor, "datatype": "BYTES"}])
    assert [tuple(each) for each in read.options.signature.inputs] == [("x", "float32", (-1, 3))]
    assert read.options.signature.outputs[0].dtype == "bytes"


@pytest.mark.parametrize(
    ("init_args", "reason"),
    [
        ({"speed": 3}, "a model of onnxruntime has no setting 'speed'; its settings are engine, max_batch_size"),
        ({"engine": "sorcery"}, "there is no engine 'sorcery'"),
        ({"max_batch_size": -1}, "max_batch_size must be a whole number from 0 up, got -1"),
        ({"cpu_num_threads": "many"}, "cpu_num_threads must be a whole number from 1 up"),
        ({"execution_mode": "fast"}, "parameter execution_mode must be one of 0, 1"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1]}]}, "inputs and outputs go together"),
        ({"inputs": [{"name": "x"}], "outputs": [{"name": "x"}]}, "is not a tensor; write it like"),
        ({"inputs": [{"name": "x", "datatype": "FP3", "shape": [1]}], "outputs": [5]}, "is not a tensor; write it like"),
    ],
)
def test_a_setting_that_cannot_be_used_is_reported(init_args: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        settings(**init_args)


def test_max_batch_size_0_takes_each_request_as_it_comes(tmp_path: Path) -> None:
    path = scale(tmp_path / "net.onnx")
    module = find_kind(path).load(path, "net", {"max_batch_size": 0}, {})
    assert (module.description.batched, module.description.max_batch_size) == (False, 1)
    assert module.call_tensors({"x": np.ones((0, 4), np.float32)})["y"].shape == (0, 4)

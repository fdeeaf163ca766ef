"""Test values of ONNX models other than tensors, computed by ONNX Runtime."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubserve.engines import EngineOptions, load_engine
from hubserve.errors import InvalidInput, LoadFailed, ModuleFailed
from hubserve.types import ANY, REST
from tests import value_models as models
from tests.v2 import texts


def load(path: Path, **options: Any) -> Any:
    return load_engine(path, "onnxruntime", EngineOptions(**options))


def test_texts_go_in_and_come_out_as_utf_8(tmp_path: Path) -> None:
    engine = load(models.echo(tmp_path / "net.onnx"))
    assert engine.inputs[0][1:] == ("bytes", (ANY, ANY))
    given = texts("né".encode(), b"").reshape(1, 2)
    assert engine.run({"x": given})[0].tolist() == [["né", ""]]
    with pytest.raises(InvalidInput, match="input 'x' holds a byte string that is not UTF-8"):
        engine.run({"x": texts(b"\xff").reshape(1, 1)})


def test_a_pipeline_for_texts_gives_its_maps_as_a_table_and_its_classes_as_labels(tmp_path: Path) -> None:
    engine = load(models.spam(tmp_path / "net.onnx"))
    label, probabilities = engine.run({"text": texts(b"WIN", b"hello").reshape(2, 1)})
    assert label.tolist() == ["spam", "ham"]
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, [[0.018, 0.982], [0.982, 0.018]], atol=1e-3)
    assert engine.labels == {"probabilities": ["ham", "spam"]}
    assert [spec.shape for spec in engine.outputs] == [(ANY,), (ANY, 2)]


def test_maps_with_numbers_as_keys_are_tables_too(tmp_path: Path) -> None:
    engine = load(models.flower(tmp_path / "net.onnx"))
    probabilities = engine.run({"x": np.array([[0, 50, 0]], np.float32)})[1]
    np.testing.assert_allclose(probabilities, [[0, 1, 0]], atol=1e-6)
    assert engine.labels == {"probabilities": ["10", "20", "30"]}


def test_bfloat16_goes_in_and_comes_out_as_its_bits(tmp_path: Path) -> None:
    engine = load(models.widened(tmp_path / "net.onnx"))
    assert engine.inputs[0].dtype == "bfloat16"
    wide, same = engine.run({"x": np.array([[0x3F80, 0x4000]], np.uint16)})
    assert wide.tolist() == [[1, 2]]
    assert same.tolist() == [[0x3F80, 0x4000]]
    assert engine.run({"x": np.zeros((0, 2), np.uint16)})[1].shape == (0, 2)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", "int8", "float16", "float64", "bool"])
def test_numbers_of_every_type_come_out_as_they_went_in(tmp_path: Path, dtype: str) -> None:
    onnx_type = int(models.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    given = np.ones((2, 3), dtype)
    given_back = load(models.echo(tmp_path / "net.onnx", onnx_type)).run({"x": given})[0]
    assert given_back.dtype == given.dtype
    np.testing.assert_array_equal(given_back, given)


def test_a_tensor_type_that_cannot_be_served_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"tensor 'x' has type tensor\(float8e4m3fn\), which cannot be served"):
        load(models.echo(tmp_path / "net.onnx", models.TensorProto.FLOAT8E4M3FN))


@pytest.mark.parametrize("shape", [(), (3,), (1, 2, 3), (0, 4)])
def test_a_tensor_of_unknown_rank_may_have_any(tmp_path: Path, shape: "tuple[int, ...]") -> None:
    engine = load(models.echo(tmp_path / "net.onnx", models.FLOAT, None))
    assert engine.inputs[0].shape == engine.outputs[0].shape == (REST,)
    assert engine.run({"x": np.ones(shape, np.float32)})[0].shape == shape


def test_sequences_are_lists_of_json(tmp_path: Path) -> None:
    engine = load(models.pieces(tmp_path / "net.onnx"))
    assert [each.name for each in engine.value_inputs] == ["rows"]
    given = engine.run_values({"rows": [[1, 2], [3]], "row": np.zeros(3, np.float32)})
    assert [each.tolist() for each in given["longer"]] == [[1, 2], [3], [0, 0, 0]]
    assert given["count"] == 3
    for wrong in (5, "abc", [["a"]], {"a": 1}):
        with pytest.raises(InvalidInput, match="input 'rows' must be a list|must be nested lists of float"):
            engine.run_values({"rows": wrong, "row": np.zeros(3, np.float32)})
    with pytest.raises(InvalidInput, match=r"inputs must be \['row', 'rows'\], got \['row'\]"):
        engine.run_values({"row": np.zeros(3, np.float32)})


def test_what_is_optional_may_be_left_out(tmp_path: Path) -> None:
    engine = load(models.maybe(tmp_path / "net.onnx"))
    assert engine.inputs == []
    assert engine.run({})[0] == np.array(False)
    assert engine.run_values({"extra": [1, 2]})["y"] == np.array(True)
    assert engine.run_values({"extra": None})["y"] == np.array(False)


def test_an_input_that_has_a_value_already_is_not_an_input(tmp_path: Path) -> None:
    engine = load(models.default_weights(tmp_path / "net.onnx"))
    assert [spec.name for spec in engine.inputs] == ["x"]
    assert engine.run({"x": np.ones((1, 2), np.float32)})[0].tolist() == [[2, 3]]


def test_a_model_without_inputs_is_computed(tmp_path: Path) -> None:
    assert load(models.constant(tmp_path / "net.onnx")).run({})[0].tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize("location", ["w.data", "more/w.data"])
def test_weights_in_another_file_are_read_from_the_model_s_folder(tmp_path: Path, location: str) -> None:
    path = models.outside(tmp_path / "net.onnx", location)
    with pytest.raises(LoadFailed, match=f"keeps its weights in other files, and '{location}' is missing"):
        load(path)
    (tmp_path / location).parent.mkdir(exist_ok=True)
    (tmp_path / location).write_bytes(np.array([5, 7], np.float32).tobytes())
    assert load(path).run({"x": np.ones((1, 2), np.float32)})[0].tolist() == [[5, 7]]


def test_a_model_that_is_a_link_may_have_its_weights_beside_it_as_links(tmp_path: Path) -> None:
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "blobs" / "1f").write_bytes(models.outside(tmp_path / "net.onnx", "w.data").read_bytes())
    (tmp_path / "blobs" / "2e").write_bytes(np.array([5, 7], np.float32).tobytes())
    (tmp_path / "snapshot" / "net.onnx").symlink_to("../blobs/1f")
    (tmp_path / "snapshot" / "w.data").symlink_to("../blobs/2e")
    assert load(tmp_path / "snapshot" / "net.onnx").run({"x": np.ones((1, 2), np.float32)})[0].tolist() == [[5, 7]]


@pytest.mark.parametrize("how", ["../secret", "{folder}/secret", "link"])
def test_weights_outside_the_folder_are_not_read(tmp_path: Path, how: str) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(np.array([5, 7], np.float32).tobytes())
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "link").symlink_to(secret)
    path = models.outside(tmp_path / "model" / "net.onnx", how.format(folder=tmp_path))
    with pytest.raises(LoadFailed, match="outside its own folder and so is not read"):
        load(path)


@pytest.mark.parametrize(
    ("write", "reason", "advice"),
    [
        (lambda path: models.twice(path, opset=99), "is till opset", "upgrade it .pip install --upgrade onnxruntime.* for an older opset"),
        (lambda path: models.twice(path, ir=99), "Unsupported model IR version: 99", "for an older opset"),
        (models.unknown_operator, "Sorcery", "uses an operator that this engine lacks"),
    ],
)
def test_a_file_that_the_engine_refuses_is_reported_with_its_last_words_and_a_remedy(
    tmp_path: Path, write: Any, reason: str, advice: str
) -> None:
    path = write(tmp_path / "net.onnx")
    with pytest.raises(LoadFailed, match=reason) as caught:
        load(path)
    assert "may be damaged" not in caught.value.message
    assert "/onnxruntime_src" not in caught.value.message
    with pytest.raises(LoadFailed, match=advice):
        load(path)


def test_a_computation_that_fails_is_reported_with_its_last_words_and_a_remedy(tmp_path: Path) -> None:
    engine = load(models.joined(tmp_path / "net.onnx"))
    with pytest.raises(ModuleFailed, match=r"2 by 3 \(in operator Add\)\. The model needs other lengths") as caught:
        engine.run({"a": np.ones((1, 2), np.float32), "b": np.ones((1, 3), np.float32)})
    assert "/onnxruntime_src" not in caught.value.message


def test_documented_settings_reach_the_session(tmp_path: Path) -> None:
    from hubserve.engines.onnxruntime import session_settings

    onnxruntime = pytest.importorskip("onnxruntime")
    tuning = [("inter_op_thread_count", "3"), ("execution_mode", "1"), ("optimization.graph.level", "1"), ("enable_mem_arena", "0")]
    tuning.append(("session.set_denormal_as_zero", "1"))
    settings = session_settings(onnxruntime, EngineOptions(tuning=json.loads(json.dumps(tuning))))
    assert settings.inter_op_num_threads == 3
    assert settings.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
    assert settings.graph_optimization_level == onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    assert settings.enable_cpu_mem_arena is False
    assert settings.get_session_config_entry("session.set_denormal_as_zero") == "1"
    path = models.twice(tmp_path / "net.onnx")
    engine = load(path, tuning=[*tuning, ("memory.enable_memory_arena_shrinkage", "cpu:0")])
    assert engine.run({"x": np.ones((1, 2), np.float32)})[0].tolist() == [[2, 2]]

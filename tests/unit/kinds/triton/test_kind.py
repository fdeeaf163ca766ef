"""Test what the folder of a Triton model may hold, and the errors for the rest."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from hubserve.errors import ConfigError, HubError, LoadFailed
from hubserve.kinds import find_kind
from hubserve.kinds.base import LoadedModule
from hubserve.kinds.triton.config import BACKENDS
from hubserve.kinds.triton.fields import HARMLESS, SUPPORTED, ignored_fields
from hubserve.kinds.triton.model_folder import open_model
from tests import value_models
from tests.conftest import ROOT
from tests.engines_here import HAS_TORCH
from tests.triton_models import scale, tensor, write_scale

X, Y = tensor("x", [4]), tensor("y", [4])
LABELLED = tensor("y", [4], more="label_filename: 'FILE'")
PAIR = f"input [ {X} ] output [ {Y} ]"


def load(folder: Path) -> LoadedModule:
    return find_kind(folder).load(folder, "any", {}, {})


def message(folder: Path) -> str:
    with pytest.raises(HubError) as raised:
        load(folder)
    return raised.value.message


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("max_batch_size: 'x'", "config.pbtxt' is not a model configuration of Triton's: line 1, column "),
        (
            "max_batch_size: ${most} model_transaction_policy { decoupled: ${many} } parameters { key: '${most}' }",
            "it is a template with values to fill in: ${most}, ${many}. Write each value in the place of its name",
        ),
        ("max_bach_size: 3", "max_bach_size"),
        ("max_batch_size: -2", "max_batch_size must be from 0 up, got -2"),
        (f"{PAIR} runtime: 'other'", "runtime (no backend here has it)"),
        (f"{PAIR} batch_input [ {{ target_name: 'x' }} ]", "batch_input[0].target_name"),
        (f"{PAIR} model_transaction_policy {{ decoupled: true }}", "onnxruntime models cannot have it, only python"),
        (f"{PAIR} parameters {{ key: 'intra_op_thread_count' value: {{ string_value: '-1' }} }}", "must be a whole number from 0 up"),
        (f"{PAIR} max_batch_size: 4 dynamic_batching {{ preferred_batch_size: [ 8 ] }}", "preferred_batch_size 8 must be from 1 to"),
        (f"{PAIR} max_batch_size: 4 dynamic_batching {{ }} sequence_batching {{ }}", "another member of oneof"),
        (f"{PAIR} instance_group [ {{ kind: KIND_CPU gpus: [ 0 ] }} ]", "names gpus [0] and kind KIND_CPU"),
        (f"{PAIR} instance_group [ {{ kind: KIND_MODEL }} ]", "for python models only"),
        (f"{PAIR} default_model_filename: '../m.onnx'", "must be the name of a file"),
        (f"{PAIR} default_model_filename: 'm.onnx'", "looked for m.onnx"),
        (f"{PAIR} version_policy {{ specific {{ versions: [ 1, 3 ] }} }}", "names version 3, which is not there; there are 1"),
        (f"input [ {X} ] output [ {LABELLED.replace('FILE', 'l.txt')} ]", "the labels of output 'y'"),
        (f"input [ {X} ] output [ {LABELLED.replace('FILE', '../l')} ]", "must be a path inside"),
        (f"input [ {X}, {X} ] output [ {Y} ]", "input 'x' is there twice"),
        (f"input [ {{ data_type: TYPE_FP32 dims: [ 1 ] }} ] output [ {Y} ]", "input[0] has no name"),
        (f"input [ {{ name: 'x' dims: [ 1 ] }} ] output [ {Y} ]", "has data_type TYPE_INVALID"),
        (f"input [ {tensor('x', [4], 'TYPE_STRING')} ] output [ {Y} ]", "is TYPE_STRING in config.pbtxt, and TYPE_FP32 in its file"),
        (f"input [ {tensor('x', [])} ] output [ {Y} ]", "has no dims"),
        (f"input [ {tensor('x', [0])} ] output [ {Y} ]", "dims must be -1 or from 1 up"),
        (f"input [ {tensor('x', [2, 2], more='reshape { shape: [ 5 ] }')} ] output [ {Y} ]", "cannot be reshaped from [2, 2] to [5]"),
        (
            f"input [ {tensor('z', [4])} ] output [ {Y} ]",
            "input 'z' is not in its file, which has 'x'; INPUT_0 would mean the first of them",
        ),
        (f"input [ {tensor('x', [4], 'TYPE_INT32')} ] output [ {Y} ]", "is TYPE_INT32 in config.pbtxt, and TYPE_FP32 in its file"),
        (
            f"input [ {tensor('x', [5])} ] output [ {Y} ] max_batch_size: 2",
            "has dims [5] in config.pbtxt, and [4] in its file behind the batch",
        ),
        (
            f"input [ {tensor('x', [-1, 5])} ] output [ {tensor('y', [-1, 4])} ]",
            "has dims [-1, 5] in config.pbtxt, and [-1, 4] in its file",
        ),
        (f"input [ {X} ] output [ {tensor('y', [4, 1])} ] max_batch_size: 2", "output 'y' has dims [4, 1]"),
        (f"input [ {X} ] output [ {tensor('OUTPUT_1', [4])} ]", "output 'OUTPUT_1' is not in its file"),
        (f"input [ {X} ] output [ {Y}, {tensor('OUTPUT_0', [4])} ]", "two outputs of its config.pbtxt mean the same one"),
    ],
)
def test_unsupported_fields_are_refused_by_name(tmp_path: Path, config: str, reason: str) -> None:
    assert reason in message(write_scale(tmp_path, "model", config))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("name: 'm' backend: 'tensorrt'", "backend 'tensorrt' is not supported here: serve the ONNX file"),
        ("name: 'm' platform: 'tensorflow_graphdef'", "is not supported here: it is the frozen graph of TensorFlow 1. Save the model as"),
        ("name: 'm' backend: 'tensorrt_llm'", "backend 'tensorrt_llm' is not supported here: write a model.py"),
        ("name: 'm' backend: 'python' platform: 'onnxruntime_onnx'", "contradict each other"),
        ("name: 'm' platform: 'ensemble'", "needs ensemble_scheduling"),
    ],
)
def test_unsupported_backends_are_reported(tmp_path: Path, config: str, reason: str) -> None:
    (write_scale(tmp_path, "m", None) / "config.pbtxt").write_text(config)
    assert reason in message(tmp_path / "m")


def test_a_model_has_the_name_in_its_configuration_else_that_of_its_folder(tmp_path: Path) -> None:
    write_scale(tmp_path, "folder", None)
    assert open_model(tmp_path / "folder").name == "folder"
    (tmp_path / "folder" / "config.pbtxt").write_text('name: "written"')
    assert open_model(tmp_path / "folder").name == "written"
    with pytest.raises(ConfigError, match="names the model 'written', but it is 'folder' here"):
        open_model(tmp_path / "folder", "folder")


@pytest.mark.parametrize(
    ("policy", "versions"),
    [("", [10]), ("latest { num_versions: 2 }", [9, 10]), ("all { }", [2, 9, 10]), ("specific { versions: [ 9, 2 ] }", [2, 9])],
)
def test_versions_are_numbers_and_the_policy_chooses_among_them(tmp_path: Path, policy: str, versions: list[int]) -> None:
    folder = write_scale(tmp_path, "m", f"{PAIR} version_policy {{ {policy} }}" if policy else PAIR, versions=(2, 9, 10))
    for other in ("007", "latest", ".git"):
        (folder / other).mkdir()
    assert open_model(folder).versions == versions
    assert open_model(folder).info().version == str(versions[-1])


def test_a_folder_without_versions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.pbtxt").write_text('backend: "onnxruntime"')
    with pytest.raises(LoadFailed, match="holds no version: put its files into a folder that is called 1"):
        open_model(tmp_path)


def test_a_configuration_that_a_client_sends_may_have_numbers_as_texts(tmp_path: Path) -> None:
    model = open_model(write_scale(tmp_path, "m"), "m", {"max_batch_size": "16", "backend": "onnxruntime"})
    assert model.config["max_batch_size"] == 16
    assert model.config["input"] == []
    with pytest.raises(ConfigError, match="max_bach_size"):
        open_model(tmp_path / "m", "m", {"max_bach_size": 3})


COMPLETED = [
    (None, 32, [4]),
    ("", 32, [4]),
    (PAIR, 32, [4]),
    (f"input [ {tensor('x', [-1, 4])} ]", 0, [-1, 4]),
    ("max_batch_size: 3", 3, [4]),
]


@pytest.mark.parametrize(("config", "batch", "dims"), COMPLETED)
def test_missing_parts_of_a_configuration_are_completed(tmp_path: Path, config: str | None, batch: int, dims: list[int]) -> None:
    module = load(write_scale(tmp_path, "m", config))
    completed: dict[str, Any] = module.description.config or {}
    assert completed["max_batch_size"] == batch
    assert [each["dims"] for side in ("input", "output") for each in completed[side]] == [dims, dims]
    assert module.description.batched == (batch > 0)


@pytest.mark.parametrize(
    ("config", "given", "wanted"),
    [
        (f"max_batch_size: 2 {PAIR}", (2, 4), (2, 4)),
        (f"max_batch_size: 2 input [ {tensor('INPUT_0', [4])} ] output [ {tensor('OUTPUT__0', [4])} ]", (2, 4), (2, 4)),
        (
            f"max_batch_size: 2 input [ {tensor('x', [2, 2], more='reshape { shape: [ 4 ] }')} ] "
            f"output [ {tensor('y', [1, 4], more='reshape { shape: [ 4 ] }')} ]",
            (3, 2, 2),
            (3, 1, 4),
        ),
        (f"input [ {tensor('x', [2, 2], more='reshape { shape: [ 1, 4 ] }')} ] output [ {tensor('y', [1, 4])} ]", (2, 2), (1, 4)),
    ],
)
def test_tensors_are_bound_by_name_or_position_and_reshaped(
    tmp_path: Path, config: str, given: tuple[int, ...], wanted: tuple[int, ...]
) -> None:
    module = load(write_scale(tmp_path, "m", config))
    array = np.arange(np.prod(given), dtype=np.float32).reshape(given)
    (output,) = module.call_tensors({module.description.inputs[0].name: array}).values()
    np.testing.assert_array_equal(output, array.reshape(wanted) * 2)


def test_a_batch_is_filled_up_for_a_file_with_a_fixed_batch_size(tmp_path: Path) -> None:
    scale(tmp_path / "1" / "model.onnx", batch=3)
    (tmp_path / "config.pbtxt").write_text(f'name: "m" max_batch_size: 8 {PAIR}')
    module = load(tmp_path)
    assert module.description.max_batch_size == 3
    np.testing.assert_array_equal(module.call_tensors({"x": np.ones((2, 4), np.float32)})["y"], np.full((2, 4), 2))


def test_half_precision_passes(tmp_path: Path) -> None:
    scale(tmp_path / "1" / "model.onnx", dtype=onnx.TensorProto.FLOAT16)
    module = load(tmp_path)
    assert module.description.inputs[0].dtype == "float16"
    assert module.call_tensors({"x": np.ones((1, 4), np.float16)})["y"].dtype == np.float16


def test_openvinos_own_files_are_computed(tmp_path: Path) -> None:
    import openvino

    (tmp_path / "m" / "1").mkdir(parents=True)
    openvino.save_model(openvino.Core().read_model(str(scale(tmp_path / "model.onnx"))), str(tmp_path / "m" / "1" / "model.xml"))
    module = load(tmp_path / "m")
    assert (module.description.engine or {})["name"] == "openvino"
    np.testing.assert_array_equal(module.call_tensors({"x": np.ones((2, 4), np.float32)})["y"], np.full((2, 4), 2))


if HAS_TORCH:

    def test_a_torchscript_file_computes_what_its_configuration_says(tmp_path: Path) -> None:
        from tests import torch_models

        torch_models.save(tmp_path / "m" / "1" / "model.pt", torch_models.Both())
        inputs = [tensor(name, [2, 2], more="reshape { shape: [ 4 ] }") for name in ("INPUT__0", "INPUT__1")]
        config = f'platform: "pytorch_libtorch" max_batch_size: 4 input [ {", ".join(inputs)} ] output [ {tensor("OUTPUT__0", [4])} ]'
        (tmp_path / "m" / "config.pbtxt").write_text(config)
        module = load(tmp_path / "m")
        answer = module.call_tensors({"INPUT__0": np.ones((3, 2, 2), np.float32), "INPUT__1": np.ones((3, 2, 2), np.float32)})
        np.testing.assert_array_equal(answer["OUTPUT__0"], np.full((3, 4), 2))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("optimization { cuda { graphs: true } priority: PRIORITY_MAX }", "optimization.priority (changes how fast"),
        ("optimization { graph { level: 1 } input_pinned_memory { enable: true } }", "optimization.input_pinned_memory.enable"),
        ("instance_group [ { rate_limiter { priority: 2 } } ]", "instance_group[0].rate_limiter.priority (changes where"),
        ("parameters { key: 'execute_delay_ms' value: { string_value: '3' } }", "parameters.execute_delay_ms (onnxruntime models take"),
        ("metric_tags { key: 'team' value: 'a' }", "metric_tags.team (changes metrics"),
        ("cc_model_filenames { key: '7.5' value: 'model.onnx' }", "cc_model_filenames.7.5 (the usual file"),
    ],
)
def test_fields_that_change_no_answer_are_reported_and_ignored(tmp_path: Path, config: str, reason: str) -> None:
    folder = write_scale(tmp_path, "model", f"{PAIR} {config}")
    model = open_model(folder)
    assert any(reason in each for each in ignored_fields(model.config, model.backend))
    assert load(folder).call_tensors({"x": np.float32([1, 2, 3, 4])[None]})["y"].tolist() == [[2, 4, 6, 8]]


def test_supported_fields_are_not_reported_as_ignored(tmp_path: Path) -> None:
    used = "instance_group [ { count: 2 kind: KIND_CPU } ] parameters { key: 'intra_op_thread_count' value: { string_value: '1' } }"
    model = open_model(write_scale(tmp_path, "model", f"{PAIR} {used}"))
    assert ignored_fields(model.config, model.backend) == []


def test_the_table_of_fields_names_only_existing_fields_and_backends() -> None:
    from tritonclient.grpc import model_config_pb2

    for path, backends in [*SUPPORTED.items(), *((path, backends) for path, (backends, _) in HARMLESS.items())]:
        assert set(backends) <= set(BACKENDS)
        described = model_config_pb2.ModelConfig.DESCRIPTOR
        for name in path.split("."):
            assert name in described.fields_by_name, path
            described = described.fields_by_name[name].message_type


def test_weights_beside_code_are_pytorchs_unless_the_code_is_a_python_model(tmp_path: Path) -> None:
    version = tmp_path / "net" / "1"
    version.mkdir(parents=True)
    (version / "model.safetensors").write_bytes(b"")
    (version / "model.py").write_text("class TritonPythonModel: ...")
    assert open_model(version.parent).backend == "python"
    (version / "model.py").write_text("import torch\nclass Net(torch.nn.Module): ...")
    assert open_model(version.parent).backend == "pytorch"
    (version.parent / "config.pbtxt").write_text('backend: "pytorch" runtime: "model.py"')
    assert open_model(version.parent).engine == "pytorch"
    assert [each.split()[0] for each in ignored_fields(open_model(version.parent).config, "pytorch")] == ["runtime"]
    (version.parent / "config.pbtxt").write_text('platform: "torch_aoti"')
    assert open_model(version.parent).backend == "pytorch"


def test_the_guide_lists_every_supported_field() -> None:
    guide = (ROOT / "docs" / "triton.md").read_text("utf-8")
    table = guide.partition("<!-- fields -->")[2].partition("<!-- end of fields -->")[0]
    assert [line.split("`")[1] for line in table.splitlines() if "`" in line] == list(SUPPORTED)
    table = guide.partition("<!-- fields without effect -->")[2].partition("<!-- end of fields without effect -->")[0]
    listed = [line.split("`")[1] for line in table.splitlines() if "`" in line]
    assert listed == list(HARMLESS)


def test_documented_parameters_of_the_backend_reach_the_engine(tmp_path: Path) -> None:
    more = "".join(
        f"parameters {{ key: '{key}' value: {{ string_value: '{value}' }} }}"
        for key, value in (("intra_op_thread_count", 1), ("execution_mode", 1), ("gpu_mem_limit", 9), ("session.x", "y"))
    )
    module = load(write_scale(tmp_path, "model", f"{PAIR} {more} optimization {{ graph {{ level: 1 }} }}"))
    engine = module.description.engine
    assert engine is not None
    assert engine["threads"] == 1
    assert [each for each in engine["warnings"] if "gpu_mem_limit" in each]
    np.testing.assert_array_equal(module.call_tensors({"x": np.ones((1, 4), np.float32)})["y"], [[2, 2, 2, 2]])


def test_openvino_as_an_accelerator_is_an_engine_and_others_change_nothing(tmp_path: Path) -> None:
    accelerators = "optimization {{ execution_accelerators {{ cpu_execution_accelerator [ {{ name: '{}' }} ] }} }}"
    by = [load(write_scale(tmp_path, name, f"{PAIR} {accelerators.format(name)}")).description.engine for name in ("openvino", "other")]
    assert by[0] is not None
    assert by[1] is not None
    assert (by[0]["name"], by[1]["name"]) == ("openvino", "onnxruntime")
    assert by[1]["warnings"] == ["the execution accelerator 'other' changes nothing here"]


def test_texts_and_tables_of_scores_are_configured_as_tensors(tmp_path: Path) -> None:
    value_models.spam(tmp_path / "spam" / "1" / "model.onnx")
    (tmp_path / "spam" / "config.pbtxt").write_text(
        f"backend: 'onnxruntime' max_batch_size: 8 input [ {tensor('text', [1], 'TYPE_STRING')} ] "
        f"output [ {tensor('label', [1], 'TYPE_STRING', 'reshape { }')}, {tensor('probabilities', [2])} ]"
    )
    module = load(tmp_path / "spam")
    given = module.call_tensors({"text": np.array([[b"win"], [b"hello"]], object)})
    assert given["label"].tolist() == [["spam"], ["ham"]]
    assert given["probabilities"].shape == (2, 2)
    assert module.description.labels == {"probabilities": ["ham", "spam"]}

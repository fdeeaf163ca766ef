"""Search for the model in a folder."""

import json
import shutil

import onnx
import pytest
from onnx.external_data_helper import convert_model_to_external_data

from hubserve.authoring.model_files import find_model
from hubserve.errors import InstallError, InvalidInput, LoadFailed
from tests.unit.engines.onnx_classifier import write


def test_an_onnx_file_of_any_name_is_found_beside_other_files(tmp_path):
    path = write(tmp_path / "net.onnx")
    (tmp_path / "config.json").write_text(json.dumps({"batch": 1}))
    (tmp_path / "labels.txt").write_text("a\n")
    assert find_model(tmp_path) == (path, None)


@pytest.mark.parametrize(
    ("graph", "weights"), [("inference.pdmodel", "inference.pdiparams"), ("net.pdmodel", "net.pdiparams"), ("__model__", "__params__")]
)
def test_a_paddle_model_of_any_name_is_found(model_dir, tmp_path, graph, weights):
    shutil.copy(model_dir / "inference.pdmodel", tmp_path / graph)
    with pytest.raises(LoadFailed, match=weights):
        find_model(tmp_path)
    (tmp_path / weights).touch()
    assert find_model(tmp_path) == (tmp_path / graph, tmp_path / weights)


def test_other_names_of_weights_can_be_given(model_dir, tmp_path):
    shutil.copy(model_dir / "inference.pdmodel", tmp_path / "net.pdmodel")
    (tmp_path / "weights").touch()
    assert find_model(tmp_path, params_filename="weights").weights == tmp_path / "weights"


def test_one_model_in_both_of_paddles_forms_is_one_model(model_dir, tmp_path):
    shutil.copy(model_dir / "inference.pdmodel", tmp_path)
    (tmp_path / "inference.json").write_text('{"base_code":{"magic":"pir"}}')
    (tmp_path / "inference.pdiparams").touch()
    assert find_model(tmp_path).graph.name == "inference.pdmodel"


def test_two_models_are_refused_until_one_is_named(model_dir, tmp_path):
    shutil.copy(model_dir / "inference.pdmodel", tmp_path)
    (tmp_path / "inference.pdiparams").touch()
    write(tmp_path / "net.onnx")
    with pytest.raises(InvalidInput, match=r"holds 2 models: inference\.pdmodel, net\.onnx.*--model_filename"):
        find_model(tmp_path)
    assert find_model(tmp_path, "net.onnx").graph.name == "net.onnx"


def test_the_error_for_a_folder_without_a_model_lists_the_expected_files(tmp_path):
    (tmp_path / "weights.pth").touch()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(LoadFailed, match=r"\*\.onnx, and found config\.json, weights\.pth"):
        find_model(tmp_path)
    with pytest.raises(LoadFailed, match="there is no folder"):
        find_model(tmp_path / "gone")


@pytest.mark.parametrize("name", ["net.onnx", "inference.pdmodel", "inference.json"])
@pytest.mark.parametrize("data", [b"", b"garbage", b"\x0a\xff\xff\xff\xff\x0f"])
def test_a_damaged_file_is_an_error_before_any_engine_reads_it(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    (tmp_path / "inference.pdiparams").touch()
    with pytest.raises(LoadFailed, match=r"damaged"):
        find_model(tmp_path)


def test_a_truncated_onnx_file_is_an_error(tmp_path):
    path = write(tmp_path / "net.onnx")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(LoadFailed, match="missing at the end"):
        find_model(tmp_path)


def test_the_error_for_an_onnx_model_with_weights_in_other_files_says_how_to_merge_them(tmp_path):
    model = onnx.load(str(write(tmp_path / "whole.onnx")))
    (tmp_path / "split").mkdir()
    convert_model_to_external_data(model, location="net.data", size_threshold=0)
    onnx.save(model, str(tmp_path / "split" / "net.onnx"))
    assert (tmp_path / "split" / "net.data").is_file()
    with pytest.raises(InstallError, match=r"net\.data.*save_as_external_data=False"):
        find_model(tmp_path / "split")

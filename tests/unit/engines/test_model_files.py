import shutil

import pytest

from hubserve.engines import ModelFiles, find_model_files
from hubserve.engines.model_files import digest, usual_names
from hubserve.errors import LoadFailed


def test_the_usual_names_are_found_and_pdmodel_is_preferred(models, tmp_path):
    shutil.copytree(models / "json" / "classifier", tmp_path, dirs_exist_ok=True)
    assert find_model_files(tmp_path) == ModelFiles(tmp_path / "inference.json", tmp_path / "inference.pdiparams")
    shutil.copytree(models / "pdmodel" / "classifier", tmp_path, dirs_exist_ok=True)
    assert find_model_files(str(tmp_path)) == ModelFiles(tmp_path / "inference.pdmodel", tmp_path / "inference.pdiparams")


def test_names_of_paddle_1_and_names_given_by_the_caller_are_found(models, tmp_path):
    source = models / "pdmodel" / "classifier"
    for graph, weights in (("__model__", "__params__"), ("mine.pdmodel", "mine.pdiparams")):
        shutil.copy(source / "inference.pdmodel", tmp_path / graph)
        shutil.copy(source / "inference.pdiparams", tmp_path / weights)
    assert find_model_files(tmp_path) == ModelFiles(tmp_path / "__model__", tmp_path / "__params__")
    assert find_model_files(tmp_path, "mine.pdmodel") == ModelFiles(tmp_path / "mine.pdmodel", tmp_path / "mine.pdiparams")
    assert find_model_files(tmp_path, "mine.pdmodel", "__params__").weights == tmp_path / "__params__"


def test_a_single_onnx_file_is_taken_and_several_are_a_question(tmp_path):
    (tmp_path / "any.onnx").touch()
    assert find_model_files(tmp_path) == ModelFiles(tmp_path / "any.onnx", None)
    (tmp_path / "other.onnx").touch()
    with pytest.raises(LoadFailed, match=r"several models \(any.onnx, other.onnx\).*model_filename"):
        find_model_files(tmp_path)
    assert find_model_files(tmp_path, "other.onnx") == ModelFiles(tmp_path / "other.onnx", None)


def test_a_folder_without_a_model_is_refused_with_what_was_looked_for_where_and_how_to_make_it(tmp_path):
    with pytest.raises(LoadFailed) as caught:
        find_model_files(tmp_path)
    for said in (str(tmp_path), "inference.pdmodel", "inference.json", "inference.pdiparams", "*.onnx", "python tools/export_model.py"):
        assert said in caught.value.message
    with pytest.raises(LoadFailed, match="there is no model folder"):
        find_model_files(tmp_path / "none")


@pytest.mark.parametrize("form", ["pdmodel", "json"])
def test_missing_weights_are_an_error_only_for_a_program_that_has_parameters(form, copy_of):
    folder = copy_of(form)
    (folder / "inference.pdiparams").unlink()
    with pytest.raises(LoadFailed, match="weights 'inference.pdiparams' are missing"):
        find_model_files(folder)
    assert find_model_files(copy_of(form, "no_weights")).weights is None


def test_the_digest_tells_contents_apart_and_not_places(models, copy_of):
    original, copied = find_model_files(models / "json" / "classifier"), find_model_files(copy_of("json"))
    assert digest(original) == digest(copied)
    others = [digest(find_model_files(models / "json" / "other_classifier")), digest(original, "1.0"), digest(original, "1", ".0")]
    assert len({digest(original), *others}) == 4
    weights = bytearray(copied.weights.read_bytes())
    weights[-1] ^= 1
    copied.weights.write_bytes(weights)
    assert digest(original) != digest(copied)


def test_usual_names_lead_to_the_same_bytes_and_are_gone_afterwards(models):
    files = find_model_files(models / "pdmodel" / "no_weights")
    with usual_names(files) as (graph, weights):
        assert (graph.name, weights.name) == ("model.pdmodel", "model.pdiparams")
        assert graph.read_bytes() == files.graph.read_bytes()
        assert weights.read_bytes() == b""
    assert not graph.parent.exists()
    assert files.graph.exists()

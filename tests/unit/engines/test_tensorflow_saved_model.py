"""What a SavedModel says of itself, read without TensorFlow."""

import json
import zipfile

import pytest

from hubserve.engines import EngineOptions, find_model_files, load_engine
from hubserve.engines.keras_files import check_keras, is_whole_h5, takes_texts
from hubserve.engines.model_formats import backend_of_file, check_form, graphs_in
from hubserve.engines.selection import choose as choose_engine
from hubserve.engines.selection import readers, reference_of
from hubserve.engines.tensorflow_failures import sentence
from hubserve.engines.tensorflow_saved_model import choose, read_saved_model, why_alone
from hubserve.engines.tuning import read_tuning
from hubserve.errors import ConfigError, LoadFailed, MissingDependency
from hubserve.types import TensorSpec
from tests.saved_models import BFLOAT16, COMPLEX, FLOAT, STRING, X, graph, signature, write

PLAIN = signature(X, {"y": (FLOAT, (-1, 3))})


def chosen(folder, **tuning):
    return choose(folder, read_saved_model(folder), tuning)


def test_tensors_are_those_of_the_signature_sorted_by_name(tmp_path):
    inputs = {"n": (FLOAT, ()), "a": (STRING, None), "b": (BFLOAT16, (-1, 0, 7))}
    found = chosen(write(tmp_path, graph({"serving_default": signature(inputs, {"y": (FLOAT, (-1,))})})))
    assert found.tensors.inputs == (
        TensorSpec("a", "bytes", (-2,)),
        TensorSpec("b", "bfloat16", (-1, 0, 7)),
        TensorSpec("n", "float32", ()),
    )
    assert found.tensors.outputs == (TensorSpec("y", "float32", (-1,)),)
    assert found.graph.has_objects


def test_the_default_signature_is_the_one_for_serving_else_the_only_one(tmp_path):
    both = {"other": PLAIN, "serving_default": PLAIN, "__saved_model_init_op": b""}
    assert chosen(write(tmp_path, graph(both))).name == "serving_default"
    assert chosen(write(tmp_path, graph(both)), TF_SIGNATURE_DEF="other").name == "other"
    assert chosen(write(tmp_path, graph({"only": PLAIN}))).name == "only"
    with pytest.raises(LoadFailed, match="no signature 'serving_default'; it has 'a', 'b'. Name one of these in TF_SIGNATURE_DEF"):
        chosen(write(tmp_path, graph({"b": PLAIN, "a": PLAIN})))


def test_a_graph_is_chosen_by_its_tag(tmp_path):
    folder = write(tmp_path, graph({"a": PLAIN}, ("serve", "tpu")), graph({"b": PLAIN}), graph({"c": PLAIN}, ("train",), objects=False))
    assert chosen(folder).name == "b"
    assert chosen(folder, TF_GRAPH_TAG="tpu").name == "a"
    found = chosen(folder, TF_GRAPH_TAG="train")
    assert (found.name, found.graph.has_objects) == ("c", False)
    with pytest.raises(LoadFailed, match="no graph with the tag 'gpu'; its tags are 'serve', 'tpu'; 'serve'; 'train'"):
        chosen(folder, TF_GRAPH_TAG="gpu")


@pytest.mark.parametrize(
    ("graphs", "reason"),
    [
        ([graph({"s": signature({"z": (COMPLEX, ())}, {"y": (FLOAT, ())})})], "its input 'z' is of type complex64, which cannot be sent"),
        ([graph({"s": signature(X, {})})], "it has no outputs"),
        ([graph({})], "has no signature, so that it cannot be served"),
        ([], "it has no graph"),
    ],
)
def test_what_cannot_be_served_is_refused_with_the_reason(tmp_path, graphs, reason):
    with pytest.raises(LoadFailed, match=reason):
        chosen(write(tmp_path, *graphs))


@pytest.mark.parametrize("kept", [1, 20, 60])
def test_a_cut_file_is_refused(tmp_path, kept):
    path = write(tmp_path, graph({"serving_default": PLAIN})) / "saved_model.pb"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(LoadFailed, match="is damaged"):
        check_form(tmp_path)


def test_missing_weights_are_named(tmp_path):
    variables = write(tmp_path, graph({"serving_default": PLAIN})) / "variables"
    variables.mkdir()
    assert read_saved_model(tmp_path), "a model of constants"
    (variables / "variables.data-00000-of-00002").touch()
    with pytest.raises(LoadFailed, match="lacks 1 of 2 files variables.data-"):
        read_saved_model(tmp_path)
    (variables / "variables.data-00001-of-00002").touch()
    with pytest.raises(LoadFailed, match="lacks variables.index"):
        read_saved_model(tmp_path)
    (variables / "variables.index").touch()
    assert read_saved_model(tmp_path)


@pytest.mark.parametrize(
    ("signatures", "tuning", "why"),
    [
        ({"serving_default": PLAIN, "serve": PLAIN}, {}, ""),
        ({"serving_default": PLAIN, "b": signature(X, X)}, {}, "it has several signatures"),
        ({"serving_default": PLAIN, "b": PLAIN}, {"TF_SIGNATURE_DEF": "b"}, "and 'b' is computed"),
        ({"serving_default": signature(X, {"t": (STRING, ())})}, {}, "'t' has texts"),
        ({"serving_default": signature({"t": (BFLOAT16, ())}, X)}, {}, "'t' has bfloat16"),
    ],
)
def test_other_engines_are_compared_only_where_they_can_compute_the_same(tmp_path, signatures, tuning, why):
    found = why_alone(chosen(write(tmp_path, graph(signatures)), **tuning))
    assert (why in found) if why else not found


def test_auto_is_the_framework_where_it_is_not_installed(tmp_path):
    folder = write(tmp_path / "net", graph({"serving_default": PLAIN}))
    assert (backend_of_file(folder), reference_of(folder), readers(folder)) == ("tensorflow", "tensorflow", ["openvino", "tensorflow"])
    verdict = choose_engine(find_model_files(tmp_path, "net"), EngineOptions())
    assert (verdict.engine, verdict.measured) == ("tensorflow", None)
    assert verdict.reason == "auto: tensorflow, because other engines must answer as tensorflow does, which is not installed here"
    with pytest.raises(MissingDependency, match="needs the package 'tensorflow'"):
        load_engine(folder, "auto")


@pytest.mark.parametrize(
    ("name", "reference"), [("model.onnx", ""), ("model.xml", ""), ("a.pdmodel", "paddle"), ("a.pt", "pytorch"), ("a.mge", "megengine")]
)
def test_the_reference_is_the_models_own_framework(tmp_path, name, reference):
    assert reference_of(tmp_path / name) == reference


def test_a_model_that_one_engine_reads_is_left_to_it(tmp_path):
    (tmp_path / "net.mge").write_bytes(b"x")
    verdict = choose_engine(find_model_files(tmp_path, "net.mge"), EngineOptions())
    assert verdict.reason == "auto: megengine, the only engine that reads net.mge"


def test_an_engine_that_does_not_read_a_form_is_answered_with_those_that_do(tmp_path):
    folder = write(tmp_path / "net", graph({"serving_default": PLAIN}))
    with pytest.raises(LoadFailed, match="engine 'onnxruntime' does not read 'net'. Use engine 'openvino' or 'tensorflow', or 'auto'"):
        load_engine(folder, "onnxruntime")


def test_parameters_of_triton_become_settings():
    given = {"TF_NUM_INTRA_THREADS": "3", "TF_NUM_INTER_THREADS": "2", "TF_SIGNATURE_DEF": "a", "MAX_SESSION_SHARE_COUNT": "2"}
    tuning = read_tuning("tensorflow", given, "")
    assert (tuning.threads, tuning.settings) == (3, [("TF_NUM_INTER_THREADS", "2"), ("TF_SIGNATURE_DEF", "a")])
    assert "each instance is a process of its own" in tuning.notes[0]
    with pytest.raises(ConfigError, match="TF_NUM_INTRA_THREADS must be a whole number from 0 up"):
        read_tuning("tensorflow", {"TF_NUM_INTRA_THREADS": "many"}, "")


def keras_file(path, *entries, config=None):
    with zipfile.ZipFile(path, "w") as archive:
        for name in entries:
            archive.writestr(name, json.dumps(config or {}))
    return path


def test_keras_files_are_judged_without_keras(tmp_path):
    layer = {"class_name": "InputLayer", "config": {"dtype": "string"}}
    whole = keras_file(tmp_path / "a.keras", "config.json", "model.weights.h5", config={"config": {"layers": [layer]}})
    check_keras(whole)
    assert takes_texts(whole)
    with pytest.raises(LoadFailed, match="it lacks model.weights.h5"):
        check_keras(keras_file(tmp_path / "b.keras", "config.json"))
    assert not takes_texts(tmp_path / "b.keras")


def test_data_in_hdf5_are_not_taken_for_a_model(tmp_path):
    (tmp_path / "data.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"pictures")
    assert graphs_in(tmp_path) == []
    (tmp_path / "net.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * (1 << 20) + b"model_config")
    assert is_whole_h5(tmp_path / "net.h5")
    assert graphs_in(tmp_path) == [tmp_path / "net.h5"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "Graph execution error:\n\nDetected at node MatMul defined at (most recent call last):\n<stack traces unavailable>\n"
            "Matrix size-incompatible: In[0]: [2,5]\n\t [[{{node MatMul}}]] [Op:__inference_1]",
            "Matrix size-incompatible: In[0]: [2,5]",
        ),
        ("2 root error(s) found.\n  (0) INVALID_ARGUMENT:  bad\n\t [[{{node a}}]]\n  (1) INVALID_ARGUMENT:  bad\n", "bad"),
        (
            'ValueError: no\nTraceback (most recent call last):\n\n  File "a.py", line 1\n    f()\n\nValueError: no\n\t [[{{node p}}]]',
            "ValueError: no",
        ),
        ("No such file\n You may be trying to load on a different device from the computational device. Consider", "No such file"),
        ("\x1b[1mplain\x1b[0m", "plain"),
    ],
)
def test_an_error_is_its_sentence(text, said):
    assert sentence(text) == said

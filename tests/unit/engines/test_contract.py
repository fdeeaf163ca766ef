"""What every engine of the table must do."""

import sys

import numpy as np
import pytest

from hubserve.engines import ENGINES, EngineOptions, ModelFiles, engine_class, load_engine
from hubserve.engines.synthetic_batch import make_sample
from hubserve.errors import ConfigError, InvalidInput, LoadFailed, MissingDependency, ModuleFailed
from tests.engines_here import READ_PADDLE, readers
from tests.odd_arrays import LAYOUTS
from tests.triton_models import scale
from tests.unit.engines import onnx_classifier

#: every engine with every form of Paddle program that it reads
READS = [(engine, form) for engine in READ_PADDLE for form in ("pdmodel", "json") if engine in readers(form)]
PACKAGES = {
    "paddle": "paddle",
    "openvino": "openvino",
    "onnxruntime": "onnxruntime",
    "pytorch": "torch",
    **{each: each for each in ("oneflow", "tensorflow")},
    "megengine": "megenginelite",
}


@pytest.fixture(params=READS, ids="-".join)
def engine_and_form(request):
    return request.param


@pytest.fixture(params=READ_PADDLE)
def classifier(request, models):
    return load_engine(models / "pdmodel" / "classifier", request.param)


def pictures(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 3, 32, 32)).astype("float32")


def test_every_engine_of_the_table_is_of_that_name():
    assert {name: engine_class(name).name for name in ENGINES} == {name: name for name in ENGINES}
    assert set(PACKAGES) == set(ENGINES)


@pytest.mark.parametrize("model", ["classifier", "two_inputs", "no_weights"])
def test_the_answers_names_and_order_are_paddles_own(engine_and_form, model, models, paddle_answers):
    engine_name, form = engine_and_form
    engine = load_engine(models / form / model, engine_name)
    sample = make_sample(engine.inputs)
    expected, got = paddle_answers(models / form / model, sample), engine.run(sample)
    assert len(got) == len(expected) == len(engine.outputs)
    for want, have, spec in zip(expected, got, engine.outputs, strict=True):
        assert (have.dtype, have.shape) == (want.dtype, want.shape)
        np.testing.assert_allclose(have, want, rtol=1e-5, atol=1e-6)
        spec.check(have)
    reference = load_engine(models / form / model, "paddle")
    assert (list(engine.inputs), list(engine.outputs)) == (list(reference.inputs), list(reference.outputs))


@pytest.mark.parametrize("layout", ["plain", "Fortran", "reversed", "strided", "read-only"])
def test_inputs_of_the_other_byte_order_or_any_layout_are_computed_as_plain_ones(classifier, layout):
    expected = classifier.run({"x": np.ascontiguousarray(LAYOUTS[layout](pictures(2)))})[0]
    for source in (pictures(2), pictures(2).astype(">f4")):
        np.testing.assert_allclose(classifier.run({"x": LAYOUTS[layout](source)})[0], expected, rtol=1e-6)


def test_batches_of_one_to_five_give_each_item_the_answer_it_has_alone(engine_and_form, models):
    engine_name, form = engine_and_form
    engine = load_engine(models / form / "classifier", engine_name)
    items = pictures(5)
    alone = np.concatenate([engine.run({"x": items[index : index + 1]})[0] for index in range(5)])
    for count in (5, 1, 3, 2, 4):
        np.testing.assert_allclose(engine.run({"x": items[:count]})[0], alone[:count], rtol=1e-5, atol=1e-6)
    assert len({row.tobytes() for row in alone}) == 5


def test_outputs_stay_valid_after_the_next_call(classifier):
    first = classifier.run({"x": pictures(2)})[0]
    kept = first.copy()
    second = classifier.run({"x": 5 * pictures(2, seed=1)})[0]
    assert np.array_equal(first, kept)
    assert not np.array_equal(first, second)


def test_inputs_may_be_read_only_or_in_any_memory_order(classifier):
    plain = pictures(3)
    expected = classifier.run({"x": plain})[0]
    read_only = np.frombuffer(plain.tobytes(), "float32").reshape(plain.shape)
    backwards = np.ascontiguousarray(plain[:, :, :, ::-1])[:, :, :, ::-1]
    assert not read_only.flags.writeable
    assert not backwards.flags.c_contiguous
    for array in (read_only, backwards, np.asfortranarray(plain)):
        assert np.array_equal(classifier.run({"x": array})[0], expected)
        assert np.array_equal(array, plain)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"y": pictures(1)}, "'x'"),
        ({}, "'x'"),
        ({"x": pictures(1), "y": pictures(1)}, "'y'"),
        ({"x": pictures(1).astype("float64")}, "must be float32, got float64"),
        ({"x": pictures(1)[0]}, r"\[-1, 3, 32, 32\]"),
        ({"x": pictures(1)[:, :2]}, r"got \[1, 2, 32, 32\]"),
    ],
    ids=["wrong name", "none", "one too many", "wrong dtype", "no batch", "wrong channels"],
)
def test_inputs_that_do_not_fit_are_refused_and_the_engine_still_answers(classifier, inputs, says):
    with pytest.raises(InvalidInput, match=says):
        classifier.run(inputs)
    assert classifier.run({"x": pictures(1)})[0].shape == (1, 10)


@pytest.mark.parametrize("engine", [each for each in READ_PADDLE if each != "paddle"])
def test_arrays_without_elements_are_computed(engine, tmp_path):
    loaded = load_engine(ModelFiles(scale(tmp_path / "net.onnx"), None), engine)
    assert loaded.run({"x": np.ones((0, 4), np.float32)})[0].shape == (0, 4)


def test_paddle_refuses_arrays_without_elements(models):
    with pytest.raises(InvalidInput, match=r"input 'x' is empty, its shape is \[0, 3, 32, 32\]"):
        load_engine(models / "pdmodel" / "classifier", "paddle").run({"x": pictures(0)})


def test_inputs_that_the_model_cannot_compute_are_named_with_their_shapes_and_the_next_are_computed(engine_and_form, models):
    engine_name, form = engine_and_form
    engine = load_engine(models / form / "two_inputs", engine_name)
    fits = {"ids": np.ones((1, 5), "int64"), "mask": np.ones((1, 5), "float32")}
    before = engine.run(fits)
    for _ in range(2):
        with pytest.raises(ModuleFailed, match=r"could not compute ids \[1, 4\], mask \[1, 5\]"):
            engine.run({**fits, "ids": np.ones((1, 4), "int64")})
        assert all(np.array_equal(want, got) for want, got in zip(before, engine.run(fits), strict=True))


SPOILED = {
    "cut": lambda data: data[: len(data) // 2],
    "7 bytes short": lambda data: data[:-7],
    "empty": lambda _: b"",
    "garbage": lambda _: b"\x99garbage" * 500,
}


@pytest.mark.parametrize(
    ("part", "spoil"),
    [("graph", "cut"), ("graph", "empty"), ("graph", "garbage"), ("weights", "cut"), ("weights", "7 bytes short"), ("weights", "empty")],
)
def test_damaged_files_are_refused_with_their_names_and_the_process_lives(engine_and_form, part, spoil, copy_of):
    engine_name, form = engine_and_form
    folder = copy_of(form)
    path = folder / (f"inference.{form}" if part == "graph" else "inference.pdiparams")
    path.write_bytes(SPOILED[spoil](path.read_bytes()))
    with pytest.raises(LoadFailed, match=rf"inference\.{form}" if part == "graph" or spoil == "empty" else r"inference\.pdiparams"):
        load_engine(folder, engine_name)


def test_a_missing_package_is_named_with_the_command_that_installs_it(engine_and_form, models, monkeypatch):
    engine_name, form = engine_and_form
    monkeypatch.setitem(sys.modules, PACKAGES[engine_name], None)
    with pytest.raises(MissingDependency, match=rf"needs the package '{engine_name}'.*pip install {engine_name}"):
        load_engine(models / form / "classifier", engine_name)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_an_onnx_file_is_run_as_it_is_with_the_batch_left_open(engine, tmp_path):
    loaded = load_engine(onnx_classifier.write(tmp_path / "model.onnx"), engine)
    assert [tuple(spec) for spec in loaded.inputs] == [("x", "float32", (-1, 3, 32, 32))]
    assert [(spec.dtype, spec.shape) for spec in loaded.outputs] == [("float32", (-1, 10))]
    np.testing.assert_allclose(loaded.run({"x": pictures(3)})[0], onnx_classifier.expected(pictures(3)), rtol=1e-5, atol=1e-6)


def test_paddle_says_that_it_reads_no_onnx_and_openvino_that_it_reads_no_pir(models, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(LoadFailed, match="onnxruntime"):
        load_engine(tmp_path, "paddle")
    with pytest.raises(LoadFailed, match=r"does not read Paddle 3's 'inference\.json'"):
        load_engine(models / "json" / "classifier", "openvino")


def test_an_unknown_engine_is_refused_with_the_known_and_the_nearest(models):
    wanted = rf"'onxruntime'; known are {', '.join(ENGINES)}, auto. Did you mean 'onnxruntime'\?"
    with pytest.raises(ConfigError, match=wanted):
        load_engine(models / "pdmodel" / "classifier", "onxruntime")


@pytest.mark.parametrize(
    ("engine", "options", "says"),
    [
        ("paddle", EngineOptions(cpu_num_threads=0), "cpu_num_threads"),
        ("paddle", EngineOptions(max_batch_size=True), "max_batch_size"),
        ("auto", EngineOptions(use_tensorrt=True), "use_tensorrt needs use_gpu"),
        ("openvino", EngineOptions(use_gpu=True), "computes on the CPU"),
    ],
)
def test_options_that_contradict_each_other_are_refused(engine, options, says, models):
    with pytest.raises(ConfigError, match=says):
        load_engine(models / "pdmodel" / "classifier", engine, options)


def test_model_files_given_by_hand_must_exist(tmp_path):
    with pytest.raises(LoadFailed, match="is missing"):
        load_engine(ModelFiles(tmp_path / "a.pdmodel", None), "paddle")


def test_an_engine_describes_itself(classifier):
    described = classifier.describe()
    assert described["name"] == classifier.name
    assert described["reason"] == "asked for by name"
    assert (described["device"], described["threads"]) == ("cpu", 1)
    assert described["precision"] == "fp32"
    assert described["version"]

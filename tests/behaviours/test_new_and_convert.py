"""What a module's author sees of writing, converting and packing modules."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from hubserve.authoring.new import TEMPLATES
from hubserve.client import Client
from hubserve.engines import load_engine
from hubserve.module import encode_array
from hubserve.vision.codecs import decode_picture, encode_picture
from hubserve.vision.preprocess import ClassificationPreprocess
from tests import onnx_models
from tests.conftest import MODULES, ROOT, Server, hub, servers
from tests.unit.engines import onnx_classifier

CAT_CLASSES = [285, 281, 282, 287, 284]
RUN = {
    "json": (["--name", "Ada"], {"greeting": "Hello, Ada"}),
    "tensors": (["--vectors", "[[0, 2, 0, 0]]"], {"units": [[0, 1, 0, 0]]}),
    "picture": (["--image_file", "red.png"], {"colours": ["red"], "elapse": 0.0}),
}


def ruff(*arguments: object) -> None:
    command = [sys.executable, "-m", "ruff", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def check_source(folder: Path) -> None:
    """Hold what was written against the house's rules; asserts are what tests are made of."""
    config = ["--config", ROOT / "pyproject.toml"]
    ruff("check", *config, "--no-cache", "--per-file-ignores", "test_*.py:S101", folder)
    ruff("format", "--check", *config, "--no-cache", folder)


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_new_module_passes_its_test_and_installs_and_runs_as_it_is(home: Path, tmp_path: Path, template: str) -> None:
    words, answer = RUN[template]
    (tmp_path / "red.png").write_bytes(encode_picture(np.full((40, 60, 3), (0, 0, 250), np.uint8), ".png"))
    environ = {"PYTHONPATH": str(ROOT)}
    made = hub("new", "my-first", "--template", template, home=home, cwd=tmp_path, environ=environ)
    assert made.returncode == 0, made.stderr
    check_source(tmp_path / "my_first")
    test = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "my_first"]
    done = subprocess.run(
        test, cwd=tmp_path, env={**os.environ, **environ, "HUB_HOME": str(home)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    ran = hub("run", "--json", "./my_first", *words, home=home, cwd=tmp_path, environ=environ)
    assert json.loads(ran.stdout) == answer
    assert hub("install", "my_first", home=home, cwd=tmp_path, environ=environ).returncode == 0
    shown = json.loads(hub("show", "my-first", "--json", home=home).stdout)
    assert (shown["version"], shown["serving_method"], shown["runnable"]) == ("1.0.0", "serve", True)
    assert shown["batches"] == (template != "json")
    again = hub("new", "my-first", home=home, cwd=tmp_path, environ=environ)
    assert again.returncode == 1
    assert "already exists" in again.stderr


def test_what_new_prints_is_what_can_be_typed_next(home: Path, tmp_path: Path) -> None:
    environ = {"PYTHONPATH": str(ROOT)}
    printed = hub("new", "shown", "-o", "deep/er", home=home, cwd=tmp_path, environ=environ).stdout
    commands = [line.partition("#")[0].split() for line in printed.splitlines() if line.startswith("  ")]
    assert commands == [
        ["python", "-m", "pytest", "./deep/er/shown"],
        ["hub", "run", "./deep/er/shown", "-h"],
        ["hub", "install", "./deep/er/shown"],
        ["hub", "serving", "start", "-m", "shown"],
    ]
    for command in commands[1:3]:
        done = hub(*command[1:], home=home, cwd=tmp_path, environ=environ)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Path:
    """Folder of <name>/, each with one model."""
    root = tmp_path_factory.mktemp("models")
    for name, batch in (("any_batch", "batch"), ("one_at_once", 1), ("four_at_once", 4)):
        (root / name).mkdir()
        onnx_classifier.write(root / name / "net.onnx", batch=batch)
    for make in (onnx_models.two_inputs, onnx_models.recurrent, onnx_models.sequence):
        make(root / make.__name__ / "net.onnx")
    shutil.copytree(model_dir, root / "cats")
    return root


ANY_SIZE = ("--resize_short", "32", "--mean", "0.5", "0.5", "0.5", "--std", "0.25,0.25,0.25", "--topk", "2")
OPTIONS = {
    "cats": ("--labels", "imagenet1k_label_list.txt"),
    "any_batch": ANY_SIZE,
    "one_at_once": ANY_SIZE,
    "four_at_once": ANY_SIZE,
    "two_inputs": (),
    "recurrent": (),
    "sequence": (),
}


def with_folder(folder: Path, options: Sequence[str]) -> list[str]:
    """Options whose text files are in a folder."""
    return [str(folder / each) if each.endswith(".txt") else each for each in options]


@pytest.fixture(scope="module")
def converted(models: Path, shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    """Each model as an installed module: name -> what hub convert said."""
    place = tmp_path_factory.mktemp("converted")
    told = {}
    for name, options in OPTIONS.items():
        words = with_folder(models / name, options)
        done = hub("convert", "-d", models / name, "-n", name, "-o", place, "--json", *words, home=shared_home)
        assert done.returncode == 0, done.stderr
        told[name] = json.loads(done.stdout)
        installed = hub("install", told[name]["folder"], home=shared_home)
        assert installed.returncode == 0, installed.stderr
    return told


@pytest.fixture(scope="module")
def server(converted: dict[str, dict], shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    engine = {name: {"init_args": {"engine": "openvino" if name == "cats" else "onnxruntime"}} for name in converted}
    shutil.rmtree(Path(converted["cats"]["folder"]).parent)  # an installed module needs nothing of what it was made from
    clas = {"clas_system": {"init_args": {"directory": str(ROOT / "hubmodules" / "clas"), "engine": "openvino"}}}
    with servers(shared_home, tmp_path_factory.mktemp("serving")) as start:
        yield start({**engine, **clas})


def client_of(server: Server, name: str) -> Client:
    return Client(f"{server.url}/predict/{name}")


def test_conversion_finds_signature_and_batching(converted: dict[str, dict]) -> None:
    assert converted["cats"]["inputs"] == [{"name": "x", "dtype": "float32", "shape": [-1, 3, 224, 224]}]
    assert [each["shape"] for each in converted["cats"]["outputs"]] == [[-1, 1000]]
    assert {name: told["batch_size"] for name, told in converted.items()} == {
        "cats": 8,
        "any_batch": 8,
        "one_at_once": 1,
        "four_at_once": 4,
        "two_inputs": 8,
        "recurrent": 1,
        "sequence": 1,
    }
    assert {name for name, told in converted.items() if told["pictures"]} == {"cats", "any_batch", "one_at_once", "four_at_once"}
    assert "exported for one item at a time" in converted["one_at_once"]["notes"][0]
    assert "no first dimension in common" in converted["recurrent"]["notes"][0]
    assert "depends on the other items of the batch" in converted["sequence"]["notes"][0]


def test_the_default_classifier_answers_as_its_engine_alone(server: Server, model_dir: Path, cat_photo: Path) -> None:
    item = ClassificationPreprocess()(decode_picture(cat_photo.read_bytes()))
    (scores,) = load_engine(model_dir, "openvino").run({"x": item[None]})
    with client_of(server, "cats") as client:
        answers = [
            client.predict_pictures(cat_photo),
            client.predict(item),
            client.predict_array(item[None]),
            client.call(inputs={"x": item[None].tolist()}),
        ]
    for answer in answers:
        (prediction,) = answer["prediction"]
        assert prediction["class_ids"] == np.argsort(-scores[0])[:5].tolist() == CAT_CLASSES
        assert prediction["scores"] == pytest.approx(np.sort(scores[0])[::-1][:5].tolist(), abs=1.1e-5)
        assert prediction["label_names"][0] == "Egyptian cat"


def test_a_converted_classifier_answers_what_clas_system_does(server: Server, cat_photo: Path) -> None:
    with client_of(server, "cats") as mine, client_of(server, "clas_system") as same:
        assert mine.predict_pictures(cat_photo)["prediction"] == same.predict_pictures(cat_photo)["prediction"]


@pytest.mark.parametrize("name", ["any_batch", "one_at_once", "four_at_once"])
@pytest.mark.parametrize("count", [1, 3, 9])
def test_a_classifier_of_any_batch_answers_any_number_of_items(server: Server, name: str, count: int) -> None:
    batch = np.random.default_rng(count).standard_normal((count, 3, 32, 32), dtype=np.float32)
    scores = onnx_classifier.expected(batch)
    with client_of(server, name) as client:
        answers = [client.predict(batch), client.predict_array(batch), client.call(inputs={"x": batch.tolist()})]
    for answer in answers:
        assert [each["class_ids"] for each in answer["prediction"]] == np.argsort(-scores, axis=1)[:, :2].tolist()
        best = np.sort(scores, axis=1)[:, ::-1][:, :2]
        np.testing.assert_allclose([each["scores"] for each in answer["prediction"]], best, atol=1.1e-5)


def test_pictures_are_prepared_as_the_options_say(server: Server, cat_photo: Path) -> None:
    prepare = ClassificationPreprocess(32, 32, mean=(0.5,) * 3, std=(0.25,) * 3)
    scores = onnx_classifier.expected(prepare(decode_picture(cat_photo.read_bytes()))[None])
    with client_of(server, "four_at_once") as client:
        (prediction,) = client.predict_pictures(cat_photo)["prediction"]
    assert prediction["class_ids"] == np.argsort(-scores[0])[:2].tolist()
    assert prediction["label_names"] == ["", ""]


@pytest.mark.parametrize("length", [1, 5])
def test_several_inputs_of_open_lengths_come_by_name(server: Server, length: int) -> None:
    ids, mask = np.arange(3 * length).reshape(3, length), np.full((3, length), 0.5, np.float32)
    data, about = encode_array(ids)
    with client_of(server, "two_inputs") as client:
        for sent in (ids.tolist(), {"data": data, **about}):
            outputs = client.call(inputs={"ids": sent, "mask": mask.tolist()})["outputs"]
            assert outputs == {"masked": (ids * mask).tolist(), "total": (ids * mask).sum(axis=1).tolist()}


def test_a_model_without_items_is_asked_in_its_own_shapes(server: Server) -> None:
    state = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    with client_of(server, "recurrent") as client:
        assert client.call(inputs={"state": state.tolist(), "rate": 2})["outputs"] == {"next": (state * 2).tolist(), "peak": 22}
    x = np.array([[1, 2], [3, 4], [5, 6]], np.float32)
    powers = np.exp(x - x.max(axis=0))
    with client_of(server, "sequence") as client:
        np.testing.assert_allclose(client.call(inputs={"x": x.tolist()})["outputs"]["share"], powers / powers.sum(axis=0), rtol=1e-5)
        one_item = client.predict_array(x[None])
    np.testing.assert_allclose(one_item["outputs"]["share"], powers / powers.sum(axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"inputs": {"ids": [[1]]}}, "['ids', 'mask'], got ['ids']"),
        ({"inputs": {"ids": [[1.5]], "mask": [[1]]}}, "must be int64"),
        ({"inputs": {"ids": [1], "mask": [[1]]}}, "must have shape [-1, -1]"),
        ({"inputs": {"ids": [[1], [2]], "mask": [[1]]}}, "same number of items"),
        (
            {"images": "AAAA", "revert_params": {"shape": [3], "dtype": "uint8"}},
            "the argument 'images' is not known. This module takes {\"inputs\": ",
        ),
        ({}, 'the arguments are missing. This module takes {"inputs": {"ids": [[0]], "mask": [[0'),
        ({"inputs": {}, "more": 1}, "the argument 'more' is not known"),
    ],
)
def test_wrong_json_is_told(server: Server, body: dict, words: str) -> None:
    answer = server.predict("two_inputs", json=body).json()
    assert answer["status"] == "101"
    assert words in answer["msg"]


def test_hub_run_takes_inputs_as_text_or_file(converted: dict[str, dict], shared_home: Path, tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text('{"ids": [[3, 4]], "mask": [[1, 0]]}')
    np.savez(tmp_path / "in.npz", ids=np.array([[3, 4]]), mask=np.array([[1, 0]], np.float32))
    for given in ((tmp_path / "in.json").read_text(), tmp_path / "in.json", tmp_path / "in.npz"):
        done = hub("run", "--json", "two_inputs", "--inputs", given, home=shared_home)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["outputs"]["total"] == [3]
    done = hub("run", "--json", "recurrent", "--inputs", '{"state": [[[1, 2, 3]], [[4, 5, 6]]], "rate": 2}', home=shared_home)
    assert done.returncode == 0, done.stderr  # engines are measured with a model without items, too
    assert json.loads(done.stdout)["outputs"] == {"next": [[[2, 4, 6]], [[8, 10, 12]]], "peak": 12}
    refused = hub("run", "two_inputs", "--inputs", tmp_path / "none.json", home=shared_home)
    assert refused.returncode == 1
    assert "none.json" in refused.stderr


def test_paddlehubs_own_options_make_an_archive_that_installs_and_an_inference_yml_is_followed(
    home: Path, models: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(models / "any_batch", tmp_path / "model"))
    names = ", ".join(f"kind{number}" for number in range(10))
    (folder / "inference.yml").write_text(
        "PreProcess:\n  transform_ops:\n  - ResizeImage: {size: 32}\n  - NormalizeImage: {mean: [0, 0, 0], std: [1, 1, 1]}\n"
        f"  - ToCHWImage: null\nPostProcess: {{Topk: {{topk: 1, label_list: [{names}]}}}}\n"
    )
    words = ["--model_dir", folder, "--module_name", "from-yml", "--module_version", "2.1.0", "--output_dir", tmp_path / "out", "--archive"]
    done = hub("convert", *words, home=home)
    assert done.returncode == 0, done.stderr
    assert "answers JSON, pictures and tensors, up to 8 at once" in done.stdout
    check_source(tmp_path / "out" / "from_yml")
    installed = hub("install", tmp_path / "out" / "from-yml.tar.gz", home=home)
    assert installed.stdout.startswith("Installed from-yml 2.1.0"), installed.stderr
    picture = np.random.default_rng(1).integers(0, 256, (50, 70, 3), np.uint8)
    (tmp_path / "noise.png").write_bytes(encode_picture(picture, ".png"))
    import cv2

    item = cv2.resize(picture[:, :, ::-1], (32, 32)).transpose(2, 0, 1).astype(np.float32) / 255
    best = int(onnx_classifier.expected(item[None])[0].argmax())
    ran = hub("run", "--json", "from-yml", "--image_file", tmp_path / "noise.png", home=home)
    assert ran.returncode == 0, ran.stderr
    (prediction,) = json.loads(ran.stdout)["prediction"]
    assert (prediction["class_ids"], prediction["label_names"]) == ([best], [f"kind{best}"])


def test_a_classifier_converted_without_pictures_is_told_how_to_have_them(home: Path, models: Path, tmp_path: Path) -> None:
    done = hub("convert", "-d", models / "any_batch", "-n", "arrays", "-o", tmp_path, "--summary", 'Tells "what" is\nseen', home=home)
    assert "answers JSON and tensors" in done.stdout
    assert "with --image_size 32 it also takes pictures" in done.stdout
    check_source(tmp_path / "arrays")
    shown = json.loads(hub("show", tmp_path / "arrays", "--json", home=home).stdout)
    assert (shown["summary"], shown["batches"]) == ('Tells "what" is seen', True)
    other = hub("convert", "-d", models / "two_inputs", "-n", "other", "-o", tmp_path, home=home)
    assert "pictures" not in other.stdout


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("gone", [], "there is no '"),
        ("two_inputs", ["--image_size", "32"], "a classifier has one input of pictures"),
        ("any_batch", ["--image_size", "48"], "got [1, 3, 48, 48] from a picture. Set --image_size"),
        ("any_batch", ["--layout", "NHWC", "--image_size", "32"], "got [1, 32, 32, 3] from a picture"),
        ("any_batch", ["--labels", "imagenet1k_label_list.txt"], "name class 999, but the model has 10 classes"),
        ("any_batch", ["--mean", "1", "2"], "--mean must be three numbers"),
        ("any_batch", ["--std", "0", "0", "0"], "std must not hold 0"),
        ("any_batch", ["--topk", "0"], "--topk must be a whole number from 1 up"),
        ("any_batch", ["--module_version", "../1"], "version"),
        ("any_batch", ["--model_filename", "other.onnx"], "other.onnx"),
    ],
)
def test_what_cannot_be_converted_is_told_and_nothing_is_made(
    home: Path, models: Path, tmp_path: Path, name: str, options: list[str], words: str
) -> None:
    words_given = with_folder(models / "cats", options)
    done = hub("convert", "-d", models / name, "-n", "mine", "-o", tmp_path / "out", *words_given, home=home)
    assert done.returncode == 1
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_model_that_no_engine_loads_is_told(home: Path, models: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(models / "cats", tmp_path / "cut"))
    weights = folder / "inference.pdiparams"
    weights.write_bytes(weights.read_bytes()[:1000])
    done = hub("convert", "-d", folder, "-n", "mine", "-o", tmp_path / "out", home=home)
    assert done.returncode == 1
    assert "inference.pdiparams" in done.stderr.splitlines()[-1]
    assert not list((tmp_path / "out").iterdir())


def test_scores_that_are_no_probabilities_are_noted_and_softmax_makes_them_so(home: Path, tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    (tmp_path / "logits").mkdir()
    nodes = [helper.make_node("ReduceMean", ["x"], ["means"], axes=[2, 3], keepdims=0)]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])
    graph = helper.make_graph(nodes, "means", [x], [helper.make_tensor_value_info("means", TensorProto.FLOAT, ["n", 3])])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(tmp_path / "logits" / "net.onnx"))
    plain = hub("convert", "-d", tmp_path / "logits", "-n", "plain", "-o", tmp_path, "--image_size", 8, home=home)
    assert "--softmax turns them into probabilities" in plain.stdout, plain.stderr
    done = hub("convert", "-d", tmp_path / "logits", "-n", "soft", "-o", tmp_path, "--image_size", 8, "--softmax", home=home)
    assert "probabilities" not in done.stdout
    (tmp_path / "red.png").write_bytes(encode_picture(np.full((20, 20, 3), (0, 0, 255), np.uint8), ".png"))
    ran = hub("run", "--json", tmp_path / "soft", "--image_file", tmp_path / "red.png", home=home)
    (prediction,) = json.loads(ran.stdout)["prediction"]
    assert prediction["class_ids"][0] == 0
    assert sum(prediction["scores"]) == pytest.approx(1, abs=1e-4)


def test_a_packed_module_is_the_same_archive_each_time_and_installs(home: Path, tmp_path: Path) -> None:
    first = json.loads(hub("pack", MODULES / "shout", "-o", tmp_path / "a.tar.gz", "--json", home=home).stdout)
    again = hub("pack", MODULES / "shout", home=home, cwd=tmp_path, environ={"PYTHONPATH": str(ROOT)})
    assert again.returncode == 0, again.stderr
    archive = tmp_path / "shout-1.0.0.tar.gz"
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert f"sha256:{digest}" in again.stdout
    assert first == {
        "name": "shout",
        "version": "1.0.0",
        "archive": str(tmp_path / "a.tar.gz"),
        "size_bytes": archive.stat().st_size,
        "sha256": digest,
    }
    assert hub("install", archive, home=home).stdout.startswith("Installed shout 1.0.0")
    refused = hub("pack", tmp_path, home=home)
    assert refused.returncode == 1
    assert "is not a module" in refused.stderr

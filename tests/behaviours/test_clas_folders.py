"""``hubmodules/clas`` with folders of PaddleClas: the files beside the model are followed, and names and scores are correct."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from hubserve.vision.codecs import decode_picture, encode_picture
from hubserve.vision.preprocess import ClassificationPreprocess
from tests.conftest import ROOT, Server, Start, hub, servers
from tests.unit.engines import onnx_classifier

CLAS = ROOT / "hubmodules" / "clas"
NAMES = [f"kind{number}" for number in range(10)]
YML = """
PreProcess:
  transform_ops:
  - ResizeImage: {{resize_short: 36}}
  - CropImage: {{size: 32}}
  - NormalizeImage: {{mean: [0.5, 0.4, 0.3], std: [0.25, 0.5, 0.25], scale: 0.00392157, order: ''}}
  - ToCHWImage:
PostProcess:
  Topk: {{topk: 3, label_list: [{names}]}}
"""
PICTURE = np.random.default_rng(3).integers(0, 256, (50, 70, 3), np.uint8)


def model(folder: Path, names: list[str] | None = None, logits: bool = False) -> Path:
    """Write a classifier of ten classes, with an ``inference.yml`` if it has names."""
    folder.mkdir(parents=True)
    onnx_classifier.write(folder / "inference.onnx")
    if logits:
        loaded = onnx.load(str(folder / "inference.onnx"))
        del loaded.graph.node[2]
        loaded.graph.output[0].name = "logits"
        onnx.save(loaded, str(folder / "inference.onnx"))
    if names is not None:
        (folder / "inference.yml").write_text(YML.format(names=", ".join(names)))
    return folder


def copy_of(folder: Path, name: str) -> str:
    """Copy the module under another name, so that one server can serve it several times."""
    shutil.copytree(CLAS, folder / name)
    source = folder / name / "module.py"
    source.write_text(source.read_text().replace('"clas_system"', f'"{name}"'))
    return str(folder / name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clas")


@pytest.fixture(scope="module")
def server(folder: Path, shared_home: Path) -> Iterator[Server]:
    with_yml, plain, logits = model(folder / "yml", NAMES), model(folder / "plain"), model(folder / "logits", logits=True)
    (folder / "lines.txt").write_text("\n".join(NAMES) + "\n")
    (folder / "inference").mkdir()
    (folder / "inference" / "imagenet1k_label_list.txt").write_text("".join(f"{number} word{number}\n" for number in range(1000)))
    done = hub("convert", "-d", with_yml, "-n", "converted", "-o", folder, home=shared_home)
    assert done.returncode == 0, done.stderr
    arguments: dict[str, dict[str, Any]] = {
        "from_yml": {"inference_model_dir": str(with_yml)},
        "settings_first": {"inference_model_dir": str(with_yml), "topk": 2, "mean": [0, 0, 0], "class_id_map_file": None},
        "defaults": {"inference_model_dir": str(plain)},
        "lines": {"inference_model_dir": str(plain), "class_id_map_file": str(folder / "lines.txt")},
        "raw": {"inference_model_dir": str(logits)},
        "soft": {"inference_model_dir": str(logits), "softmax": True},
    }
    modules = {
        name: {"workers": 1, "init_args": {"directory": copy_of(folder / "modules", name), "engine": "onnxruntime", **given}}
        for name, given in arguments.items()
    }
    modules["converted"] = {"workers": 2, "init_args": {"directory": str(folder / "converted"), "engine": "onnxruntime"}}
    with servers(shared_home, folder) as start:
        yield start(modules)


def predict(server: Server, name: str) -> dict[str, Any]:
    body = encode_picture(PICTURE, ".png")
    answer = server.predict(name, data=body, headers={"Content-Type": "image/png"}).json()
    assert answer["status"] == "000", answer
    (prediction,) = answer["results"]["prediction"]
    return prediction


def best(mean: tuple[float, ...], count: int, std: tuple[float, ...] = (0.25, 0.5, 0.25)) -> tuple[list[int], list[float]]:
    prepare = ClassificationPreprocess(36, 32, mean=mean, std=std, scale=0.00392157)
    scores = onnx_classifier.expected(prepare(decode_picture(encode_picture(PICTURE, ".png")))[None])[0]
    classes = np.argsort(-scores)[:count].tolist()
    return classes, scores[classes].tolist()


def test_the_yml_beside_the_model_is_followed_as_hub_convert_follows_it(server: Server) -> None:
    classes, scores = best((0.5, 0.4, 0.3), 3)
    for name in ("from_yml", "converted"):
        prediction = predict(server, name)
        assert prediction["class_ids"] == classes
        assert prediction["scores"] == pytest.approx(scores, abs=2e-5)
        assert prediction["label_names"] == [NAMES[each] for each in classes]
    assert server.status("from_yml")["engine"]["pictures"] == "as inference.yml says"
    assert server.status("from_yml")["engine"]["labels"] == "10 names for 10 classes, from inference.yml"


def test_settings_count_more_than_the_yml_and_null_means_no_names(server: Server) -> None:
    prediction = predict(server, "settings_first")
    classes, scores = best((0, 0, 0), 2)
    assert (prediction["class_ids"], prediction["label_names"]) == (classes, ["", ""])
    assert prediction["scores"] == pytest.approx(scores, abs=2e-5)


def test_default_names_that_do_not_fit_are_left_out_with_one_warning(server: Server) -> None:
    assert predict(server, "defaults")["label_names"] == [""] * 5
    log = server.log.read_text()
    assert log.count("module 'defaults': the classes have no names: '../inference/imagenet1k_label_list.txt' has 1000") == 1
    assert "module 'from_yml': the classes" not in log


def test_a_label_file_of_names_alone_is_read(server: Server) -> None:
    prediction = predict(server, "lines")
    assert prediction["label_names"] == [NAMES[each] for each in prediction["class_ids"]]


def test_scores_that_are_no_probabilities_are_told_and_softmax_makes_them_so(server: Server) -> None:
    raw, soft, reference = (predict(server, name) for name in ("raw", "soft", "defaults"))
    assert raw["class_ids"] == soft["class_ids"] == reference["class_ids"]
    assert soft["scores"] == pytest.approx(reference["scores"], abs=2e-5)
    assert raw["scores"] != pytest.approx(reference["scores"], abs=1e-2)
    log = server.log.read_text()
    assert log.count("module 'raw': the scores are no probabilities: those of a grey picture are from ") == 1
    assert "module 'soft': the scores" not in log
    assert "module 'converted': the scores" not in log
    assert server.status("from_yml")["engine"]["scores"] == "probabilities"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([f"{number} word{number}" for number in range(1000)], "name class 999, but the model has 10 classes"),
        (NAMES[:9], "there are 9 labels, but the model has 10 classes"),
        (["0 cat", "dog"], "line 2 is not '<class id> <name>'"),
    ],
)
def test_named_labels_that_do_not_fit_are_refused(home: Path, tmp_path: Path, lines: list[str], words: str) -> None:
    (tmp_path / "labels.txt").write_text("\n".join(lines))
    module = tmp_path / "clas"
    shutil.copytree(CLAS, module)
    params = (module / "params.py").read_text()
    params = params.replace('"../inference/"', repr(str(model(tmp_path / "net")))).replace('"engine": "auto"', '"engine": "onnxruntime"')
    (module / "params.py").write_text(
        params.replace('"class_id_map_file": "auto"', f'"class_id_map_file": {str(tmp_path / "labels.txt")!r}')
    )
    (tmp_path / "photo.png").write_bytes(encode_picture(PICTURE, ".png"))
    done = hub("run", module, "--image_file", tmp_path / "photo.png", home=home)
    assert done.returncode == 1
    assert words in done.stderr


def test_doctor_reports_preprocessing_names_and_scores(server: Server, folder: Path, home: Path, shared_home: Path, tmp_path: Path) -> None:
    def examined(home: Path, *words: Any) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for each in json.loads(hub("doctor", *words, "--json", home=home).stdout)["findings"]:
            found.setdefault(each["about"], []).append(f"{each['level']}: {each['reason']}")
        return found

    module = tmp_path / "clas"
    shutil.copytree(CLAS, module)
    params = (module / "params.py").read_text()
    (module / "params.py").write_text(params.replace('"../inference/"', repr(str(folder / "yml"))))
    found = examined(home, module)
    assert found["preprocessing"] == [
        "note: from inference.yml: resize_short 36, crop_size 32, mean [0.5, 0.4, 0.3], std [0.25, 0.5, 0.25], scale 0.00392157"
    ]
    assert found["labels"] == ["note: 10 names for an unknown number of classes, from inference.yml"]
    assert found["scores"] == ["note: unknown whether they are probabilities until the module is loaded: hub doctor --load"]
    config = tmp_path / "config.json"
    args = {"directory": str(folder / "modules" / "raw"), "inference_model_dir": str(folder / "logits")}
    config.write_text(json.dumps({"modules_info": {"raw": {"init_args": args}}, "port": 1}))
    served = examined(shared_home, config)
    assert any(each.startswith("warning: the scores are no probabilities") for each in served["scores"]), served
    assert any(each.startswith("warning: the classes have no names: ") for each in served["labels"]), served


def test_a_yml_that_cannot_be_read_for_want_of_pyyaml_is_told(home: Path, tmp_path: Path) -> None:
    net = model(tmp_path / "net", NAMES)
    script = f"import sys; sys.modules['yaml'] = None; from hubserve.models.inference_yml import *; read_inference_yml(Path({str(net)!r}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "cannot be read without the package PyYAML. Install it with: pip install pyyaml" in done.stderr


def test_a_yml_that_cannot_be_followed_keeps_the_module_from_being_served(start: Start, tmp_path: Path) -> None:
    net = model(tmp_path / "net", NAMES)
    (net / "inference.yml").write_text((net / "inference.yml").read_text().replace("ResizeImage", "WarpImage"))
    args = {"directory": str(CLAS), "engine": "onnxruntime", "inference_model_dir": str(net)}
    server = start({"clas_system": {"init_args": args}}, wait=False)
    assert server.process.wait(60) == 1
    assert "prepares pictures in a way that hubserve does not: " in server.log.read_text()

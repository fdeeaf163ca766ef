"""The guide of OneFlow-Serving, from the folder tree to the printed classes, with models that are not OneFlow's."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, Server, free_port
from tests.engines_here import CONVERTS

CONFIG = """
name: "resnet50_BACKEND"
backend: "BACKEND"
input [
  {
    name: "INPUT_0"
    data_type: TYPE_FP32
    dims: [ 3, 224, 224 ]
  }
]
output [
  {
    name: "OUTPUT_0"
    data_type: TYPE_FP32
    dims: [ 1000 ]
    label_filename: "labels.txt"
  }
]
instance_group [
  {
    count: 1
    kind: KIND_CPU
  }
]
"""

CLIENT = """
import sys
import numpy as np
import tritonclient.http as httpclient
from hubserve.vision.codecs import decode_picture
from hubserve.vision.preprocess import ClassificationPreprocess

_, model, port, picture = sys.argv
image = ClassificationPreprocess()(decode_picture(open(picture, "rb").read()))[None]
triton_client = httpclient.InferenceServerClient(url="127.0.0.1:" + port)
inputs = []
inputs.append(httpclient.InferInput('INPUT_0', image.shape, "FP32"))
inputs[0].set_data_from_numpy(image, binary_data=True)
outputs = []
outputs.append(httpclient.InferRequestedOutput('OUTPUT_0', binary_data=True, class_count=3))
results = triton_client.infer(model, inputs=inputs, outputs=outputs)
output_data0 = results.as_numpy('OUTPUT_0')
print(output_data0)
"""


@pytest.fixture(scope="module")
def repository(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree of the guide, once with Paddle's files, once with an ONNX file."""
    folder = tmp_path_factory.mktemp("guide") / "model_repository"
    for backend in ("paddle", "onnxruntime"):
        model = folder / f"resnet50_{backend}"
        (model / "1" / "model").mkdir(parents=True)
        (model / "config.pbtxt").write_text(CONFIG.replace("BACKEND", backend))
        labels = (model_dir / "imagenet1k_label_list.txt").read_text().splitlines()
        (model / "labels.txt").write_text("".join(line.split(" ", 1)[1] + "\n" for line in labels))
    for name in ("inference.pdmodel", "inference.pdiparams"):
        shutil.copy(model_dir / name, folder / "resnet50_paddle" / "1" / "model")
    if CONVERTS:
        from hubserve.engines import find_model_files
        from hubserve.engines.onnx_conversion import onnx_of

        shutil.copy(onnx_of(find_model_files(model_dir)), folder / "resnet50_onnxruntime" / "1" / "model" / "model.onnx")
    else:
        shutil.rmtree(folder / "resnet50_onnxruntime")
    return folder


@pytest.fixture(scope="module")
def server(repository: Path, shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port = free_port()
    running = Server(["--model-store", str(repository), "-p", str(port)], port, shared_home, tmp_path_factory.mktemp("log") / "server.log")
    try:
        yield running.wait_until_ready()
    finally:
        running.process.kill()
        running.process.wait(60)


@pytest.mark.parametrize("backend", ["paddle", *(["onnxruntime"] if CONVERTS else [])])
def test_the_script_of_the_guide_prints_the_three_best_classes(backend: str, server: Server, cat_photo: Path, tmp_path: Path) -> None:
    ready = subprocess.run(["curl", "-v", f"localhost:{server.port}/v2/health/ready"], capture_output=True, text=True, check=True)
    assert "200 OK" in ready.stderr
    script = tmp_path / "client.py"
    script.write_text(CLIENT)
    command = [sys.executable, str(script), f"resnet50_{backend}", str(server.port), str(cat_photo)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    classes = [each.strip(" []'b\"") for each in done.stdout.replace("\n", " ").split("b'")[1:]]
    assert [each.split(":")[1] for each in classes] == ["285", "281", "282"], done.stdout
    assert "Egyptian cat" in classes[0]
    assert float(classes[0].split(":")[0]) > float(classes[1].split(":")[0])

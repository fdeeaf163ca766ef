"""Models that ask for a GPU on a machine without one: refused with the remedy, or computed on the CPU where that is wished."""

from pathlib import Path

import numpy as np
import pytest
import requests
import tritonclient.http as triton

from hubserve.engines.gpus import has_gpu
from tests.frameworks.servers import command_lines, wait_until_loaded
from tests.triton_models import SCALE, write_scale

pytestmark = pytest.mark.skipif(has_gpu(), reason="this machine has a GPU")

MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.kind = args["model_instance_kind"]

    def execute(self, requests):
        kind = pb_utils.Tensor("kind", np.array([self.kind.encode()], object))
        return [pb_utils.InferenceResponse([kind]) for _ in requests]
"""
CONFIG = """backend: "python" input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]
output [ { name: "kind" data_type: TYPE_STRING dims: [ 1 ] } ] instance_group [ { kind: KIND_GPU count: 1 } ]"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A model that asks for a GPU, and one that does not."""
    folder = tmp_path / "store"
    (folder / "asks" / "1").mkdir(parents=True)
    (folder / "asks" / "1" / "model.py").write_text(MODEL)
    (folder / "asks" / "config.pbtxt").write_text(CONFIG)
    write_scale(folder, "open", SCALE)
    return folder


def test_a_model_that_asks_for_a_gpu_is_refused_with_the_remedy_and_the_others_are_served(
    store: Path, tmp_path: Path, shared_home: Path
) -> None:
    with command_lines(shared_home, tmp_path) as start:
        server = wait_until_loaded(start("--model-store", store, wait=False))
        index = {each["name"]: each for each in requests.post(f"{server.url}/v2/repository/index", timeout=10).json()}
        assert (index["open"]["state"], index["asks"]["state"]) == ("READY", "UNAVAILABLE")
        assert "asks for a GPU, and this machine has none" in index["asks"]["reason"]
        assert "--gpu-fallback cpu" in index["asks"]["reason"]


def test_the_cpu_computes_instead_with_gpu_fallback(store: Path, tmp_path: Path, shared_home: Path) -> None:
    with command_lines(shared_home, tmp_path) as start:
        server = start("--model-store", store, "--gpu-fallback", "cpu")
        with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
            x = triton.InferInput("x", [1], "FP32")
            x.set_data_from_numpy(np.zeros(1, np.float32))
            assert client.infer("asks", [x]).as_numpy("kind").tolist() == [b"CPU"]
        assert "model 'asks' asks for a GPU and computes on the CPU, as gpu_fallback says" in server.log.read_text()


def test_onnx_runtime_does_not_compute_on_the_cpu_where_a_gpu_is_named(tmp_path: Path, shared_home: Path) -> None:
    """The GPU that is named does not exist; ONNX Runtime alone would warn, and go on."""
    model = write_scale(tmp_path / "models", "net") / "1" / "model.onnx"
    with command_lines(shared_home, tmp_path) as start:
        server = start("-m", f"net={model}", "--use_gpu", "-i", "0", wait=False)
        assert server.process.wait(120) != 0
        assert "a GPU is asked for, and this machine has none" in server.log.read_text()

"""ONNX models on a GPU, with CUDA and with TensorRT: the answers of the CPU, and the providers that give them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubserve.engines import engine_class
from hubserve.engines.gpu_packages import lacks_gpu_build
from tests.conftest import Server
from tests.frameworks.calls import over_grpc, over_http
from tests.frameworks.home import FrameworkHome
from tests.frameworks.servers import command_lines, wait_until_loaded
from tests.unit.engines import onnx_classifier

PARAMETERS = "".join(
    f'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }} '
    for key, value in (("cudnn_conv_algo_search", "1"), ("gpu_mem_limit", str(2 << 30)), ("arena_extend_strategy", "1"))
)
TENSORRT = """optimization { execution_accelerators { gpu_execution_accelerator [ { name: "tensorrt"
  parameters { key: "precision_mode" value: "FP16" } parameters { key: "trt_engine_cache_enable" value: "1" } } ] } }"""
CONFIGS = {
    "cpu": "instance_group [ { kind: KIND_CPU count: 1 } ]",
    "cuda": f"instance_group [ {{ kind: KIND_GPU }} ] {PARAMETERS}",
    "listed": "instance_group [ { gpus: [ 0 ] } ]",
    "tensorrt": f"instance_group [ {{ kind: KIND_GPU }} ] {TENSORRT}",
}


@pytest.fixture(scope="module")
def server(frameworks: FrameworkHome, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if lacks_gpu_build(engine_class("onnxruntime")):
        frameworks.environment("onnxruntime-gpu")  # skips where it cannot be built
    folder = tmp_path_factory.mktemp("onnx")
    for name, config in CONFIGS.items():
        version = folder / "store" / name / "1"
        version.mkdir(parents=True)
        onnx_classifier.write(version / "model.onnx")
        (version.parent / "config.pbtxt").write_text(f'backend: "onnxruntime" {config}')
    with command_lines(frameworks.folder, folder) as start:
        yield wait_until_loaded(start("--model-store", folder / "store", wait=False), 900)


def engine(server: Server, model: str) -> dict[str, Any]:
    """Return what a model runs with; empty if it is not served."""
    found: dict[str, Any] = server.status(model).get("engine") or {}
    return found


def assert_answers_agree(server: Server, model: str) -> None:
    rng = np.random.default_rng(0)
    for items in (1, 3, 8):
        pictures = rng.random((items, 3, 32, 32), np.float32)
        for call in (over_http, over_grpc):
            found = call(server, model, {"x": pictures})["scores"]
            np.testing.assert_allclose(found, onnx_classifier.expected(pictures), rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("model", ["cuda", "listed"])
def test_cuda_gives_the_answers_of_the_cpu(server: Server, model: str) -> None:
    assert engine(server, model)["providers"][0] == "CUDAExecutionProvider"
    assert (engine(server, model)["device"], engine(server, "cpu")["device"]) == ("gpu", "cpu")
    assert_answers_agree(server, model)
    assert_answers_agree(server, "cpu")


def test_tensorrt_gives_the_answers_of_the_cpu_or_says_what_it_lacks(server: Server) -> None:
    if not engine(server, "tensorrt"):
        log = server.log.read_text()
        assert "'tensorrt' is not served: a GPU is asked for, and TensorRT cannot start in ONNX Runtime" in log
        pytest.skip("no GPU is visible to TensorRT, which is not installed beside onnxruntime-gpu (pip install tensorrt)")
    assert engine(server, "tensorrt")["providers"][:2] == ["TensorrtExecutionProvider", "CUDAExecutionProvider"]
    assert_answers_agree(server, "tensorrt")
    assert list(Path(server.home, "cache", "tensorrt").iterdir())


def test_an_instance_on_the_cpu_sees_no_gpu(server: Server) -> None:
    for model, hidden in (("cpu", True), ("cuda", False)):
        for pid in server.instance_pids(model):
            environ = dict(each.split("=", 1) for each in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in each)
            assert (environ["CUDA_VISIBLE_DEVICES"] == "") is hidden

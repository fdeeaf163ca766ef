"""PyTorch models on a GPU, as a Triton repository and as a PaddleHub module; needs PyTorch with CUDA, and tritonclient."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.conftest import Server, free_port, wait_for

pytest.importorskip("torch", reason="no environment of 'torch' with CUDA here (pip install torch)")  # the end of the run says so

import torch

from tests.torch_models import save

IMAGE = 'input [ { name: "x" data_type: TYPE_FP32 dims: [ 3, 64, 64 ] } ] output [ { name: "y" data_type: TYPE_FP32 dims: [ 10 ] } ]'

PYTHON = """
import torch
import triton_python_backend_utils as pb_utils
from torch.utils.dlpack import from_dlpack, to_dlpack


class TritonPythonModel:
    def initialize(self, args):
        self.device = "cuda:" + args["model_instance_device_id"] if args["model_instance_kind"] == "GPU" else "cpu"

    def execute(self, requests):
        responses = []
        for request in requests:
            x = from_dlpack(pb_utils.get_input_tensor_by_name(request, "x").to_dlpack()).to(self.device)
            outputs = [
                pb_utils.Tensor.from_dlpack("capsule", to_dlpack(x * 2)),
                pb_utils.Tensor.from_dlpack("object", x * 3),
                pb_utils.Tensor("device", torch.tensor([[x.is_cuda]] * len(x)).numpy()),
            ]
            responses.append(pb_utils.InferenceResponse(outputs))
        return responses
"""

MODULE = """
import torch
from paddlehub.module.module import moduleinfo, serving


@moduleinfo(name="where", version="1.0.0", type="cv", author="", author_email="", summary="")
class Where:
    def __init__(self, use_gpu=False):
        self.device = torch.device("cuda" if use_gpu else "cpu")

    @serving
    def serving_method(self, values, **kwargs):
        x = torch.tensor(values, device=self.device)
        return {"device": x.device.type, "seen": torch.cuda.device_count(), "total": float(x.sum())}
"""


class Net(torch.nn.Module):
    """A small convolutional classifier: ``x`` [n, 3, 64, 64] -> [n, 10]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        layers: list[torch.nn.Module] = []
        for taken, given in ((3, 32), (32, 64), (64, 128)):
            layers += [torch.nn.Conv2d(taken, given, 3, stride=2, padding=1), torch.nn.ReLU()]
        self.body = torch.nn.Sequential(*layers)
        self.head = torch.nn.Linear(128, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x).mean(dim=[2, 3]))


class Greedy(torch.nn.Module):
    """Takes as many bytes of the GPU's memory as its input says, and one more."""

    def forward(self, size: torch.Tensor) -> torch.Tensor:
        taken = torch.ones([1 + int(size[0, 0])], dtype=torch.uint8, device=size.device)
        return taken[:1].to(torch.int64).reshape(1, 1)


def write(store: Path, name: str, model: torch.nn.Module, config: str) -> None:
    save(store / name / "1" / "model.pt", model)
    (store / name / "config.pbtxt").write_text(f'name: "{name}" platform: "pytorch_libtorch" {config}')


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, triton.InferenceServerClient]]:
    folder = tmp_path_factory.mktemp("gpu")
    store = folder / "store"
    for name, group in (("gpu", "{ kind: KIND_GPU count: 2 }"), ("cpu", "{ kind: KIND_CPU }"), ("first", "{ gpus: [ 0 ] }")):
        write(store, name, Net(), f"max_batch_size: 32 dynamic_batching {{ }} {IMAGE} instance_group [ {group} ]")
    sizes = 'input [ { name: "size" data_type: TYPE_INT64 dims: [ 1 ] } ] output [ { name: "y" data_type: TYPE_INT64 dims: [ 1 ] } ]'
    write(store, "greedy", Greedy(), f"max_batch_size: 1 {sizes} instance_group [ {{ kind: KIND_GPU }} ]")
    outputs = ", ".join(f'{{ name: "{name}" data_type: TYPE_FP32 dims: [ 2 ] }}' for name in ("capsule", "object"))
    (store / "python" / "1").mkdir(parents=True)
    (store / "python" / "1" / "model.py").write_text(PYTHON)
    (store / "python" / "config.pbtxt").write_text(
        f'name: "python" backend: "python" max_batch_size: 4 input [ {{ name: "x" data_type: TYPE_FP32 dims: [ 2 ] }} ] '
        f'output [ {outputs}, {{ name: "device" data_type: TYPE_BOOL dims: [ 1 ] }} ] instance_group [ {{ kind: KIND_GPU }} ]'
    )
    (folder / "where").mkdir()
    (folder / "where" / "module.py").write_text(MODULE)
    port, config = free_port(), folder / "config.json"
    modules = {"where": {"init_args": {"directory": str(folder / "where"), "use_gpu": True}}}
    config.write_text(
        json.dumps(
            {"modules_info": modules, "gpu": "0", "port": port, "grpc_port": port, "model_store": [str(store)], "model_control": "explicit"}
            | {"load_model": ["*"]}
        )
    )
    server = Server(["-c", str(config)], port, folder / "home", folder / "server.log")
    try:
        with triton.InferenceServerClient(f"127.0.0.1:{server.wait_until_ready().port}") as client:
            yield server, client
    finally:
        server.process.kill()
        server.process.wait(60)


def images(count: int = 4) -> np.ndarray:
    return np.random.default_rng(0).random((count, 3, 64, 64), np.float32)


def ask(client: triton.InferenceServerClient, model: str, name: str, array: np.ndarray, datatype: str = "FP32") -> triton.InferResult:
    given = triton.InferInput(name, list(array.shape), datatype)
    given.set_data_from_numpy(array)
    return client.infer(model, [given])


def gpu_mib(pids: list[int]) -> int:
    """Return how much of the GPU's memory these processes hold; all of it where the driver lists no processes."""
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    assert pids
    return int(subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0])


@pytest.mark.parametrize("model", ["gpu", "first"])
def test_a_gpu_gives_the_answers_of_the_cpu(served: tuple[Server, triton.InferenceServerClient], model: str) -> None:
    _, client = served
    expected = ask(client, "cpu", "x", images()).as_numpy("y")
    with torch.inference_mode():
        direct = Net().eval()(torch.from_numpy(images())).numpy()
    np.testing.assert_allclose(expected, direct, rtol=1e-4, atol=1e-5)
    for _ in range(20):
        np.testing.assert_allclose(ask(client, model, "x", images()).as_numpy("y"), expected, rtol=1e-2, atol=1e-3)


def test_instances_on_a_gpu_see_it_alone(served: tuple[Server, triton.InferenceServerClient]) -> None:
    server, _ = served
    for model, expected in (("gpu", "0"), ("first", "0"), ("where", "0")):
        for pid in server.instance_pids(model):
            environ = dict(each.split("=", 1) for each in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in each)
            assert environ["CUDA_VISIBLE_DEVICES"] == expected
    assert len(server.instance_pids("gpu")) == 2 * torch.cuda.device_count()


def test_python_models_may_answer_with_tensors_of_the_gpu(served: tuple[Server, triton.InferenceServerClient]) -> None:
    _, client = served
    x = np.array([[1, 2], [3, 4]], np.float32)
    answer = ask(client, "python", "x", x)
    assert answer.as_numpy("device").all()
    np.testing.assert_array_equal(answer.as_numpy("capsule"), x * 2)
    np.testing.assert_array_equal(answer.as_numpy("object"), x * 3)


def test_a_module_is_given_its_gpu(served: tuple[Server, triton.InferenceServerClient]) -> None:
    server, _ = served
    assert server.results("where", values=[1, 2, 3.5]) == {"device": "cuda", "seen": 1, "total": 6.5}


def test_too_little_memory_of_the_gpu_costs_the_request_alone(served: tuple[Server, triton.InferenceServerClient]) -> None:
    server, client = served
    pids = server.instance_pids("greedy")
    with pytest.raises(InferenceServerException, match="out of memory") as caught:
        ask(client, "greedy", "size", np.array([[1 << 42]]), "INT64")
    assert len(caught.value.message()) < 2000
    assert ask(client, "greedy", "size", np.array([[1 << 20]]), "INT64").as_numpy("y").item() == 1
    assert server.instance_pids("greedy") == pids


def test_an_instance_that_dies_on_the_gpu_is_replaced(served: tuple[Server, triton.InferenceServerClient]) -> None:
    server, client = served
    expected = ask(client, "first", "x", images()).as_numpy("y")
    (pid,) = server.instance_pids("first")
    os.kill(pid, signal.SIGKILL)
    np.testing.assert_allclose(ask(client, "first", "x", images()).as_numpy("y"), expected, rtol=1e-2, atol=1e-3)
    assert server.instance_pids("first") != [pid]


def test_a_model_that_is_unloaded_gives_back_the_memory_of_the_gpu(served: tuple[Server, triton.InferenceServerClient]) -> None:
    server, client = served
    ask(client, "greedy", "size", np.array([[4 << 30]]), "INT64")
    held = gpu_mib(server.instance_pids("greedy"))
    client.unload_model("greedy")
    wait_for(lambda: gpu_mib(server.instance_pids("gpu")) < held - 4000)
    client.load_model("greedy")
    assert ask(client, "greedy", "size", np.array([[1]]), "INT64").as_numpy("y").item() == 1

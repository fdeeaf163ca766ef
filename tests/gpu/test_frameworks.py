"""Models of every framework on a GPU, in the environments of their engines: answers as on the CPU, each instance on its own GPU."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Server, wait_for
from tests.frameworks.calls import over_http
from tests.frameworks.home import FrameworkHome
from tests.frameworks.models import MODELS, Model, store
from tests.frameworks.servers import command_lines, wait_until_loaded

#: of the largest score: GPUs compute convolutions with 10 bits of mantissa (TF32) unless they are asked for more
TOLERANCE = 1e-2
ON_GPU = "instance_group [ { kind: KIND_GPU } ]"
NAMES = ["mge-tiny", "oneflow-tiny", "savedmodel", "exported", "torchscript"]


def on_gpu(model: Model) -> Model:
    return model._replace(config=f"{model.config}\n{ON_GPU}\n")


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(frameworks: FrameworkHome, tmp_path: Path, name: str) -> Iterator[Server]:
    """A server of one model; the environment for GPUs is built where it is not that for CPUs."""
    repository = store(frameworks, tmp_path / "store", {name: on_gpu(MODELS[name])})
    with command_lines(frameworks.folder, tmp_path) as start:
        yield wait_until_loaded(start("--model-store", repository, "--build-environments", wait=False), 1800)


def test_a_gpu_gives_the_answers_of_the_framework_on_the_cpu(server: Server, frameworks: FrameworkHome, name: str) -> None:
    model = MODELS[name]
    asked = model.asked(3)
    expected = model.answers(frameworks, asked)
    for _ in range(5):
        found = over_http(server, name, asked)[model.output]
        np.testing.assert_allclose(found, expected, atol=TOLERANCE * float(np.abs(expected).max()))
    assert server.status(name)["engine"]["device"] in ("gpu", "cuda")


def test_an_instance_sees_its_gpu_alone_and_is_replaced_after_its_death(server: Server, name: str) -> None:
    (pid, *others) = server.instance_pids(name)
    environ = dict(each.split("=", 1) for each in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in each)
    assert environ["CUDA_VISIBLE_DEVICES"] in ("0", *os.environ.get("CUDA_VISIBLE_DEVICES", "").split(","))
    asked = MODELS[name].asked()
    before = over_http(server, name, asked)[MODELS[name].output]
    os.kill(pid, 9)
    after = over_http(server, name, asked)[MODELS[name].output]
    np.testing.assert_allclose(after, before, atol=TOLERANCE * float(np.abs(before).max()))
    wait_for(lambda: len(server.instance_pids(name)) == 1 + len(others) and pid not in server.instance_pids(name))

"""Every engine answers as its framework does in a process of its own, in batches of any size, and from many clients at once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.conftest import Server, servers
from tests.frameworks.calls import over_grpc, over_http
from tests.frameworks.home import FrameworkHome
from tests.frameworks.models import Model, store
from tests.frameworks.servers import wait_until_loaded
from tests.ports import free_port

#: the largest difference from the framework, as a share of the largest score. Batches are computed in another order of sums
TOLERANCES = {"megengine": 1e-5, "oneflow": 1e-5, "tensorflow": 1e-5, "pytorch": 1e-5, "torchscript": 1e-5}
MOST = 5
_CONFIG = 'backend: "{}"\nmax_batch_size: 4\n'
RESNETS = {
    "megengine": Model("megengine", "resnet18", "model.mge", config=_CONFIG.format("megengine")),
    "oneflow": Model("oneflow", "resnet18", "model", "INPUT_0", "OUTPUT_0", _CONFIG.format("oneflow")),
    "tensorflow": Model("tensorflow", "resnet18", "model.savedmodel", output="output_0", config=_CONFIG.format("tensorflow")),
    "pytorch": Model("pytorch", "resnet18", "model.pt2", output="OUTPUT__0", config=_CONFIG.format("pytorch")),
    "torchscript": Model("pytorch", "resnet18", "model.pt", output="OUTPUT__0", config=_CONFIG.format("pytorch")),
}


@pytest.fixture(scope="module", params=RESNETS)
def served(
    request: pytest.FixtureRequest, frameworks: FrameworkHome, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, str, np.ndarray]]:
    """A server of one resnet18, and what its framework answers to each of a few pictures, asked one by one."""
    name = request.param
    model = RESNETS[name]
    pictures = model.asked(MOST)
    wanted = np.concatenate([model.answers(frameworks, {model.input: each[None]}) for each in pictures[model.input]])
    repository = store(frameworks, tmp_path_factory.mktemp("store"), {name: model})
    port = free_port()
    with servers(frameworks.folder, tmp_path_factory.mktemp("log")) as start:
        running = start({}, wait=False, model_store=[str(repository)], workers=1, port=port, grpc_port=port)
        yield wait_until_loaded(running), name, wanted


def check(name: str, answer: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(answer, wanted, rtol=0, atol=TOLERANCES[name] * float(np.abs(wanted).max()))


@pytest.mark.parametrize("items", [1, 2, 3, 4])
def test_a_request_of_several_items_is_answered_as_each_alone(items: int, served: tuple[Server, str, np.ndarray]) -> None:
    server, name, wanted = served
    model = RESNETS[name]
    arrays = {key: array[:items] for key, array in model.asked(MOST).items()}
    for call in (over_http, over_grpc):
        check(name, call(server, name, arrays)[model.output], wanted[:items])


def test_merged_requests_get_their_own_answers(served: tuple[Server, str, np.ndarray]) -> None:
    server, name, wanted = served
    model = RESNETS[name]
    pictures = model.asked(MOST)[model.input]

    def ask(number: int) -> None:
        item = number % MOST
        check(name, over_http(server, name, {model.input: pictures[item : item + 1]})[model.output], wanted[item : item + 1])

    with ThreadPoolExecutor(8) as threads:
        assert len(list(threads.map(ask, range(40)))) == 40

"""The table of what is served is true: a module of each row is asked over each protocol."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from tests.conftest import MODULES, ROOT, Server, servers, toy
from tests.ports import free_port
from tests.triton_models import tensor, write_scale

sys.path.append(str(ROOT / "tools"))

import support

ENSEMBLE = f"""platform: "ensemble" max_batch_size: 8
input [ {tensor("in", [4])} ] output [ {tensor("out", [4])} ]
ensemble_scheduling {{ step [
  {{ model_name: "scale" model_version: -1 input_map {{ key: "x" value: "in" }} output_map {{ key: "y" value: "out" }} }}
] }}"""
#: row of the table -> name under which a module of it is served
NAMES = {
    ("paddlehub", ""): "paged",
    ("triton", ""): "scale",
    ("triton", "python"): "pb_sum",
    ("triton", "ensemble"): "chain",
    ("model", ""): "file",
    ("tiinfer", ""): "script",
}


@pytest.fixture(scope="module")
def server(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("store")
    write_scale(folder, "scale", None)
    (folder / "chain").mkdir()
    (folder / "chain" / "config.pbtxt").write_text(ENSEMBLE)
    file = tmp_path_factory.mktemp("file") / "file.onnx"
    shutil.copyfile(folder / "scale" / "1" / "model.onnx", file)
    modules = {
        "paged": toy("paged"),
        "pb_sum": toy("triton/pb_sum"),
        "file": {"init_args": {"directory": str(file)}},
        "script": {"init_args": {"directory": str(MODULES / "tiinfer" / "apart")}},
    }
    port = free_port()
    with servers(shared_home, tmp_path_factory.mktemp("log")) as start:
        yield start(modules, port=port, grpc_port=port, model_store=[str(folder)], workers=1)


def test_every_row_of_the_table_is_asked() -> None:
    assert set(NAMES) == set(support.rows())


def predict_takes_json(server: Server, name: str) -> bool:
    """Whether ``/predict/NAME`` takes JSON, whatever it answers to this."""
    return "does not take json requests" not in server.predict(name, json={"n": 1}).text


def v2_describes_it(server: Server, name: str) -> bool:
    return bool(requests.get(f"{server.url}/v2/models/{name}", timeout=30).json().get("inputs"))


def grpc_describes_it(server: Server, name: str) -> bool:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        try:
            return bool(client.get_model_metadata(name).inputs)
        except InferenceServerException:
            return False


def inference_reaches_it(server: Server, name: str) -> bool:
    before = server.status(name)["requests"]
    requests.post(f"{server.url}/inference", json={"n": 1}, timeout=30)
    return server.status(name)["requests"] > before


def gradio_shows_its_page(server: Server, name: str) -> bool:
    return requests.get(f"{server.url}/gradio/{name}", timeout=60).status_code == 200


ASK: dict[str, Callable[[Server, str], bool]] = {
    "paddlehub": predict_takes_json,
    "v2": v2_describes_it,
    "grpc": grpc_describes_it,
    "tiinfer": inference_reaches_it,
    "gradio": gradio_shows_its_page,
}


@pytest.mark.parametrize("protocol", ASK)
@pytest.mark.parametrize("row", NAMES, ids=NAMES.values())
def test_a_row_of_the_table_says_what_is_so(row: tuple[str, str], protocol: str, server: Server) -> None:
    assert ASK[protocol](server, NAMES[row]) == support.served(*row, protocol)
